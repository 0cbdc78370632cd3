"""Filling new tables with what a database of 4.0 holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Connection, MetaData, Table, func, select

from coalition.core.farm import Farm
from coalition.core.model import Job, Worker
from coalition.core.states import (
    ERROR,
    FINISHED,
    LOST,
    STARTING,
    TERMINATED,
    TIMEOUT,
    WAITING,
    WorkerState,
)
from coalition.store import schema, versions
from coalition.store.coalition40 import source as old
from coalition.store.coalition40 import tree
from coalition.store.coalition40.affinities import Affinities
from coalition.store.coalition40.report import Report
from coalition.store.coalition40.source import Source
from coalition.store.coalition40.values import (
    count,
    flag,
    is_utf8,
    last_job,
    moment,
    name,
    seconds,
    text,
    unescape,
    whole,
)
from coalition.store.mysql import MySQL
from coalition.store.sqlite import SQLite
from coalition.store.writing import (
    DEPENDENCY_COLUMNS,
    JOB_COLUMNS,
    RUN_COLUMNS,
    WORKER_COLUMNS,
    job_row,
    worker_row,
)

Row = tuple[Any, ...]

AT_ONCE = 1000
"""Rows that are held and written together."""

PRIORITY = 8
"""That of a job without one, as in 4.0's table."""

NO_ENVIRONMENT = "None"
"""What 4.0 stored for a job without one."""

WORKERS = "workers"
LINES = "affinity lines"
EVENTS = "events"
NAMES = "named affinities"

STATE_OF: dict[str, WorkerState] = {state: state for state in (TIMEOUT, STARTING, TERMINATED)}
"""States of workers that stay; all others wait."""


@dataclass(frozen=True)
class Target:
    """New tables, whose names begin with `prefix`, and the connection to write them with."""

    connection: Connection
    database: type[SQLite] | type[MySQL]
    prefix: str = ""

    @property
    def tables(self) -> MetaData:
        """The tables as they are called."""
        return schema.beside(self.prefix) if self.prefix else schema.metadata

    def write(self, table: Table, columns: tuple[str, ...], rows: Iterable[Row]) -> None:
        """Insert rows, some at a time."""
        real = self.tables.tables[self.prefix + table.name]
        rest = iter(rows)
        while some := list(islice(rest, AT_ONCE)):
            self.database.insert(self.connection, real, columns, some)

    def count(self, table: Table) -> int:
        """Give how many rows are there."""
        real = self.tables.tables[self.prefix + table.name]
        return self.connection.scalar(select(func.count()).select_from(real)) or 0


def fill(source: Source, target: Target) -> Report:
    """Make the new tables and write into them what can be kept of the old ones.

    Raises StoreError if rows are missing afterwards that nobody dropped.
    """
    old.check(source)
    report = Report()
    for what, table in ((tree.JOBS, "Jobs"), (tree.LINKS, "Dependencies")):
        report.tally(what, source.count(table))
    farm = tree.build(source, report)
    versions.create(
        target.connection,
        source.highest_id("Events"),
        highest_job=max(source.highest_id("Jobs"), source.highest("Events", "job_id")),
        prefix=target.prefix,
    )
    names = _affinities(source, target, report)
    target.write(schema.jobs, JOB_COLUMNS, _jobs(source, farm, names, report))
    target.write(schema.dependencies, DEPENDENCY_COLUMNS, _links(farm))
    _workers(source, target, names, report)
    report.tally(EVENTS, source.count("Events"))
    target.write(schema.runs, RUN_COLUMNS, _events(source, report))
    _count(target, report)
    return report


def _count(target: Target, report: Report) -> None:
    written = {
        tree.JOBS: schema.jobs,
        tree.LINKS: schema.dependencies,
        WORKERS: schema.workers,
        LINES: schema.worker_affinities,
        EVENTS: schema.runs,
        NAMES: schema.affinities,
    }
    for what, table in written.items():
        report.tallies[what].after = target.count(table)
    report.check()


# --- jobs ------------------------------------------------------------------------------------


def _affinities(source: Source, target: Target, report: Report) -> Affinities:
    rows = [(whole(id), text(name)) for id, name in source.rows("Affinities", ["id", "name"])]
    named = [(id, name) for id, name in rows if name]
    names = Affinities(named, report)
    tally = report.tally(NAMES, len(named))
    if lost := len(named) - len(names.names):
        tally.dropped["without a number of their own from 1 to 63"] = lost
    target.write(schema.affinities, ("id", "name"), sorted(names.names.items()))
    return names


OLD_JOB = (
    "id", "worker", "timeout", "priority", "affinity", "affinity_bits", "title", "command", "dir",
    "environment", "user", "url", "progress_pattern",
)  # fmt: skip


def _jobs(source: Source, farm: Farm, names: Affinities, report: Report) -> Iterator[Row]:
    """Give the rows of the jobs; each has its texts only here."""
    for id, worker, timeout, priority, words, bits, *texts in source.rows("Jobs", OLD_JOB, "id"):
        if (job := farm.tree.jobs.get(whole(id))) is None:
            continue
        if job.group is None:
            job.worker = name(worker)
        job.timeout = seconds(timeout)
        job.priority = whole(priority, PRIORITY)
        job.affinity = names.of_names(words) if bits is None else names.of_mask(bits)
        if not all(map(is_utf8, texts)):
            report.change(
                "jobs with texts that are not UTF-8",
                f"job {job.id}: its texts are not UTF-8; they are read as Latin-1",
            )
        _set_texts(job, [said(source, one) for one in texts])
        yield job_row(job)
        _set_texts(job, NO_TEXTS)


NO_TEXTS = ("",) * 7


def _set_texts(job: Job, texts: Sequence[str]) -> None:
    job.title, job.command, job.dir, environment, job.user, job.url, job.progress_pattern = texts
    job.environment = "" if environment == NO_ENVIRONMENT else environment


def said(source: Source, value: Any) -> str:
    """Give a text as it was submitted."""
    return unescape(text(value)) if source.escaped else text(value)


def _links(farm: Farm) -> Iterator[Row]:
    for job in farm.tree.jobs.values():
        yield from ((job.id, other.id) for other in job.dependencies)


# --- workers and events ----------------------------------------------------------------------


OLD_WORKER = (
    "name", "affinity", "affinity_bits", "state", "start_time", "finished", "error", "last_job",
    "active",
)  # fmt: skip


def _workers(source: Source, target: Target, names: Affinities, report: Report) -> None:
    """Write the workers and their lines, which version 0 had beside their names."""
    report.tally(WORKERS, source.count("Workers"))
    workers: dict[str, Worker] = {}
    own: dict[str, list[str]] = {}
    for row in source.rows("Workers", OLD_WORKER, "name"):
        worker = _worker(row)
        if not 0 < len(worker.name) <= schema.LONGEST_NAME or worker.name in workers:
            reason = "name is missing, twice there or too long"
            report.drop(WORKERS, reason, f"worker {worker.name[:80]!r}")
            continue
        workers[worker.name] = worker
        own[worker.name] = _own_lines(names, row[1], row[2])
    lines = _lines(source, workers, names, report)
    for worker_name in workers.keys() - lines.keys():
        lines[worker_name] = own[worker_name]
        report.tallies[LINES].before += len(own[worker_name])
    rows = [(who, line, at) for who in workers for at, line in enumerate(lines[who])]
    target.write(schema.workers, WORKER_COLUMNS, map(worker_row, workers.values()))
    columns = ("id", "worker_name", "affinity", "ordering")
    numbered = ((id, *row) for id, row in enumerate(rows, start=1))
    target.write(schema.worker_affinities, columns, numbered)


def _worker(row: Sequence[Any]) -> Worker:
    worker = Worker(text(row[0]), moment(row[4]))
    worker.state = STATE_OF.get(text(row[3]), WAITING)
    worker.finished, worker.error = count(row[5]), count(row[6])
    worker.last_job, worker.active = last_job(row[7]), flag(row[8])
    return worker


def _own_lines(names: Affinities, written: Any, bits: Any) -> list[str]:
    """Read what stands with a worker itself: bits, or the same as a number, or lists of names."""
    if whole(bits):
        return [names.of_mask(bits)]
    if text(written).isdecimal():
        return [names.of_mask(written)]
    return [names.of_names(line) for line in text(written).splitlines()]


def _lines(
    source: Source, workers: Mapping[str, Worker], names: Affinities, report: Report
) -> dict[str, list[str]]:
    """Give the lines of the workers that have any, in their order."""
    report.tally(LINES, source.count("WorkerAffinities"))
    alike = {_alike(name): name for name in workers} if source.ignores_case else {}
    lines: dict[str, list[str]] = {}
    columns, order = ["worker_name", "affinity"], "ordering, id"
    for worker_name, mask in source.rows("WorkerAffinities", columns, order):
        who = text(worker_name)
        found = who if who in workers else alike.get(_alike(who))
        if found is None:
            report.drop(LINES, "of workers that are gone", f"affinity line of {who[:80]!r}")
        else:
            lines.setdefault(found, []).append(names.of_mask(mask))
    return lines


def _alike(name: str) -> str:
    return name.casefold().rstrip(" ")


OLD_EVENT = ("id", "worker", "job_id", "job_title", "state", "start", "duration")


def _events(source: Source, report: Report) -> Iterator[Row]:
    """Give the rows of the events; whatever 4.0 never closed is LOST."""
    for id, worker, job, title, state, start, duration in source.rows("Events", OLD_EVENT, "id"):
        if whole(id) < 1:
            report.drop(EVENTS, "no id of an event", f"event {id}")
            continue
        # 4.0 took the title from the job, escapes and all, and escaped it again.
        shown = unescape(said(source, title)) if source.escaped else text(title)
        end = text(state)
        yield (
            whole(id), name(said(source, worker)), count(job), shown,
            end if end in (FINISHED, ERROR) else LOST, seconds(start), seconds(duration), None,
        )  # fmt: skip
