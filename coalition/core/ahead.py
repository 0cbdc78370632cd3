"""Jobs handed to a node ahead of its idle workers, so that short ones need no round trip each.

Such a job is still WAITING to everybody, but nobody else can get it. It is wanted back as soon as
it may not run any more, or something of higher order waits for the same workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from coalition.core.affinity import Line
from coalition.core.changes import Changes
from coalition.core.model import Job, Run, Worker
from coalition.core.ready import Rank, is_open, pick, rank, settle
from coalition.core.states import RESERVED, WAITING
from coalition.core.tree import Tree, ancestors

Lines = tuple[Line, ...]


FURTHEST = 10**9
"""Runs that another database may have been ahead of this one; a larger number is no run's."""


class Ahead:
    """The part of the farm that is handed ahead, on top of the tree."""

    def __init__(self, changes: Changes) -> None:
        """Start with an empty tree."""
        self.changes = changes
        self.tree = Tree(changes)
        self.next_run = 1
        # Runs taken from their workers that these have still to be told of: run number -> worker.
        self.revoked: dict[int, Worker] = {}
        # The same for those that only are to come back if they have not begun.
        self.returned: dict[int, Worker] = {}
        self.ahead: dict[int, Run] = {}
        self._last: dict[Lines, Rank] = {}  # no job handed ahead for these lines ranks after it
        self._seen_version = -1

    def new_run(self, job: Job, worker: Worker, now: float) -> Run:
        """Make a run with a number that was never given."""
        run = Run(self.next_run, job, worker, now)
        self.next_run += 1
        self.changes.new_runs[run.id] = run
        return run

    def on_numbers(self, highest: int) -> None:
        """A node knows a run of this number: should the database be an older one, go on from it."""
        if highest < self.next_run + FURTHEST:
            self.next_run = max(self.next_run, highest + 1)

    def on_reserve(self, worker: Worker, now: float) -> Run | None:
        """Hand the job that a worker would get next to its node, ahead of time, if there is one.

        An exclusive job is not handed ahead: nobody could say when its time without the server
        began.
        """
        job = pick(self.tree.root, worker.lines) if worker.active else None
        if job is None or job.exclusive:
            return None
        place = rank(job, worker.lines)
        self._last[worker.lines] = max(place, self._last.get(worker.lines, place))
        run = self.new_run(job, worker, now)
        run.state = RESERVED
        self.hold(run)
        return run

    def hold(self, run: Run) -> None:
        """Keep a run's job for the node that it was handed to."""
        run.job.claim = run.worker.ahead[run.id] = self.ahead[run.id] = run
        settle(run.job)

    def let_go(self, run: Run) -> None:
        """Note that a run is not handed ahead any more."""
        del self.ahead[run.id], run.worker.ahead[run.id]
        run.job.claim = None
        if run.recalled:  # perhaps it is void, or its worker was deleted
            self.changes.endings[run.id] = None
        if not self.ahead:
            self._last.clear()

    def on_place(self, run: Run, worker: Worker, start: float) -> None:
        """Its node says which of its workers has a run that was handed ahead, and since when."""
        del run.worker.ahead[run.id]
        run.worker, run.start = worker, start
        worker.ahead[run.id] = run

    def on_release(self, run: Run) -> None:
        """Its node does not have a run that was handed ahead: its job may go to another."""
        self.let_go(run)
        self.changes.dropped_runs[run.id] = None
        job = run.job
        if job.id in self.tree.jobs and job.group is None:
            settle(job)

    def on_recall(self, run: Run) -> None:
        """A run must not begin; its job is kept from others until its node says that it is gone."""
        if not run.recalled:
            run.recalled = True
            self.revoked[run.id] = run.worker

    def on_void(self, run: Run) -> None:
        """A run must not begin, for its job was changed; nor does it count if it has."""
        run.void = True
        self.changes.endings[run.id] = run  # it outlasts the server
        self.on_recall(run)

    def on_return(self, run: Run) -> None:
        """Want a run back, unless it has begun before its node hears of that."""
        if not run.recalled and not run.returning:
            run.returning = True
            self.returned[run.id] = run.worker

    def recall_node(self, node: str) -> None:
        """What was handed ahead to a node must not begin."""
        self._each(lambda run: run.worker.node == node, self.on_recall)

    def return_node(self, node: str) -> None:
        """Want back what was handed ahead to a node, whose workers should have something else."""
        self._each(lambda run: run.worker.node == node, self.on_return)

    def recall_jobs(self, ids: Iterable[int]) -> None:
        """Jobs are changed: what was handed ahead of them and of all below them must not begin."""
        self._each_of(ids, self.on_recall)

    def void_jobs(self, ids: Iterable[int]) -> None:
        """What is to be done by jobs is changed: nor does it count if it has begun."""
        self._each_of(ids, self.on_void)

    def _each_of(self, ids: Iterable[int], order: Callable[[Run], None]) -> None:
        if self.ahead:
            wanted = set(ids)
            self._each(lambda run: not wanted.isdisjoint(_path(run.job)), order)

    def _each(self, chosen: Callable[[Run], bool], order: Callable[[Run], None]) -> None:
        for run in self.ahead.values():
            if chosen(run):
                order(run)

    # --- is the order still right? ----------------------------------------------------------

    def look_ahead(self) -> None:
        """Want back what may not run any more, and what would run before its turn.

        Whoever changes the order of jobs, or what holds them, raises the tree's version.
        """
        if not self.ahead:
            return
        if self._seen_version != self.tree.version:
            self._seen_version = self.tree.version
            self._each(lambda run: not may_begin(run), self.on_recall)
            self._last = self._last_ranks()
        for lines, last in list(self._last.items()):
            best = pick(self.tree.root, lines)
            if best is not None and rank(best, lines) < last:
                self._recall_behind(lines, rank(best, lines))

    def _last_ranks(self) -> dict[Lines, Rank]:
        last: dict[Lines, Rank] = {}
        for run in self.ahead.values():
            lines = run.worker.lines
            place = rank(run.job, lines)
            if not run.recalled and not run.returning:
                last[lines] = max(place, last.get(lines, place))
        return last

    def _recall_behind(self, lines: Lines, place: Rank) -> None:
        self._each(
            lambda run: run.worker.lines == lines and rank(run.job, lines) > place, self.on_return
        )
        self._last = self._last_ranks()


def may_begin(run: Run) -> bool:
    """Say whether a run that was handed ahead may begin now."""
    job = run.job
    if run.recalled or job.group is not None or job.state != WAITING or job.paused:
        return False
    return all(is_open(group) for group in ancestors(job))


def may_count(run: Run) -> bool:
    """Say whether the result of a run that was handed ahead counts, now that it is over.

    What is done is done, also if its node was to hear that it must not begin.
    """
    return not run.void and run.job.group is None and run.job.state == WAITING


def _path(job: Job) -> list[int]:
    return [job.id, *(group.id for group in ancestors(job))]
