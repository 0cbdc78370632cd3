"""What a server reads when it starts, and the archived trees that a command needs again."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from sys import intern
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, TextClause, func, select, text, update

from coalition.core.affinity import Words, parse_lines, parse_words
from coalition.core.loading import Loaded
from coalition.core.model import Job, Run, Worker
from coalition.core.states import FINISHED, LOST, RESERVED, STATES, WORKING, RunState
from coalition.store import reading, schema, writing
from coalition.store.engine import fetch
from coalition.store.writing import NOT_BEGUN, delete_jobs, delete_rows, id_lists

COLUMNS = [
    schema.jobs.c[name]
    for name in (
        "id", "parent", "title", "command", "dir", "environment", "affinity", "priority", "timeout",
        "retry", "url", "user", "progress_pattern", "globalprogress", "paused", "state", "worker",
        "start_time", "duration", "run_done", "progress", "local_progress", "is_group",
        "exclusive", "scratch",
    )
]  # fmt: skip


STATE_OF = {state: state for state in STATES}
"""Our own words for those of the database, which are equal but not the same objects."""


StoredJob = tuple[Job, int, bool]
"""A job that stands in no tree yet, the id of its parent or 0, and whether it is a group."""

Link = tuple[int, int]
"""Ids of a job and of what it depends on."""

StoredRun = tuple[int, int, str, float, RunState]
"""Number of a run that has not ended, id of its job, name of its worker, its start, its state."""


def load(connection: Connection) -> Loaded:
    """Read the farm: the trees that are not FINISHED and those they depend on, workers and runs.

    First it takes back submissions that were cut short, so it needs a connection that writes.
    Every group stands before what is in it. Its counters are left to the tree, which counts as jobs
    are put into it.
    """
    _take_back(connection)
    table = schema.jobs.c
    question = select(table.id).where(table.parent == 0, table.state != FINISHED)
    roots = [id for (id,) in fetch(connection, question.order_by(table.id))]
    jobs, links = _load_with_dependencies(connection, roots, ())
    return Loaded(
        jobs=jobs,
        dependencies=links,
        workers=_workers(connection),
        runs=[*_current_runs(connection, jobs), *_reserved_runs(connection, jobs)],
        endings=_endings(connection),
        affinities={int(id): name for id, name in reading.affinities(connection).items()},
        next_job=_next(connection, "jobs", table.id),
        next_run=_next(connection, "runs", schema.runs.c.id),
    )


def last_timeout(connection: Connection) -> float:
    """Give the longest `timeout` in seconds that nodes may count with, 0 if none was told."""
    table = schema.counters.c
    told = connection.scalar(select(table.value).where(table.name == writing.TIMEOUT))
    return (told or 0) / 1000


def ended_runs(connection: Connection) -> list[Run]:
    """Give the runs whose logs may lack their last line, by number, each with a job of its own.

    They are those of the last batch in which any ended, and those whose line had to wait. Where the
    job was deleted or reset there is no log any more.
    """
    run, job, worker, ending = (
        table.c for table in (schema.runs, schema.jobs, schema.workers, schema.endings)
    )
    question = (
        select(
            run.id, run.job_id, job.command, run.worker, func.coalesce(worker.node, ending.node),
            run.start, run.state, run.duration, run.code,
        )
        .join_from(schema.runs, schema.jobs, job.id == run.job_id)
        .outerjoin(schema.workers, worker.name == run.worker)
        .outerjoin(schema.endings, ending.id == run.id)
        .where(job.start_time != 0)
        .order_by(run.id)
    )  # fmt: skip
    return [
        _ended_run(*row)
        for ids in _listed(connection, schema.farm.c.ended)
        for row in fetch(connection, question.where(text(f"{run.id} IN ({ids})")))
    ]


def fresh_runs(connection: Connection) -> list[tuple[int, int]]:
    """Give runs and their jobs whose logs were cleared before that, and may still be there."""
    table = schema.runs.c
    question = select(table.id, table.job_id)
    return [
        (run, job)
        for ids in _listed(connection, schema.farm.c.fresh)
        for run, job in fetch(connection, question.where(text(f"id IN ({ids})")))
    ]


def _listed(connection: Connection, column: Column[Any]) -> Iterator[str]:
    """Give the numbers of a list as it stands in the table Farm; see id_lists()."""
    listed = connection.scalar(select(column)) or ""
    return id_lists(sorted(int(number) for number in listed.split(",") if number))


def _ended_run(
    id: int,
    job: int,
    command: str,
    name: str,
    node: str | None,
    start: float,
    state: RunState,
    duration: float,
    code: int | None,
) -> Run:
    worker = Worker(name, 0.0)
    worker.node = node or ""
    run = Run(id, Job(job, command=command), worker, float(start))
    run.state, run.duration, run.code = state, float(duration), code
    return run


def load_trees(connection: Connection, ids: Iterable[int], known: Container[int] = ()) -> Loaded:
    """Read the whole trees in which these jobs stand, and those they depend on.

    Jobs that do not exist are missing in the answer; trees whose root is in `known` are left out.
    Only `jobs` and `dependencies` are filled in.
    """
    roots = sorted(_roots(connection, ids, known))
    jobs, links = _load_with_dependencies(connection, roots, known)
    return Loaded(jobs=jobs, dependencies=links)


def _take_back(connection: Connection) -> None:
    table = schema.submissions.c
    job = schema.jobs.c.id
    question = select(table.id, table.first_job, table.last_job)
    for id, first, last in list(fetch(connection, question)):
        written = [id for (id,) in fetch(connection, select(job).where(job.between(first, last)))]
        delete_jobs(connection, written)
        delete_rows(connection, schema.submissions, "id", [id])


def _next(connection: Connection, counter: str, id: ColumnElement[int]) -> int:
    table = schema.counters.c
    given = connection.scalar(select(table.value).where(table.name == counter))
    return max(given or 0, connection.scalar(select(func.max(id))) or 0) + 1


# --- jobs ------------------------------------------------------------------------------------


def _load_with_dependencies(
    connection: Connection, roots: list[int], known: Container[int]
) -> tuple[list[StoredJob], list[Link]]:
    """Read trees, then the trees they depend on, until nothing is missing."""
    jobs: list[StoredJob] = []
    links: list[Link] = []
    there: set[int] = set()
    while roots:
        begin = len(jobs)
        _load_trees(connection, jobs, roots)
        new = [job.id for job, _, _ in jobs[begin:]]
        there.update(new)
        found = _dependencies(connection, new)
        links += found
        missing = {other for _, other in found if other not in there and other not in known}
        roots = sorted(_roots(connection, missing, known) - there)
    # What is left of jobs that are gone holds nobody.
    return jobs, [(job, other) for job, other in links if other in there or other in known]


def _load_trees(connection: Connection, jobs: list[StoredJob], roots: list[int]) -> None:
    column, ids = "id", roots
    while ids:
        begin = len(jobs)
        for listed in id_lists(ids):
            question = select(*COLUMNS).where(text(f"{column} IN ({listed})"))
            jobs += _jobs(fetch(connection, question))
        column, ids = "parent", [job.id for job, _, is_group in jobs[begin:] if is_group]


def _roots(connection: Connection, ids: Iterable[int], known: Container[int]) -> set[int]:
    """Give the ids at the top of the trees in which jobs stand, without those in `known`."""
    roots: set[int] = set()
    seen: set[int] = set()
    level = set(ids)
    table = schema.jobs.c
    while level:
        seen |= level
        above: set[int] = set()
        for listed in id_lists(level):
            question = select(table.id, table.parent).where(text(f"id IN ({listed})"))
            for id, parent in fetch(connection, question):
                above.add(parent) if parent else roots.add(id)
        level = above - seen
    return {id for id in roots if id not in known}


def _dependencies(connection: Connection, ids: list[int]) -> list[Link]:
    table = schema.dependencies.c
    question = select(table.job_id, table.dependency)
    return [
        (job, other)
        for listed in id_lists(ids)
        for job, other in fetch(connection, question.where(text(f"job_id IN ({listed})")))
    ]


def _jobs(rows: Iterable[Sequence[Any]]) -> Iterator[StoredJob]:
    """Make jobs of rows of COLUMNS; texts that many jobs share are kept once."""
    words: dict[str, Words] = {}
    for (
        id, parent, title, command, dir, environment, affinity, priority, timeout, retry, url, user,
        progress_pattern, globalprogress, paused, state, worker, start_time, duration, run_done,
        progress, local_progress, is_group, exclusive, scratch,
    ) in rows:  # fmt: skip
        if affinity not in words:
            words[affinity] = parse_words(affinity)
        job = Job(
            id,
            title=title,
            command=command,
            dir=intern(dir),
            environment=intern(environment),
            affinity=intern(affinity),
            words=words[affinity],
            priority=int(priority),
            timeout=timeout,
            retry=retry,
            url=url,
            user=intern(user),
            progress_pattern=intern(progress_pattern),
            globalprogress=intern(globalprogress),
            paused=bool(paused),
            exclusive=bool(exclusive),
            scratch=bool(scratch),
        )
        job.state = STATE_OF[state]
        job.worker = intern(worker)
        job.start_time = float(start_time)
        job.duration = float(duration)
        job.run_done = run_done
        job.progress = progress
        job.local_progress = local_progress
        yield job, parent, bool(is_group)


# --- workers and runs ------------------------------------------------------------------------


def _workers(connection: Connection) -> list[Worker]:
    lines = reading.worker_lines(connection)
    table = schema.workers.c
    question = select(
        table.name, table.start_time, table.node, table.ip, table.state, table.finished,
        table.error, table.last_job, table.active, table.draining, table.host, table.os,
        table.cores, table.memory, table.version, table.session,
    ).order_by(table.name)  # fmt: skip
    workers = []
    for row in fetch(connection, question):
        worker = Worker(row[0], float(row[1]))
        worker.node, worker.ip, worker.state, worker.finished = row[2:6]
        worker.error, worker.last_job = row[6:8]
        worker.active, worker.draining = bool(row[8]), bool(row[9])
        worker.host, worker.os, worker.cores, worker.memory, worker.version = row[10:15]
        worker.session = row[15]
        worker.affinity = "\n".join(lines.get(worker.name, ()))
        worker.lines = parse_lines(worker.affinity, leased=bool(worker.node))
        workers.append(worker)
    return workers


def _current_runs(connection: Connection, jobs: Iterable[StoredJob]) -> list[StoredRun]:
    """Give the latest run of every job that is WORKING; other runs that are open were LOST.

    They are looked up by the jobs and by the workers that may have one: the history can be long,
    and the state stands in no index.
    """
    working = {job.id for job, _, is_group in jobs if job.state == WORKING and not is_group}
    events = connection.scalars(select(schema.workers.c.current_event)).all()
    open_runs = {
        run
        for column, ids in (("job_id", working), ("id", events))
        for listed in id_lists(ids)
        for run in _open_runs(connection, text(f"{column} IN ({listed})"), WORKING)
    }
    latest = {run[1]: run for run in sorted(open_runs) if run[1] in working}
    lost = open_runs - set(latest.values())
    for listed in id_lists(id for id, *_ in lost):
        connection.execute(update(schema.runs).where(text(f"id IN ({listed})")).values(state=LOST))
    return list(latest.values())


def _reserved_runs(connection: Connection, jobs: Iterable[StoredJob]) -> list[StoredRun]:
    """Give the runs that were handed ahead to nodes; those whose job is gone are deleted."""
    there = {job.id for job, _, is_group in jobs if not is_group}
    found = _open_runs(connection, schema.runs.c.start == NOT_BEGUN, RESERVED)
    delete_rows(connection, schema.runs, "id", [id for id, job, *_ in found if job not in there])
    return [run for run in found if run[1] in there]


def _endings(connection: Connection) -> list[tuple[int, int, str, str]]:
    table = schema.endings.c
    rows = fetch(connection, select(table.id, table.job_id, table.worker, table.node))
    return [(id, job, worker, node) for id, job, worker, node in rows]


def _open_runs(
    connection: Connection, which: ColumnElement[bool] | TextClause, state: RunState
) -> list[StoredRun]:
    table = schema.runs.c
    question = select(table.id, table.job_id, table.worker, table.start)
    rows = fetch(connection, question.where(which, table.state == state).order_by(table.id))
    return [(id, job, worker, float(start), state) for id, job, worker, start in rows]
