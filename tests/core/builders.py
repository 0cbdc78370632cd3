"""Short ways to make farms for tests."""

from __future__ import annotations

from collections.abc import Sequence

from coalition.core.affinity import parse_words
from coalition.core.changes import Changes
from coalition.core.farm import Farm
from coalition.core.model import Job, Worker
from coalition.core.submission import Submission

NOW = 1_700_000_000.0


def farm(timeout: float = 60.0) -> Farm:
    return Farm(Changes(), timeout)


def new_job(farm: Farm, affinity: str = "", command: str = "true", **fields: object) -> Job:
    words = parse_words(affinity)
    return Job(farm.new_id(), command=command, affinity=affinity, words=words, **fields)  # type: ignore[arg-type]


def submit(
    farm: Farm, parent: Job | int = 0, after: Sequence[Job | int] = (), **fields: object
) -> Job:
    """Submit one job; a group is one with command=""."""
    job = new_job(farm, **fields)  # type: ignore[arg-type]
    one = Submission()
    one.add(job, parent if isinstance(parent, int) else parent.id, [_id(d) for d in after])
    farm.on_submit(one)
    return job


def group(
    farm: Farm, parent: Job | int = 0, after: Sequence[Job | int] = (), **fields: object
) -> Job:
    return submit(farm, parent, after, command="", **fields)


def worker(
    farm: Farm, name: str = "w", affinity: str = "", now: float = NOW, node: str = ""
) -> Worker:
    made = farm.on_contact(name, now, node=node)
    farm.on_announce(made, affinity)
    return made


def run(
    farm: Farm, worker: Worker, code: int = 0, now: float = NOW, took: float = 1.0
) -> Job | None:
    """Let a worker pick a job and end it; give the job."""
    run = farm.on_pick(worker, now)
    if run is None:
        return None
    farm.on_end(worker, run.id, code, now + took)
    return run.job


def order(farm: Farm, worker: Worker) -> list[Job]:
    """Let a worker do all it can; give the jobs in the order in which it got them."""
    done = []
    while (job := run(farm, worker)) is not None:
        done.append(job)
    return done


def _id(job: Job | int) -> int:
    return job if isinstance(job, int) else job.id
