"""What the API shows of jobs, workers and runs: dictionaries ready for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, between, exists, not_, select

from coalition.core.states import PAUSED, RESERVED, WORKING
from coalition.store import schema
from coalition.store.engine import fetch

Shown = dict[str, Any]

DIGITS = 3
"""Decimals of the seconds that are shown."""


def job(connection: Connection, id: int, now: float) -> Shown | None:
    """Give a job with the ids of its dependencies, or None if there is none."""
    table = schema.jobs.c
    found = _jobs(connection, and_(table.id == id, _visible()), now)
    if not found:
        return None
    links = schema.dependencies.c
    ids = select(links.dependency).where(links.job_id == id).order_by(links.dependency)
    return {**found[0], "dependencies": list(connection.scalars(ids))}


def children(connection: Connection, parent: int, now: float) -> list[Shown]:
    """Give the jobs of a group, or of the root (0), in the order of their ids."""
    return _jobs(connection, and_(schema.jobs.c.parent == parent, _visible()), now)


def dependencies(connection: Connection, id: int, now: float) -> list[Shown]:
    """Give the jobs that a job depends on."""
    links = schema.dependencies.c
    wanted = schema.jobs.c.id.in_(select(links.dependency).where(links.job_id == id))
    return _jobs(connection, and_(wanted, _visible()), now)


def children_dependencies(connection: Connection, id: int) -> list[dict[str, int]]:
    """Give what the jobs of a group depend on: a list of {"id": job, "dependency": job}."""
    links = schema.dependencies.c
    question = (
        select(links.job_id, links.dependency)
        .join(schema.jobs, schema.jobs.c.id == links.job_id)
        .where(schema.jobs.c.parent == id, _visible())
        .order_by(links.job_id, links.dependency)
    )
    return [{"id": job, "dependency": other} for job, other in connection.execute(question)]


def find_path(connection: Connection, titles: Sequence[str]) -> int | None:
    """Follow titles down from the root, at each level to the oldest job with exactly that title."""
    id: int | None = 0 if titles else None
    for title in titles:
        id = _first(
            connection,
            and_(schema.jobs.c.parent == id, schema.jobs.c.title == title, _visible()),
        )
        if id is None:
            return None
    return id


def find_title(connection: Connection, title: str) -> int | None:
    """Give the oldest job with exactly this title, wherever it stands."""
    return _first(connection, and_(schema.jobs.c.title == title, _visible()))


WORKER_COLUMNS = [column for column in schema.workers.c if column.name != "session"]
"""Not the session: who knows it could speak for the node."""


def workers(connection: Connection) -> list[Shown]:
    """Give all workers by name; `affinity` holds their lines, separated by newlines."""
    lines = worker_lines(connection)
    rows = connection.execute(select(*WORKER_COLUMNS).order_by(schema.workers.c.name))
    return [
        {
            **row,
            "start_time": round(row["start_time"], DIGITS),
            "affinity": "\n".join(lines.get(row["name"], ())),
        }
        for row in rows.mappings()
    ]


def worker_lines(connection: Connection) -> dict[str, list[str]]:
    """Give the affinity lines of the workers that have any, by name, in their order."""
    lines: dict[str, list[str]] = {}
    table = schema.worker_affinities.c
    question = select(table.worker_name, table.affinity).order_by(table.worker_name, table.ordering)
    for name, line in fetch(connection, question):
        lines.setdefault(name, []).append(line)
    return lines


def events(
    connection: Connection, job: int = -1, worker: str = "", since: float | None = None
) -> list[Shown]:
    """Give the runs of a job, of a worker, begun after `since`, or all, the oldest first.

    Those that are only handed ahead have not begun.
    """
    table = schema.runs.c
    question = select(schema.runs).where(table.state != RESERVED).order_by(table.id)
    if job >= 0:
        question = question.where(table.job_id == job)
    if worker:
        question = question.where(table.worker == worker)
    if since is not None:
        question = question.where(table.start > since)
    return [
        {**row, "start": round(row["start"], DIGITS), "duration": round(row["duration"], DIGITS)}
        for row in connection.execute(question).mappings()
    ]


def affinities(connection: Connection) -> dict[str, str]:
    """Give the names of the affinity table by their numbers."""
    table = schema.affinities.c
    rows = connection.execute(select(table.id, table.name).order_by(table.id))
    return {str(id): name for id, name in rows}


def _visible() -> ColumnElement[bool]:
    """Leave out submissions that are still being written: nobody is to see them yet.

    The database itself is asked, as a list of them might be older or newer than what is read.
    """
    unfinished = schema.submissions.c
    return not_(
        exists().where(between(schema.jobs.c.id, unfinished.first_job, unfinished.last_job))
    )


def _first(connection: Connection, wanted: ColumnElement[bool]) -> int | None:
    id = schema.jobs.c.id
    return connection.scalar(select(id).where(wanted).order_by(id).limit(1))


def _jobs(connection: Connection, wanted: ColumnElement[bool], now: float) -> list[Shown]:
    question = select(schema.jobs).where(wanted).order_by(schema.jobs.c.id)
    return _shown(fetch(connection, question), now)


def _shown(rows: Iterable[Sequence[Any]], now: float) -> list[Shown]:
    names = tuple(schema.jobs.columns.keys())
    shown = []
    for row in rows:
        job = dict(zip(names, row, strict=True))
        start = float(job["start_time"])
        if job["state"] == WORKING and not job["is_group"]:
            job["duration"] = max(0.0, now - start)
        job["priority"] = int(job["priority"])
        job["start_time"] = round(start, DIGITS)
        job["duration"] = round(float(job["duration"]), DIGITS)
        timeout = float(job["timeout"])
        job["timeout"] = int(timeout) if timeout.is_integer() else timeout
        if job["paused"]:
            job["state"] = PAUSED
        shown.append(job)
    return shown
