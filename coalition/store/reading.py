"""What the API shows of jobs, workers and runs: dictionaries by the names of the columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    between,
    case,
    exists,
    literal,
    not_,
    select,
)

from coalition.core.states import PAUSED, RESERVED, WORKING
from coalition.store import schema
from coalition.store.engine import fetch
from coalition.store.listing import ALL, Asked, Digits, Plain, columns_of, page

Shown = dict[str, Any]

DIGITS = 3
"""Decimals of the seconds that are shown."""


def job(connection: Connection, id: int, now: float) -> Shown | None:
    """Give a job with the ids of its dependencies, or None if there is none."""
    table = schema.jobs.c
    found = next(jobs(connection, now, ALL, table.id == id)[1], None)
    if found is None:
        return None
    links = schema.dependencies.c
    ids = select(links.dependency).where(links.job_id == id).order_by(links.dependency)
    return {**found, "dependencies": list(connection.scalars(ids))}


def jobs(
    connection: Connection, now: float, asked: Asked, *where: ColumnElement[bool]
) -> tuple[int, Iterator[Shown]]:
    """Give how many jobs there are that satisfy what is asked, and those of its page.

    They come in the order of their ids unless another is asked for.
    """
    table = schema.jobs.c
    question = select(schema.jobs).where(_visible(), *where)
    total, question = page(connection, question, _job_columns(now), asked, table.id)
    return total, _shown(fetch(connection, question), now)


def below(parent: int) -> ColumnElement[bool]:
    """Tell the jobs of a group, or of the root (0)."""
    return schema.jobs.c.parent == parent


def dependencies_of(id: int) -> ColumnElement[bool]:
    """Tell the jobs that a job depends on."""
    links = schema.dependencies.c
    return schema.jobs.c.id.in_(select(links.dependency).where(links.job_id == id))


def _job_columns(now: float) -> dict[str, Plain]:
    """Give what a list of jobs can be asked by: the columns as they are shown."""
    table = schema.jobs.c
    columns = columns_of(schema.jobs)
    columns["priority"] = Digits(table.priority)
    columns["state"] = Plain(case((table.paused != 0, literal(PAUSED)), else_=table.state))
    runs = and_(table.state == WORKING, table.is_group == 0)
    columns["duration"] = Plain(case((runs, now - table.start_time), else_=table.duration))
    return columns


def distinct(connection: Connection, name: str) -> list[Any]:
    """Give each value that a column has in any job, in order."""
    values = connection.scalars(
        select(_job_columns(0.0)[name].expression).where(_visible()).distinct()
    )
    return sorted(map(int, values) if name == "priority" else values)


def children_dependencies(connection: Connection, id: int) -> list[tuple[int, int]]:
    """Give which job of a group depends on which: pairs of ids."""
    links = schema.dependencies.c
    question = (
        select(links.job_id, links.dependency)
        .join(schema.jobs, schema.jobs.c.id == links.job_id)
        .where(schema.jobs.c.parent == id, _visible())
        .order_by(links.job_id, links.dependency)
    )
    return [(job, other) for job, other in connection.execute(question)]


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
    connection: Connection, asked: Asked, since: float | None = None
) -> tuple[int, Iterator[Shown]]:
    """Give how many runs there are that satisfy what is asked, begun after `since`; and the page.

    The oldest come first unless another order is asked for. Those that are only handed ahead have
    not begun.
    """
    table = schema.runs.c
    question = select(schema.runs).where(table.state != RESERVED)
    if since is not None:
        question = question.where(table.start > since)
    columns = columns_of(schema.runs)
    total, question = page(connection, question, columns, asked, table.id)
    return total, (
        {**row, "start": round(row["start"], DIGITS), "duration": round(row["duration"], DIGITS)}
        for row in connection.execute(question).mappings()
    )


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


def _shown(rows: Iterable[Sequence[Any]], now: float) -> Iterator[Shown]:
    names = tuple(schema.jobs.columns.keys())
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
        yield job
