"""Taking in what the database holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coalition.core.affinity import CALL
from coalition.core.changes import Changes
from coalition.core.model import Job, Run, Worker
from coalition.core.ready import Group, settle
from coalition.core.states import (
    QUEUED,
    RESERVED,
    STOPPED,
    TERMINATED,
    WAITING,
    WORKING,
    RunState,
)
from coalition.errors import StoreError

if TYPE_CHECKING:
    from coalition.core.farm import Farm


@dataclass
class Loaded:
    """What was read from the database, as it was stored.

    `jobs` are (job, id of its parent or 0, whether it is a group), with all stored fields set and
    standing nowhere in the tree; `dependencies` are (job id, id it depends on); `runs` are those
    that are WORKING or RESERVED: (run number, job id, worker name, start, state); one that is
    RESERVED has no start yet, 0. `endings` are those that were taken back and may not be dead: (run
    number, job id, worker name, node name); so are those RESERVED ones that must not count.
    """

    jobs: Iterable[tuple[Job, int, bool]] = ()
    dependencies: Iterable[tuple[int, int]] = ()
    workers: Iterable[Worker] = ()
    runs: Iterable[tuple[int, int, str, float, RunState]] = ()
    endings: Iterable[tuple[int, int, str, str]] = ()
    affinities: dict[int, str] = field(default_factory=dict)
    next_job: int = 1
    next_run: int = 1


def load(farm: Farm, loaded: Loaded) -> None:
    """Build the farm's tree, workers and runs; counters and group states are computed anew."""
    tree = farm.tree
    changes, tree.changes = tree.changes, Changes()
    try:
        new = _link(farm, loaded)
        _load_dependencies(farm, loaded)
    finally:
        tree.changes = changes
    tree.just_finished.update(job.id for job in new if job.parent is tree.root)
    farm.next_job = max(farm.next_job, loaded.next_job)
    farm.next_run = max(farm.next_run, loaded.next_run)
    for worker in loaded.workers:
        farm.workers[worker.name] = worker
        worker.tags = frozenset({CALL + worker.name, CALL + worker.host} - {CALL})
    _load_runs(farm, loaded)
    _load_endings(farm, loaded)
    for job in new:
        if job.state == WORKING and job.group is None and job.run is None:
            tree.requeue(job, "give back")


def _link(farm: Farm, loaded: Loaded) -> list[Job]:
    """Put the jobs that are not yet known into the tree, and give them."""
    tree = farm.tree
    parents: list[tuple[Job, int]] = []
    for job, parent_id, is_group in loaded.jobs:
        if job.id in tree.jobs:
            continue
        if is_group:
            job.group = Group()
            job.state = WAITING
            job.start_time = job.duration = 0.0
        elif job.state in QUEUED:
            job.state = WAITING
        tree.jobs[job.id] = job
        parents.append((job, parent_id))
    for job, parent_id in parents:
        parent = tree.jobs.get(parent_id) if parent_id else tree.root
        if parent is None or parent.group is None:
            raise StoreError(f"job {job.id} is stored below {parent_id}, which is no group")
        tree.attach(parent, job)
    return [job for job, _ in parents]


def _load_dependencies(farm: Farm, loaded: Loaded) -> None:
    tree = farm.tree
    wanted: dict[int, list[Job]] = {}
    for job_id, dependency_id in loaded.dependencies:
        dependency = tree.jobs.get(dependency_id)
        if dependency is not None and job_id in tree.jobs:
            wanted.setdefault(job_id, []).append(dependency)
    for job_id, dependencies in wanted.items():
        job = tree.jobs[job_id]
        if not job.dependencies:
            tree.set_dependencies(job, dependencies)


def _load_runs(farm: Farm, loaded: Loaded) -> None:
    nodes = {id: node for id, _, _, node in loaded.endings}
    for id, job_id, worker_name, start, state in loaded.runs:
        job = farm.tree.jobs.get(job_id)
        worker = farm.workers.get(worker_name)
        if id in farm.runs or id in farm.ahead:
            continue
        if state == RESERVED:
            if id in nodes:  # who has its worker's name now may be another
                worker = _of_node(farm, worker_name, nodes[id])
            left = worker is None or worker.state == TERMINATED
            if left or job is None or job.state not in QUEUED:
                farm.changes.dropped_runs[id] = None
                continue
            assert worker is not None
            run = Run(id, job, worker, start)
            run.state = RESERVED
            farm.hold(run)
            if id in nodes:
                farm.on_void(run)
        elif job is not None and worker is not None and job.state == WORKING:
            job.run = worker.run = farm.runs[id] = Run(id, job, worker, start)
            worker.state = WORKING
            if not worker.session:
                # If it does not have it, it may have had: the number must not begin twice.
                worker.seen_run = id
            farm.watch_deadline(job)
    for worker in farm.workers.values():
        if worker.state == WORKING and worker.run is None:
            worker.state = WAITING


def _load_endings(farm: Farm, loaded: Loaded) -> None:
    for id, job_id, worker_name, node in loaded.endings:
        if id in farm.ahead:
            continue
        job = farm.tree.jobs.get(job_id)
        worker = _of_node(farm, worker_name, node)
        taken = job is None or job.claim is not None
        if taken or worker.state == TERMINATED:
            farm.changes.endings[id] = None
            continue
        assert job is not None
        run = Run(id, job, worker, 0.0)
        run.state = STOPPED
        worker.endings[id] = job.claim = run
        settle(job)


def _of_node(farm: Farm, name: str, node: str) -> Worker:
    """Give the worker of that name and node, which may have been deleted."""
    worker = farm.workers.get(name)
    if worker is None or worker.node != node:
        worker = farm.deleted.setdefault(name, Worker(name, 0.0))
        worker.node = worker.node or node
    return worker
