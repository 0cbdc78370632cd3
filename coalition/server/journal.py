"""The journal: the ordered stream of changes from memory to the database, in group commits.

One batch is written at a time, in a thread of its own; what changes meanwhile gathers in the next.
On an idle server a request waits for one small transaction, under load hundreds share one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from coalition.core.changes import Changes
from coalition.errors import NotDurable, StoreUnavailable
from coalition.server.slices import Clock

log = logging.getLogger(__name__)

Batch = TypeVar("Batch")
T = TypeVar("T")

PATIENCE = 10.0
"""Seconds a request waits for a database that does not take the changes, before it gets a 503."""

SLOW = 5.0
"""Seconds after which a write that does not come back is trouble: the database may hang."""

ROWS_LOGGED = 100_000
"""Characters of a batch that cannot be written that stand in the log, for whoever looks why."""

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 15.0
"""Seconds between two tries to write a batch; the pause doubles from the first to the longest."""


class Journal(Generic[Batch]):
    """Writes the farm's changes in order, and tells when they are durable."""

    def __init__(
        self,
        clock: Clock,
        changes: Changes,
        snapshot: Callable[[Changes], Batch],
        write: Callable[[Batch], Deferred[None]],
        committed: Callable[[Changes], None],
        stop: Callable[[Failure], None],
    ) -> None:
        """Write batches made by `snapshot` with `write`, which runs in a thread.

        `committed` is called with what has just become durable, before anybody is told. `stop` is
        called when a batch can never be written, which is a bug: nothing must go on then.
        """
        self._clock = clock
        self._changes = changes
        self._snapshot = snapshot
        self._write = write
        self._committed = committed
        self._stop = stop
        self._next: list[Deferred[None]] = []  # waiting for the batch that gathers
        self._current: list[Deferred[None]] = []  # waiting for the batch that is being written
        self._busy = False
        self._pause = FIRST_PAUSE
        self.trouble: str | None = None  # why the database takes nothing, while it does not
        self._dead = False  # nothing will ever be written again

    def durable(self) -> Deferred[None]:
        """Wait until all that has changed so far is in the database; raises NotDurable."""
        if self._dead:
            return fail(NotDurable(self.trouble or ""))
        if self._changes:
            waiting = self._next
        elif self._busy:
            waiting = self._current
        else:
            return succeed(None)
        told: Deferred[None] = Deferred(self._give_up)
        waiting.append(told)
        if self.trouble is not None:
            self._limit(told)
        if not self._busy:
            self._busy = True
            # The other requests of this turn of the reactor join the batch.
            self._clock.callLater(0, self._begin)
        return told

    def kick(self) -> None:
        """Write what has changed, with nobody waiting for it."""
        self.durable().addErrback(lambda failure: failure.trap(NotDurable) and None)

    def _begin(self) -> None:
        taken = self._changes.take()
        self._current, self._next = self._next, []
        try:
            batch = self._snapshot(taken)
        except Exception:
            self._fail(Failure(), taken)
            return
        self._try(taken, batch)

    def _try(self, taken: Changes, batch: Batch) -> None:
        slow = self._clock.callLater(SLOW, self._in_trouble, "a write does not come back")
        written = self._write(batch)
        written.addBoth(_cancelling, slow)
        written.addCallback(lambda _: self._done(taken))
        written.addErrback(self._failed, taken, batch)

    def _done(self, taken: Changes) -> None:
        if self.trouble is not None:
            log.warning("the database takes changes again")
            self.trouble, self._pause = None, FIRST_PAUSE
        told, self._current = self._current, []
        try:
            self._committed(taken)
        except Exception:
            log.exception("what follows a committed change failed")
        if self._changes or self._next:
            self._clock.callLater(0, self._begin)
        else:
            self._busy = False
        _tell(told)

    def _failed(self, failure: Failure, taken: Changes, batch: Batch) -> None:
        if not failure.check(StoreUnavailable):
            self._fail(failure, batch)
            return
        self._in_trouble(str(failure.value))
        log.error("the database takes no changes, next try in %g s: %s", self._pause, self.trouble)
        self._clock.callLater(self._pause, self._try, taken, batch)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _in_trouble(self, reason: str) -> None:
        """From now on nobody waits for longer than PATIENCE."""
        if self.trouble is None:
            for told in [*self._current, *self._next]:
                self._limit(told)
        self.trouble = reason

    def _fail(self, failure: Failure, batch: object) -> None:
        """A batch that can never be written: the memory is not what the database will be."""
        log.critical("a batch cannot be written; the server stops: %s", failure.getTraceback())
        log.critical("its rows: %s", repr(batch)[:ROWS_LOGGED])
        self._dead = True
        self.trouble = f"a batch cannot be written: {failure.value}"
        told = [*self._current, *self._next]
        self._current, self._next = [], []
        for one in told:
            if not one.called:
                one.errback(NotDurable(self.trouble))
        self._stop(failure)

    def _limit(self, told: Deferred[None]) -> None:
        if not told.called:
            told.addTimeout(PATIENCE, cast(Any, self._clock))

    def _give_up(self, told: Deferred[None]) -> None:
        """Tell one who has waited too long, in place of the CancelledError it would get."""
        told.errback(NotDurable(f"the database does not take the change: {self.trouble}"))


def _cancelling(result: T, timer: Any) -> T:
    if timer.active():
        timer.cancel()
    return result


def _tell(told: Iterable[Deferred[None]]) -> None:
    for one in told:
        if not one.called:
            one.callback(None)
