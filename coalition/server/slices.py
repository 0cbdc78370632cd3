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


async def in_slices(steps: Iterator[object], clock: Clock) -> None:
    """Run `steps` to their end, pausing whenever they have taken a turn's time."""
    began = time.perf_counter()
    for _ in steps:
        if time.perf_counter() - began > TURN:
            await pause(clock)
            began = time.perf_counter()
