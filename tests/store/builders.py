from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection, text

from coalition.core.changes import Changes
from coalition.core.loading import Loaded
from coalition.core.model import Job, Run, Worker
from coalition.core.ready import Group
from coalition.store import reading
from coalition.store.engine import Store
from coalition.store.listing import ALL, Asked, Condition
from coalition.store.loading import load
from coalition.store.writing import snapshot, write

NOW = 1_700_000_000.0

ONLY_IDS = ("deleted_jobs", "deleted_workers", "dropped_runs")
"""Fields of Changes that hold ids and nothing else."""


def make_root() -> Job:
    root = Job(0, title="Root")
    root.group = Group()
    return root


def make_job(id: int, parent: Job | None = None, **values: Any) -> Job:
    """A job whose attributes are `values`; its parent becomes a group."""
    job = Job(id)
    for name, value in values.items():
        setattr(job, name, value)
    job.parent = parent or make_root()
    job.parent.group = job.parent.group or Group()
    return job


def make_run(id: int, job: Job, worker: str = "sun-1", **values: Any) -> Run:
    run = Run(id, job, Worker(worker, NOW), NOW)
    for name, value in values.items():
        setattr(run, name, value)
    return run


def make_worker(name: str, **values: Any) -> Worker:
    worker = Worker(name, NOW)
    for attribute, value in values.items():
        setattr(worker, attribute, value)
    return worker


def changes(**tables: Any) -> Changes:
    """Changes whose fields hold these objects under their ids, or these ids."""
    made = Changes()
    for table, things in tables.items():
        if isinstance(things, dict):
            setattr(made, table, things)
            continue
        for thing in things:
            key = thing.name if isinstance(thing, Worker) else getattr(thing, "id", thing)
            getattr(made, table)[key] = None if table in ONLY_IDS else thing
    return made


def save(store: Store, **tables: Any) -> None:
    write(store, snapshot(changes(**tables)))


def shown(store: Store, id: int, now: float = NOW) -> dict[str, Any] | None:
    with store.reading() as connection:
        return reading.job(connection, id, now)


def ids(store: Store, parent: int = 0) -> list[int]:
    with store.reading() as connection:
        return [job["id"] for job in jobs_below(connection, parent)]


def jobs_below(connection: Connection, parent: int, now: float = NOW) -> list[dict[str, Any]]:
    return list(reading.jobs(connection, now, ALL, reading.below(parent))[1])


def dependencies(connection: Connection, id: int) -> list[dict[str, Any]]:
    return list(reading.jobs(connection, NOW, ALL, reading.dependencies_of(id))[1])


def asked(*order: str, limit: int | None = None, offset: int = 0, **wanted: Any) -> Asked:
    """Rows with one of the values of a column, or with a least, greatest or contained one.

    As in `asked("-priority", limit=10, state=("ERROR",), id_min=3, title_contains="shot")`.
    """
    where = []
    for name, values in wanted.items():
        column, _, test = name.rpartition("_")
        if test in ("min", "max", "contains"):
            where.append(Condition(column, test, (values,)))  # type: ignore[arg-type]
        else:
            where.append(Condition(name, "in", values))
    columns = tuple((name.removeprefix("-"), name.startswith("-")) for name in order)
    return Asked(tuple(where), columns, limit, offset)


def events(store: Store, since: float | None = None, **wanted: Any) -> list[dict[str, Any]]:
    with store.reading() as connection:
        return list(reading.events(connection, asked(**wanted), since)[1])


def stored_runs(store: Store) -> list[tuple[Any, ...]]:
    """Number, worker and state of every run in the database, those that nobody sees included."""
    with store.reading() as connection:
        rows = connection.execute(text("SELECT id, worker, state FROM Events ORDER BY id"))
        return [tuple(row) for row in rows]


def load_all(store: Store) -> Loaded:
    with store.writing() as connection:
        return load(connection)


def loaded_ids(loaded: Loaded) -> list[int]:
    return sorted(job.id for job, _, _ in loaded.jobs)


def kill(store: Store, number: int | None) -> None:
    """End a connection of MariaDB by its number, and wait until it is gone."""
    there = text(f"SELECT COUNT(*) FROM information_schema.processlist WHERE id = {number}")
    deadline = time.monotonic() + 10
    with store.reading() as connection:
        connection.execute(text(f"KILL {number}"))
        while connection.scalar(there):
            assert time.monotonic() < deadline
