"""Writing a batch of changes: what the reactor hands over, and one transaction for all of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, insert

from coalition.core.changes import Changes
from coalition.core.model import Job, Run, Worker
from coalition.core.states import RESERVED
from coalition.store import schema
from coalition.store.engine import Store

Row = tuple[Any, ...]

STATE_COLUMNS = (
    "state", "paused", "worker", "start_time", "duration", "run_done", "progress", "local_progress",
    "finished", "errors", "working", "total", "total_finished", "total_errors", "total_working",
    "id",
)  # fmt: skip
"""What changes as jobs run; the key is last, as an UPDATE wants it."""

JOB_COLUMNS = (
    "parent", "title", "command", "dir", "environment", "retry", "timeout", "priority", "affinity",
    "user", "url", "progress_pattern", "globalprogress", "is_group", "exclusive", "scratch",
    *STATE_COLUMNS,
)  # fmt: skip

RUN_COLUMNS = ("id", "worker", "job_id", "job_title", "state", "start", "duration", "code")

RUN_BEGIN_COLUMNS = ("worker", "start", "state", "duration", "code", "id")
"""What is new of a run that was handed ahead; it may have ended already."""

RUN_END_COLUMNS = ("state", "duration", "code", "id")

WORKER_COLUMNS = (
    "name", "node", "start_time", "ip", "state", "finished", "error", "last_job", "current_event",
    "active", "host", "os", "cores", "memory", "version", "draining", "session",
)  # fmt: skip

DEPENDENCY_COLUMNS = ("job_id", "dependency")

ENDING_COLUMNS = ("id", "job_id", "worker", "node")

SUBMISSION_COLUMNS = ("id", "first_job", "last_job")

NO_RUN = -1
"""`current_event` of a worker that has no run, as in 4.0."""

NOT_BEGUN = 0.0
"""`start` of a run that is RESERVED: `start` has an index, which `state` has not."""

TIMEOUT = "timeout"
"""Name of the counter that is no counter: the longest `timeout` in ms a node may count with."""

IDS_PER_STATEMENT = 1000

MOST_LISTED = 40_000
"""Runs of one batch that are listed: of 19 digits they are 800 kB, which every server takes."""


@dataclass(slots=True)
class Batch:
    """Rows of one transaction, as plain values that nobody changes any more."""

    new_jobs: list[Row] = field(default_factory=list)
    edited_jobs: list[Row] = field(default_factory=list)
    jobs: list[Row] = field(default_factory=list)
    deleted_jobs: list[int] = field(default_factory=list)
    unlinked: list[int] = field(default_factory=list)  # jobs whose dependencies are replaced
    dependencies: list[Row] = field(default_factory=list)
    new_runs: list[Row] = field(default_factory=list)
    begun_runs: list[Row] = field(default_factory=list)
    dropped_runs: list[int] = field(default_factory=list)
    ended_runs: list[Row] = field(default_factory=list)
    endings: list[Row] = field(default_factory=list)
    finished_endings: list[int] = field(default_factory=list)
    workers: list[Row] = field(default_factory=list)
    worker_affinities: dict[str, str] = field(default_factory=dict)
    deleted_workers: list[str] = field(default_factory=list)
    affinities: dict[int, str] = field(default_factory=dict)
    begun_submissions: list[Row] = field(default_factory=list)
    ended_submissions: list[int] = field(default_factory=list)
    last_job: int = 0  # the highest id that was given, 0 if none was
    last_run: int = 0
    timeout: float | None = None  # the longest that nodes count with, in seconds, if it is new
    ended: str | None = None  # the new list of runs whose logs may lack their last line
    fresh: str | None = None  # that of runs whose job's log was cleared before they began


def snapshot(changes: Changes, owed: Iterable[Run] = (), cleared: Collection[int] = ()) -> Batch:
    """Read the values of everything that changed. Runs in the reactor's thread, so it is quick.

    `owed` are runs of earlier batches whose logs still lack their last line, `cleared` are jobs
    whose logs of before are still to be removed.
    """
    batch = Batch()
    _take_jobs(batch, changes)
    _take_runs(batch, changes)
    _take_ended(batch, changes, owed)
    _take_fresh(batch, changes, cleared)
    batch.workers = [worker_row(worker) for worker in changes.workers.values()]
    batch.worker_affinities = {name: worker.affinity for name, worker in changes.workers.items()}
    batch.deleted_workers = list(changes.deleted_workers)
    batch.affinities = dict(changes.affinities)
    batch.timeout = changes.timeout
    for id, jobs in changes.submissions.items():
        if jobs is None:
            batch.ended_submissions.append(id)
        else:
            batch.begun_submissions.append((id, *jobs))
    return batch


def _take_jobs(batch: Batch, changes: Changes) -> None:
    new, edited, gone = changes.new_jobs, changes.edited_jobs, changes.deleted_jobs
    if gone:
        new, edited = _without(new, gone), _without(edited, gone)
    batch.new_jobs = [job_row(job) for job in new.values()]
    batch.edited_jobs = [job_row(job) for id, job in edited.items() if id not in new]
    batch.jobs = [
        _state_row(job)
        for id, job in changes.jobs.items()
        if id not in new and id not in edited and id not in gone
    ]
    batch.deleted_jobs = list(gone)
    for id, job in changes.dependencies.items():
        if id in gone:
            continue
        batch.unlinked.append(id)
        batch.dependencies += [(id, other.id) for other in job.dependencies if other.id not in gone]
    # A job that came and went within the batch has used up its id, too.
    batch.last_job = max(max(changes.new_jobs, default=0), max(gone, default=0))


def _take_runs(batch: Batch, changes: Changes) -> None:
    """Take each run once: as a new row, as one that has begun, as one that has ended, or gone."""
    new, begun, gone = changes.new_runs, changes.begun_runs, changes.dropped_runs
    batch.new_runs = [_run_row(run) for id, run in new.items() if id not in gone]
    batch.begun_runs = [_begun_row(run) for id, run in begun.items() if id not in new]
    batch.ended_runs = [
        (run.state, run.duration, run.code, id)
        for id, run in changes.finished_runs.items()
        if id not in new and id not in begun
    ]
    batch.dropped_runs = [id for id in gone if id not in new]
    for id, ending in changes.endings.items():
        if ending is None:
            batch.finished_endings.append(id)
        else:
            worker = ending.worker
            batch.endings.append((id, ending.job_id, worker.name, worker.node))
    batch.last_run = max(new, default=0)


def _take_ended(batch: Batch, changes: Changes, owed: Iterable[Run]) -> None:
    """List the runs that still need the last line of their log once this batch is written.

    With the log of a job goes what ended before; a run that also began in this batch did so after.
    """
    ended, cleared = changes.finished_runs, changes.cleared_logs
    if ended or cleared:
        begun = changes.new_runs.keys() | changes.begun_runs.keys() if cleared else ()
        numbers = [run.id for run in owed if run.job_id not in cleared]
        numbers += [id for id, run in ended.items() if run.job_id not in cleared or id in begun]
        batch.ended = ",".join(map(str, numbers[:MOST_LISTED]))


def _take_fresh(batch: Batch, changes: Changes, cleared: Collection[int]) -> None:
    """List the runs of this batch that begin where the log of before may still stand.

    They get their heads, for which it goes, before the next batch is written.
    """
    if not changes.cleared_logs and not cleared:
        return
    numbers = [
        id
        for id, run in {**changes.new_runs, **changes.begun_runs}.items()
        if run.state != RESERVED and (run.job_id in changes.cleared_logs or run.job_id in cleared)
    ]
    if numbers:
        batch.fresh = ",".join(map(str, numbers[:MOST_LISTED]))


def _without(jobs: dict[int, Job], gone: dict[int, None]) -> dict[int, Job]:
    return {id: job for id, job in jobs.items() if id not in gone}


def _state_row(job: Job) -> Row:
    group = job.group
    if group is None:
        return (
            job.state, job.paused, job.worker, job.start_time, job.duration, job.run_done,
            job.progress, job.local_progress, 0, 0, 0, 0, 0, 0, 0, job.id,
        )  # fmt: skip
    return (
        job.state, job.paused, job.worker, job.start_time, job.duration, job.run_done,
        job.progress, job.local_progress, group.finished, group.errors, group.working,
        group.total, group.total_finished, group.total_errors, group.total_working, job.id,
    )  # fmt: skip


def job_row(job: Job) -> Row:
    """Give the values of JOB_COLUMNS."""
    parent = job.parent
    assert parent is not None
    return (
        parent.id, job.title, job.command, job.dir, job.environment, job.retry, job.timeout,
        str(job.priority), job.affinity, job.user, job.url, job.progress_pattern,
        job.globalprogress, job.group is not None, job.exclusive, job.scratch, *_state_row(job),
    )  # fmt: skip


def _run_row(run: Run) -> Row:
    start = NOT_BEGUN if run.state == RESERVED else run.start
    return (
        run.id, run.worker.name, run.job_id, run.job_title, run.state, start, run.duration,
        run.code,
    )  # fmt: skip


def _begun_row(run: Run) -> Row:
    return (run.worker.name, run.start, run.state, run.duration, run.code, run.id)


def worker_row(worker: Worker) -> Row:
    """Give the values of WORKER_COLUMNS."""
    run = worker.run
    return (
        worker.name, worker.node, worker.start_time, worker.ip, worker.state, worker.finished,
        worker.error, worker.last_job, NO_RUN if run is None else run.id, worker.active,
        worker.host, worker.os, worker.cores, worker.memory, worker.version, worker.draining,
        worker.session,
    )  # fmt: skip


def write(store: Store, batch: Batch) -> None:
    """Write a batch in one transaction; when this returns it is durable.

    After StoreUnavailable the same batch may be written again, even if the commit did arrive.
    Raises StoreError if it can never be written.
    """
    with store.writing() as connection:
        _write_jobs(store, connection, batch)
        database = store.database
        database.insert(connection, schema.runs, RUN_COLUMNS, batch.new_runs)
        database.update(connection, schema.runs, RUN_BEGIN_COLUMNS, batch.begun_runs)
        database.update(connection, schema.runs, RUN_END_COLUMNS, batch.ended_runs)
        delete_rows(connection, schema.runs, "id", batch.dropped_runs)
        database.insert(connection, schema.endings, ENDING_COLUMNS, batch.endings)
        delete_rows(connection, schema.endings, "id", batch.finished_endings)
        _write_workers(store, connection, batch)
        _write_affinities(connection, batch.affinities)
        raise_counter(connection, "jobs", batch.last_job)
        raise_counter(connection, "runs", batch.last_run)
        if batch.timeout is not None:
            note_timeout(connection, batch.timeout)
        for column, listed in (("ended", batch.ended), ("fresh", batch.fresh)):
            if listed is not None:
                connection.exec_driver_sql(f"UPDATE {schema.farm.name} SET {column} = '{listed}'")
    # Only now: a transaction that failed has written none of them.
    for name in batch.deleted_workers:
        store.affinities.pop(name, None)
    store.affinities.update(batch.worker_affinities)


def _write_jobs(store: Store, connection: Connection, batch: Batch) -> None:
    database = store.database
    database.insert(connection, schema.submissions, SUBMISSION_COLUMNS, batch.begun_submissions)
    delete_rows(connection, schema.submissions, "id", batch.ended_submissions)
    database.insert(connection, schema.jobs, JOB_COLUMNS, batch.new_jobs)
    database.update(connection, schema.jobs, JOB_COLUMNS, batch.edited_jobs)
    # In the order of their ids they share pages of the file.
    database.update(connection, schema.jobs, STATE_COLUMNS, sorted(batch.jobs, key=_last))
    delete_jobs(connection, batch.deleted_jobs)
    delete_rows(connection, schema.dependencies, "job_id", batch.unlinked)
    database.insert(connection, schema.dependencies, DEPENDENCY_COLUMNS, batch.dependencies)


def _last(row: Row) -> Any:
    return row[-1]


def _write_workers(store: Store, connection: Connection, batch: Batch) -> None:
    # One that is in both lists was deleted and has come back.
    if batch.deleted_workers:
        connection.execute(
            delete(schema.workers).where(schema.workers.c.name == bindparam("gone")),
            [{"gone": name} for name in batch.deleted_workers],
        )
    store.database.put(connection, schema.workers, WORKER_COLUMNS, batch.workers)
    # Workers change with every run, their affinities hardly ever.
    known = store.affinities
    for name, affinity in batch.worker_affinities.items():
        if known.get(name) != affinity or name in batch.deleted_workers:
            _write_worker_affinity(connection, name, affinity)


def _write_worker_affinity(connection: Connection, name: str, affinity: str) -> None:
    table = schema.worker_affinities
    connection.execute(delete(table).where(table.c.worker_name == name))
    rows = [
        {"worker_name": name, "affinity": line, "ordering": ordering}
        for ordering, line in enumerate(affinity.split("\n") if affinity else ())
    ]
    if rows:
        connection.execute(insert(table), rows)


def _write_affinities(connection: Connection, names: dict[int, str]) -> None:
    if names:
        delete_rows(connection, schema.affinities, "id", names)
        rows = [{"id": id, "name": name} for id, name in names.items()]
        connection.execute(insert(schema.affinities), rows)


def delete_jobs(connection: Connection, ids: Sequence[int]) -> None:
    """Delete jobs and their dependencies both ways; their runs stay as history."""
    delete_rows(connection, schema.jobs, "id", ids)
    delete_rows(connection, schema.dependencies, "job_id", ids)
    delete_rows(connection, schema.dependencies, "dependency", ids)


def delete_rows(connection: Connection, table: Table, column: str, ids: Iterable[int]) -> None:
    """Delete the rows of `table` whose `column` is one of the numbers."""
    for listed in id_lists(ids):
        connection.exec_driver_sql(f"DELETE FROM {table.name} WHERE {column} IN ({listed})")


def id_lists(ids: Iterable[int]) -> Iterator[str]:
    """Give the numbers as they stand in statements of a bounded length: "1,2,3"."""
    rest = iter(ids)
    while chunk := ",".join([str(int(id)) for id in islice(rest, IDS_PER_STATEMENT)]):
        yield chunk


def raise_counter(connection: Connection, name: str, value: int) -> None:
    """Note that ids up to `value` were given; a lower one than was noted changes nothing."""
    if value:
        connection.exec_driver_sql(
            f"UPDATE {schema.counters.name} SET value = {value:d} WHERE name = '{name}' AND value <"
            f" {value:d}"
        )


def note_timeout(connection: Connection, seconds: float) -> None:
    """Note the longest `timeout` that a node may count with from now on."""
    table = schema.counters
    connection.execute(delete(table).where(table.c.name == TIMEOUT))
    connection.execute(insert(table).values(name=TIMEOUT, value=round(seconds * 1000)))
