"""What can be asked of the server. Every route calls one method here, and nothing else decides.

A method changes the farm in memory, waits until that is durable, and answers. What is only looked
at comes from the database: see coalition.server.views.
"""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar

from twisted.internet.defer import DeferredLock

from coalition import wire
from coalition.core.farm import Farm
from coalition.core.loading import Loaded
from coalition.core.submission import Submission
from coalition.errors import Unavailable, UnknownParent
from coalition.server.auth import Who
from coalition.server.joblog import JobLogs
from coalition.server.journal import Journal
from coalition.server.metrics import Metrics
from coalition.server.nodes import Nodes
from coalition.server.protocol1 import Load, Protocol1
from coalition.server.slices import Clock, in_slices
from coalition.server.stream import Stream
from coalition.server.submitting import Wanted, is_id
from coalition.server.views import Read, Views
from coalition.server.whitelist import Whitelist
from coalition.store import loading, reading

T = TypeVar("T")

DONE: Literal[1] = 1

AT_ONCE = 500
"""Jobs that are added in one turn; more of them are built and written beside the farm."""

RECHECKS = 5
"""Times the links of a large submission are looked at before it must go in one turn."""

ROWS = 250
"""Rows of a large submission in one batch: others wait for a few milliseconds of writing."""


class Service(Views):
    """The farm as its users see it and as they change it."""

    def __init__(
        self,
        clock: Clock,
        farm: Farm,
        journal: Journal[Any],
        logs: JobLogs,
        nodes: Nodes,
        read: Read,
        stream: Stream,
        metrics: Metrics,
        whitelist: Whitelist,
        version: str,
    ) -> None:
        """Put the parts together; see coalition.server.app."""
        super().__init__(clock, farm, journal, logs, read)
        self.nodes = nodes
        self.stream = stream
        self.metrics = metrics
        self._whitelist = whitelist
        self.version = version  # of the server
        self._protocol1 = Protocol1(farm, logs, nodes)
        self._loading = DeferredLock()
        self._hidden: list[tuple[int, int]] = []  # ids of submissions still being written
        self._next_submission = 1
        self.stopping = False

    # --- the common path --------------------------------------------------------------------

    async def _saved(self, value: T) -> T:
        """Give `value` once all that was decided is durable."""
        self.nodes.look()
        await self.journal.durable()
        return value

    def _check_open(self) -> None:
        if self.stopping:
            raise Unavailable("the server is stopping")

    async def _known(self, ids: Iterable[int]) -> None:
        """Bring the trees of these jobs into memory, where finished ones have left it."""
        missing = self._missing(ids)
        if not missing:
            return
        await self._loading.acquire()
        try:
            while missing := self._missing(missing):
                version = self.farm.tree.links_version
                known = self.farm.tree.jobs
                loaded: Loaded = await self._read(loading.load_trees, missing, known)
                # Had a tree been deleted meanwhile, it must not come back.
                if version == self.farm.tree.links_version:
                    loaded.jobs = [job for job in loaded.jobs if not self._is_hidden(job[0].id)]
                    self.farm.load(loaded)
                    return
        finally:
            self._loading.release()

    def _missing(self, ids: Iterable[int]) -> list[int]:
        known = self.farm.tree.jobs
        return [
            id
            for id in dict.fromkeys(ids)
            if id > 0 and id not in known and id < self.farm.next_job and not self._is_hidden(id)
        ]

    def _is_hidden(self, id: int) -> bool:
        return any(first <= id <= last for first, last in self._hidden)

    # --- submitting -------------------------------------------------------------------------

    async def submit(self, who: Who, body: bytes) -> Any:
        """Create the jobs of a request, all or none; give their ids in its shape."""
        self._check_open()
        wanted = Wanted()
        await in_slices(wanted.read(body), self.clock)
        self._whitelist.check((spec.user or "", spec.command or "") for spec in wanted.specs)
        outer = {name: await self._parent_id(name) for name in _outer_parents(wanted)}
        needed = [*outer.values(), *wanted.outer_dependencies()]
        await self._known(needed)
        first = self.farm.next_job
        self.farm.next_job += len(wanted.specs)
        submission = Submission()
        self.farm.pins.update(needed)
        try:
            await in_slices(wanted.submission(first, outer, submission), self.clock)
            if len(wanted.specs) <= AT_ONCE:
                self.farm.on_submit(submission)
            else:
                await self._submit_large(submission, first)
        finally:
            self.farm.pins -= Counter(needed)
        return await self._saved(wanted.answer(first))

    def may_run(self, who: Who, job: wire.NewJob) -> bool:
        """Say whether the white list has the command of a new job."""
        return self._whitelist.allows(job.user or "", job.command or "")

    async def _submit_large(self, submission: Submission, first: int) -> None:
        """Write the rows in several batches, unseen, and make them count in one moment."""
        span = (first, first + len(submission.jobs) - 1)
        number = self._next_submission
        self._next_submission += 1
        changes = self.farm.changes
        self._hidden = [*self._hidden, span]
        try:
            submission.check_parents(self.farm.tree)
            await in_slices(submission.build(self.farm.tree), self.clock)
            await self._check_links(submission)
            changes.submissions[number] = span
            for start in range(0, len(submission.jobs), ROWS):
                part = submission.jobs[start : start + ROWS]
                changes.new_jobs.update((job.id, job) for job in part)
                changes.dependencies.update((job.id, job) for job in part if job.dependencies)
                await self.journal.durable()
            await self._check_links(submission)
            self.farm.on_submit(submission, stored=True)
        except BaseException:
            submission.unlink()
            self.farm.tree.links_version += 1  # who reads its rows now must read again
            changes.deleted_jobs.update(dict.fromkeys(range(span[0], span[1] + 1)))
            raise
        finally:
            changes.submissions[number] = None
            self._hidden = [one for one in self._hidden if one != span]
            self.journal.kick()

    async def _check_links(self, submission: Submission) -> None:
        """Look for cycles in slices, again if others change links meanwhile."""
        for _ in range(RECHECKS):
            await in_slices(submission.check_links(self.farm.tree), self.clock)
            if submission.checked == self.farm.tree.links_version:
                return

    async def _parent_id(self, parent: int | str) -> int:
        """Find the job that is named as a parent: by id, path of titles, or title."""
        if isinstance(parent, int):
            return parent
        if is_id(parent.strip()):
            return int(parent)
        titles = [title for title in parent.split("|") if title]
        found = await self._read(reading.find_path, titles) if titles else None
        if found is None and len(titles) == 1:
            found = await self._read(reading.find_title, titles[0])
        if found is None:
            short = reprlib.repr(parent)
            raise UnknownParent(f"there is no job {short} to be the parent", field="parent")
        return found

    # --- orders about jobs --------------------------------------------------------------------

    async def edit_jobs(self, who: Who, edits: Mapping[int, Mapping[str, Any]]) -> wire.Done:
        """Change fields of jobs, all or none."""
        self._check_open()
        named = [*edits]
        changed: dict[int, dict[str, Any]] = {}
        for id, edit in edits.items():
            changed[id] = dict(edit)
            if "parent" in edit:
                changed[id]["parent"] = await self._parent_id(edit["parent"])
                named.append(changed[id]["parent"])
            named += edit.get("dependencies", ())
        await self._known(named)
        self._whitelist.check(self._commands(changed))
        self.farm.on_edit(changed, self._now())
        return await self._saved(DONE)

    def _commands(self, edits: Mapping[int, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
        """Give whose commands will be what after these edits, where that is not as before."""
        for id, edit in edits.items():
            job = self.farm.tree.jobs.get(id)
            if job is not None and ("command" in edit or "user" in edit):
                yield edit.get("user", job.user), edit.get("command", job.command)

    async def order_jobs(
        self, who: Who, order: Callable[[Farm, list[int], float], None], ids: list[int]
    ) -> wire.Done:
        """Carry out one of the farm's orders (Farm.on_reset ...) on jobs."""
        self._check_open()
        await self._known(ids)
        order(self.farm, ids, self._now())
        return await self._saved(DONE)

    async def set_dependencies(self, who: Who, id: int, dependencies: list[int]) -> wire.Done:
        """Replace what a job depends on."""
        return await self.edit_jobs(who, {id: {"dependencies": dependencies}})

    async def health(self, who: Who) -> list[str]:
        """Give what is wrong with the server, nothing if it is well."""
        reasons = []
        if self.journal.trouble is not None:
            reasons.append(f"the database takes no changes: {self.journal.trouble}")
        if self.logs.trouble is not None:
            reasons.append(f"the logs cannot be written: {self.logs.trouble}")
        return reasons

    async def figures(self, who: Who) -> str:
        """Give what Prometheus wants to know."""
        return self.metrics.text(not await self.health(who), self.stream.watchers)

    # --- workers ----------------------------------------------------------------------------------

    async def edit_workers(self, who: Who, edits: dict[str, dict[str, object]]) -> wire.Done:
        """Change affinity lines or the active flag of workers."""
        self._check_open()
        self.farm.on_edit_workers(edits, self._now())
        self.nodes.refresh(edits)
        return await self._saved(DONE)

    async def order_workers(
        self, who: Who, order: Callable[[Farm, list[str], float], None], names: list[str]
    ) -> wire.Done:
        """Carry out one of the farm's orders (Farm.on_stop_workers ...) on workers."""
        self._check_open()
        order(self.farm, names, self._now())
        self.nodes.refresh(names)
        return await self._saved(DONE)

    async def name_affinities(self, who: Who, names: Mapping[int, str]) -> wire.Done:
        """Write the list of known affinity words."""
        self._check_open()
        self.farm.on_name_affinities(names)
        return await self._saved(DONE)

    # --- the workers' own requests ---------------------------------------------------------------

    async def report(self, report: wire.Report, ip: str) -> wire.Orders:
        """Protocol 2: see coalition.server.nodes."""
        self._check_open()
        return await self.nodes.report(report, ip, self._now())

    async def pick(self, name: str, ip: str, load: Load) -> wire.Start | None:
        """Protocol 1: see coalition.server.protocol1."""
        self._check_open()
        return await self._saved(self._protocol1.pick(name, ip, load, self._now()))

    async def heartbeat(self, name: str, ip: str, load: Load, job: int, written: bytes) -> bool:
        """Protocol 1: see coalition.server.protocol1."""
        self._check_open()
        return self._protocol1.heartbeat(name, ip, load, job, written, self._now())

    async def end(self, name: str, ip: str, job: int, code: int) -> None:
        """Protocol 1: see coalition.server.protocol1."""
        self._check_open()
        self._protocol1.end(name, ip, job, code, self._now())
        await self._saved(None)


def _outer_parents(wanted: Wanted) -> set[int | str]:
    return {
        spec.parent or 0
        for spec, parent in zip(wanted.specs, wanted.parents, strict=True)
        if parent < 0
    }
