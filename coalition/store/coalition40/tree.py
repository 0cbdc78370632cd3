"""4.0's jobs as a tree of ours: states, counters and who waits for whom are our core's to tell.

Texts are not needed for that, so they are not kept: a million jobs fit into memory without them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from coalition.core.changes import Changes
from coalition.core.cycles import Plan, refuse_cycles
from coalition.core.farm import Farm
from coalition.core.loading import Loaded
from coalition.core.model import Job
from coalition.core.states import ERROR, FINISHED, PAUSED, QUEUED, WORKING
from coalition.errors import Cycle
from coalition.store.coalition40.report import Report
from coalition.store.coalition40.source import Row, Source
from coalition.store.coalition40.values import count, flag, part, seconds, text, whole

JOBS = "jobs"
LINKS = "dependencies"

COLUMNS = (
    "id", "parent", "command", "state", "paused", "start_time", "duration", "run_done", "progress",
    "worker",
)  # fmt: skip

LONG_AGO = 1.0
"""The start of a job that has run at a time which nobody knows any more."""


def build(source: Source, report: Report) -> Farm:
    """Give a farm with all jobs that can be kept and what they depend on."""
    farm = Farm(Changes())
    nodes = _read(source, report)
    _find_starts(source, nodes)
    parents = {id: parent for id, (_, parent, _) in nodes.items()}
    _join_lost(parents, report)
    # Groups whose jobs were deleted when these had finished: they would never be finished again.
    over = {id for id, (job, _, command) in nodes.items() if job.state == FINISHED and not command}
    over.difference_update(parents.values())
    farm.load(Loaded(jobs=list(_from_the_top(nodes, parents, report))))
    links = _links(source, farm, over, report)
    _break_cycles(farm, links, report)
    farm.load(Loaded(dependencies=[(job, other) for job in links for other in links[job]]))
    farm.check_invariants()
    return farm


# --- jobs ------------------------------------------------------------------------------------

Node = tuple[Job, int, bool]
"""A job, the id of its parent, and whether it has a command."""


def _read(source: Source, report: Report) -> dict[int, Node]:
    nodes: dict[int, Node] = {}
    for row in source.rows("Jobs", COLUMNS, "id"):
        id = whole(row[0])
        if id < 1:
            report.drop(JOBS, "no id of a job", f"job {id}")
            continue
        nodes[id] = (_job(id, row, report), whole(row[1]), bool(row[2]))
    return nodes


def _job(id: int, row: Row, report: Report) -> Job:
    state, paused, start, duration, run_done, progress, worker = row[3:]
    job = Job(id, paused=flag(paused))
    _set_state(job, text(state), report)
    job.run_done = count(run_done)
    has_run = job.run_done or text(worker) or text(state) in (WORKING, FINISHED, ERROR)
    job.start_time = seconds(start) or (LONG_AGO if has_run else 0.0)
    if job.state == FINISHED:
        job.progress = 1.0
    elif job.state == ERROR:
        job.progress = part(progress)
    if job.state not in QUEUED and job.start_time:
        job.duration = seconds(duration)
    return job


def _set_state(job: Job, state: str, report: Report) -> None:
    """What ran when 4.0 was stopped waits; a word that says nothing must not make a job run."""
    if state in (FINISHED, ERROR):
        job.state = FINISHED if state == FINISHED else ERROR
    elif state == PAUSED:
        job.paused = True
    elif state not in QUEUED and state != WORKING:
        job.paused = True
        report.change(
            "jobs in a state that there is not",
            f"job {job.id}: there is no state {state[:40]!r}; it is paused",
        )


def _find_starts(source: Source, nodes: dict[int, Node]) -> None:
    """Jobs that have run began some time: only those that never did have no log.

    4.0 forgot that of a job that was reset, and kept its log. Its events, if nobody has deleted
    them, tell the time.
    """
    lost = {id: job.start_time for id, (job, _, _) in nodes.items() if job.start_time <= LONG_AGO}
    if lost:
        for job_id, start in source.rows("Events", ["job_id", "start"]):
            id = whole(job_id)
            if id in lost:
                lost[id] = max(lost[id], seconds(start))
    for id, began in lost.items():
        nodes[id][0].start_time = began


def _join_lost(parents: dict[int, int], report: Report) -> None:
    """Put jobs at the top whose parent is gone, and one of each ring of parents."""
    for id, parent in parents.items():
        if parent and parent not in parents:
            report.change(
                "jobs whose parent was gone",
                f"job {id}: its parent {parent} is gone; it stands at the top",
            )
            parents[id] = 0
    joined: set[int] = set()
    for id in parents:
        above: dict[int, None] = {}
        while id and id not in joined and id not in above:
            above[id] = None
            id = parents[id]
        if id in above:
            report.change(
                "jobs that stood below themselves",
                f"job {id}: it stands below itself; it is moved to the top",
            )
            parents[id] = 0
        joined.update(above)


def _from_the_top(
    nodes: dict[int, Node], parents: dict[int, int], report: Report
) -> Iterator[tuple[Job, int, bool]]:
    """Give each group before what is in it."""
    below: dict[int, list[int]] = {}
    for id, parent in parents.items():
        below.setdefault(parent, []).append(id)
    level = [0]
    while level:
        level = [id for parent in level for id in below.get(parent, ())]
        for id in level:
            job, _, has_command = nodes[id]
            if has_command and id in below:
                report.change(
                    "jobs with a command and jobs below them",
                    f"job {id}: it has jobs below it, so it is a group; its command is kept and "
                    "not run",
                )
            if id in below or not has_command:
                job.run_done, job.progress = 0, None
            yield job, parents[id], id in below or not has_command


# --- dependencies ----------------------------------------------------------------------------


def _links(
    source: Source, farm: Farm, over: set[int], report: Report
) -> dict[int, dict[int, None]]:
    """Give what each job depends on, without what can never be and what was `over` before."""
    jobs = farm.tree.jobs
    links: dict[int, dict[int, None]] = {}
    for row in source.rows("Dependencies", ["job_id", "dependency"]):
        id, other = whole(row[0]), whole(row[1])
        who = f"dependency of job {id} on {other}"
        if id not in jobs or other not in jobs:
            report.drop(LINKS, "one of the two jobs is gone", who)
        elif id == other:
            report.drop(LINKS, "it would wait for itself", who)
        elif other in over:
            report.drop(LINKS, "on a group that had finished and is empty", who)
        elif other in links.setdefault(id, {}):
            report.drop(LINKS, "it stands there twice", who)
        else:
            links[id][other] = None
    return links


def _break_cycles(farm: Farm, links: dict[int, dict[int, None]], report: Report) -> None:
    """Drop a dependency of each cycle that makes jobs wait for each other for ever."""
    jobs = farm.tree.jobs
    wanted: dict[int, list[Job]] = {id: [jobs[other] for other in links[id]] for id in links}
    todo = [jobs[id] for id in wanted]
    plan = Plan(wanted, {}, todo[:])
    while todo:
        try:
            refuse_cycles(_taken(todo), plan)
        except Cycle as cycle:
            id, other = _youngest(cycle.detail["jobs"], links)
            del links[id][other]
            wanted[id] = [jobs[other] for other in links[id]]
            who = f"dependency of job {id} on {other}"
            report.drop(LINKS, "the jobs would wait for each other for ever", who)


def _taken(todo: list[Job]) -> Iterator[Job]:
    """Give the last job, which goes when the next one is wanted: so one with a cycle stays."""
    while todo:
        yield todo[-1]
        todo.pop()


def _youngest(cycle: Any, links: dict[int, dict[int, None]]) -> tuple[int, int]:
    """Give the dependency in a cycle, a list of ids, whose job came last."""
    around: Iterable[tuple[int, int]] = zip(cycle, [*cycle[1:], cycle[0]], strict=True)
    return max((id, other) for id, other in around if other in links.get(id, ()))
