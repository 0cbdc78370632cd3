"""Runs that wait until it is known whom they run as."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from twisted.python.failure import Failure

from coalition import wire
from coalition.worker.command.lookup import Owners
from coalition.worker.command.owner import Owner
from coalition.worker.process import boottime

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Arrival:
    """A run and its lease, with its owner once that is known, or the reason why it has none."""

    start: wire.Start
    lease: float | None
    known: bool = False
    owner: Owner | None = None
    error: BaseException | None = None


class Arrivals:
    """These runs, in order for each worker: a later one does not begin before an earlier one."""

    def __init__(
        self,
        owners: Owners,
        *,
        begin: Callable[[wire.Start, float | None, Owner | None], None],
        refuse: Callable[[int, BaseException], None],
        on_turn: Callable[[], None],
    ) -> None:
        """Have none.

        `begin` and `refuse` are called for each that is not dropped, in `add` and `drop` too;
        `on_turn` after those that come by themselves.
        """
        self._owners = owners
        self._begin = begin
        self._refuse = refuse
        self._on_turn = on_turn
        self._runs: dict[int, Arrival] = {}
        self._queues: dict[str, deque[Arrival]] = {}

    def add(self, start: wire.Start, lease: float | None) -> None:
        """Begin a run when its user and those before it on its worker are known."""
        run = Arrival(start, lease)
        self._runs[start.run] = run
        self._queues.setdefault(start.worker, deque()).append(run)
        answer = self._owners.find(start.user)
        waits = not answer.called
        answer.addCallbacks(self._on_owner, self._on_error, callbackArgs=(run,), errbackArgs=(run,))
        if waits:
            answer.addCallback(lambda _: self._on_turn())
        answer.addErrback(lambda failure: log.error("run %d", start.run, exc_info=failure.value))

    def drop(self, number: int) -> bool:
        """Take a run out again if it has not begun; say whether that is so."""
        run = self._runs.pop(number, None)
        if run is None:
            return False
        self._queues[run.start.worker].remove(run)
        self._go_on(run.start.worker)
        return True

    def lease(self, deadline: float) -> None:
        """Move the leases that are not over to `deadline`, a time of `boottime`."""
        now = boottime() if self._runs else 0.0
        for run in self._runs.values():
            if run.lease is not None and run.lease > now:
                run.lease = deadline

    def _on_owner(self, owner: Owner | None, run: Arrival) -> None:
        run.known, run.owner = True, owner
        self._go_on(run.start.worker)

    def _on_error(self, failure: Failure, run: Arrival) -> None:
        run.known, run.error = True, failure.value
        self._go_on(run.start.worker)

    def _go_on(self, worker: str) -> None:
        queue = self._queues[worker]
        while queue and queue[0].known:
            run = queue.popleft()
            del self._runs[run.start.run]
            if run.error is None:
                self._begin(run.start, run.lease, run.owner)
            else:
                self._refuse(run.start.run, run.error)
