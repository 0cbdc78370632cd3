"""Long computations in the reactor thread, cut so that nobody else waits for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from twisted.internet.defer import Deferred

TURN = 0.004
"""Seconds a sliced computation keeps the reactor before others have their turn."""


class Clock(Protocol):
    """What we use of a reactor."""

    def seconds(self) -> float:
        """Give the time, in seconds since the epoch."""
        ...

    def callLater(self, delay: float, callable: Callable[..., object], *args: Any) -> Any:
        """Call something after `delay` seconds."""
        ...


def pause(clock: Clock) -> Deferred[None]:
    """Let everybody else have a turn."""
    turn: Deferred[None] = Deferred()
    clock.callLater(0, turn.callback, None)
    return turn


class SteadyClock:
    """A clock that never jumps: the time of day at its start, and what has passed since.

    Were the time of day itself used, setting the computer's clock would make workers lost, time
    limits run out and timers stand still.
    """

    def __init__(self, reactor: Clock) -> None:
        """Go with a reactor whose own time is monotonic."""
        self._reactor = reactor
        self._start = time.time() - reactor.seconds()
        self.callLater = reactor.callLater

    def seconds(self) -> float:
        """Give the time, in seconds since the epoch."""
        return self._start + self._reactor.seconds()


async def in_slices(steps: Iterator[object], clock: Clock) -> None:
    """Run `steps` to their end, pausing whenever they have taken a turn's time."""
    began = time.perf_counter()
    for _ in steps:
        if time.perf_counter() - began > TURN:
            await pause(clock)
            began = time.perf_counter()
