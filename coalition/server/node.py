"""A node as the server knows it: who speaks for it, how fast it is, what it is still to be told."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from coalition import wire
from coalition.core.model import Worker

HORIZON = 0.1
"""Seconds of work that a node is handed ahead of its idle workers: what it ends between a report
and the answer, and a little more."""

MOST_AHEAD = 256
"""Jobs that are handed ahead to a node at most."""

BRIEFEST = HORIZON / MOST_AHEAD
"""Seconds that a run counts as having taken at least: its worker alone is then handed the most.
What a node tells may be so little that its inverse is infinite."""

NEWEST = 0.2
"""Weight of a report's runs in a node's pace: some tens of short runs bring it to theirs."""

SILENCE = 5.0
"""Seconds without a request after which nobody speaks for a node any more: one that is at work is
silent for a second at most. Workers of protocol 1 are for two."""


class Node:
    """A worker.py process: its held request and the orders that gather for it."""

    __slots__ = (
        "asking", "called", "heard", "held", "host", "idle", "left", "number", "orders", "pace",
        "session", "sessions", "tags",
    )  # fmt: skip

    def __init__(self, heard: float, session: str = "") -> None:
        self.asking = 0  # requests that are not answered
        self.heard = heard
        self.session = session
        self.sessions = {session}  # those that show that a node is this one
        self.left: str | None = None  # the session that has said goodbye
        self.host: wire.Host | None = None
        self.number = -1
        self.held: Deferred[None] | None = None
        self.orders = wire.Orders()
        self.idle: list[Worker] = []  # those a held request offers
        self.tags: frozenset[str] = frozenset()  # by which jobs can call its workers
        self.called: frozenset[str] = frozenset()  # those that do, whose workers get nothing ahead
        self.pace = 0.0  # seconds that its runs kept workers of late, 0 before any has ended

    def at_work(self, now: float) -> bool:
        """Say whether a worker.py speaks for this node."""
        return bool(self.session) and (self.asking > 0 or now - self.heard < SILENCE)

    def is_of(self, report: wire.Report) -> bool:
        """Say whether a report is of the worker.py that spoke last, or of what came after that.

        An older database does not know the session; then it is.
        """
        if not self.sessions.isdisjoint(("", report.session)):
            return True
        # One that still has a request open is not over: the other's folder is a copy.
        return self.asking == 0 and not self.sessions.isdisjoint(report.previous)

    def note_session(self, report: wire.Report) -> None:
        """Note who speaks, or that nobody does any more."""
        leaves = report.leaving and not any(slot.run for slot in report.workers)
        self.number = report.number
        self.session = "" if leaves else report.session
        self.sessions = {report.session}
        self.left = report.session if leaves else None

    def is_overtaken(self, report: wire.Report) -> bool:
        """Say whether a later report of the same session has come before."""
        return report.session in (self.session, self.left) and report.number < self.number

    def note_pace(self, ends: list[wire.End]) -> None:
        """Learn from the runs that have ended for how long those to come will keep a worker."""
        if ends:
            newest = sum(end.seconds + end.clearing for end in ends) / len(ends)
            self.pace += (newest - self.pace) * (NEWEST if self.pace else 1.0)

    def slow_down(self) -> None:
        """Learn from runs that were given back that those before them take longer."""
        self.pace = max(2 * self.pace, wire.PATIENCE)

    def ahead(self, workers: list[Worker], now: float) -> int:
        """Give how many jobs should be on their way to workers before they are idle.

        One whose run goes on for longer than others took has as much less to do.
        """
        if not self.pace:
            return 0
        ages = [now - worker.run.start if worker.run is not None else 0.0 for worker in workers]
        longest = (max(self.pace, age, BRIEFEST) for age in ages)
        return min(MOST_AHEAD, int(sum(HORIZON / seconds for seconds in longest)))
