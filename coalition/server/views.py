"""What users look at: lists, single jobs, logs, as the database has them.

A list is read in another thread, after what was decided before the request has got there: so
everybody reads their own writes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from coalition import wire
from coalition.core.farm import Farm
from coalition.core.states import WORKING
from coalition.errors import UnknownJob
from coalition.server import answers, lists
from coalition.server.auth import Who
from coalition.server.joblog import JobLogs
from coalition.server.journal import Journal
from coalition.server.lists import Columns, Listing
from coalition.server.slices import Clock
from coalition.store import reading
from coalition.store.listing import Asked

T = TypeVar("T")

Read = Callable[..., Awaitable[Any]]
"""Runs a function of the store, with a connection as its first argument, in another thread."""


class Views:
    """The farm as its users look at it."""

    def __init__(
        self, clock: Clock, farm: Farm, journal: Journal[Any], logs: JobLogs, read: Read
    ) -> None:
        """Look at a farm; see coalition.server.app."""
        self.clock = clock
        self.farm = farm
        self.journal = journal
        self.logs = logs
        self._read_store = read

    async def _read(self, function: Callable[..., T], *args: object) -> T:
        await self.journal.durable()
        result: T = await self._read_store(function, *args)
        return result

    def _now(self) -> float:
        return self.clock.seconds()

    # --- jobs and their runs --------------------------------------------------------------------

    async def job(self, who: Who, id: int) -> wire.JobWithDependencies:
        """Give one job, with its dependencies."""
        job = await self._read(reading.job, id, self._now())
        if job is None:
            raise UnknownJob(f"there is no job {id}", id=id)
        return wire.JobWithDependencies(**job, ping_time=_ping(job, self._pings()))

    async def jobs(self, who: Who, asked: Asked) -> Listing[wire.Job]:
        """Give the jobs at the top, or, with any condition, all that satisfy it."""
        return await self._jobs(asked, *(() if asked.where else (reading.below(0),)))

    async def children(self, who: Who, parent: int, asked: Asked) -> Listing[wire.Job]:
        """Give the jobs directly below a job; 0 is the root."""
        if parent:
            await self.job(who, parent)
        return await self._jobs(asked, reading.below(parent))

    async def dependencies(self, who: Who, id: int, asked: Asked) -> Listing[wire.Job]:
        """Give the jobs that a job depends on."""
        await self.job(who, id)
        return await self._jobs(asked, reading.dependencies_of(id))

    async def _jobs(self, asked: Asked, *where: Any) -> Listing[wire.Job]:
        """Read jobs and make JSON of them, all in the other thread: they may be 100,000."""
        now, pings = self._now(), self._pings()

        def read(connection: Any) -> Listing[wire.Job]:
            total, found = reading.jobs(connection, now, asked, *where)
            jobs = (wire.Job(**job, ping_time=_ping(job, pings)) for job in found)
            return Listing(total, answers.json_list(jobs))

        return await self._read(read)

    async def distinct(self, who: Who, columns: Columns, asked: Asked) -> Listing[Any]:
        """Give the values that the only one of these columns has in any job."""
        (name,) = columns.kinds
        values = await self._read(reading.distinct, name)
        return _listing(columns, map(columns.row, values), asked, name)

    def _pings(self) -> dict[str, float]:
        """Give when each worker that has a run was last heard of, which only memory knows."""
        return {run.worker.name: run.worker.ping_time for run in self.farm.runs.values()}

    async def children_dependencies(
        self, who: Who, id: int, asked: Asked
    ) -> Listing[wire.Dependency]:
        """Give which child of a job depends on what."""
        if id:
            await self.job(who, id)
        pairs = await self._read(reading.children_dependencies, id)
        rows = (wire.Dependency(*pair) for pair in pairs)
        return _listing(lists.DEPENDENCIES, rows, asked, "id")

    async def log_file(self, who: Who, id: int) -> tuple[str, int, str]:
        """Give what JobLogs.look() says of a job's log."""
        await self.job(who, id)
        return self.logs.look(id)

    async def events(self, who: Who, asked: Asked, howlong: float | None) -> Listing[wire.Event]:
        """Give the runs that satisfy what is asked, begun in the last `howlong` seconds."""
        since = None if howlong is None else self._now() - howlong

        def read(connection: Any) -> Listing[wire.Event]:
            total, found = reading.events(connection, asked, since)
            return Listing(total, answers.json_list(wire.Event(**run) for run in found))

        return await self._read(read)

    # --- workers ----------------------------------------------------------------------------------

    async def workers(self, who: Who, asked: Asked) -> Listing[wire.Worker]:
        """Give the workers."""
        workers = [wire.Worker(**row) for row in await self._read(reading.workers)]
        for shown in workers:
            worker = self.farm.workers.get(shown.name)
            if worker is not None:
                shown.ping_time = round(worker.ping_time, 3)
                shown.cpu = worker.cpu
                shown.free_memory = worker.free_memory
                shown.total_memory = worker.total_memory
        return _listing(lists.WORKERS, workers, asked, "name")

    async def affinities(self, who: Who) -> dict[str, str]:
        """Give the list of known affinity words, by number."""
        return await self._read(reading.affinities)


def _ping(job: Mapping[str, Any], pings: Mapping[str, float]) -> float:
    return round(pings.get(job["worker"], 0.0) if job["state"] == WORKING else 0.0, 3)


def _listing(columns: Columns, rows: Iterable[Any], asked: Asked, last: str) -> Listing[Any]:
    total, found = columns.part(rows, asked, last)
    return Listing(total, answers.json_list(found))
