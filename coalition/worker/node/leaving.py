"""How long a node that is to leave stays."""

from __future__ import annotations

GOODBYE_TIME = 5.0
"""Seconds that an idle node which leaves waits for the server to hear of it."""

DELIVERY_TIME = 60.0
"""Seconds that a node which leaves tries to deliver results; then they stay in the outbox."""

ABORT_TIME = 10.0
"""The same after the second signal."""

KILL_TIME = 5.0
"""Seconds after the second signal in which the jobs must be gone; more than a tree's grace time."""


class Leaving:
    """Times are seconds of any clock that only grows."""

    def __init__(self) -> None:
        """Stay."""
        self.begun = False
        self.drained = False
        """It is the server that wants it, and may take that back."""
        self.at_once = False
        self.by: float | None = None

    def hurry(self, now: float, *, alive: bool) -> None:
        """Leave without the jobs; some may still be `alive`."""
        self.at_once = True
        by = now + ABORT_TIME + (KILL_TIME if alive else 0)
        self.by = min(by, self.by or by)

    def note_idle(self, now: float, *, results: bool) -> None:
        """Nothing runs any more; there may be `results` that the server has not acknowledged."""
        patience = DELIVERY_TIME if results else GOODBYE_TIME
        self.by = now + (ABORT_TIME if self.at_once else patience)

    def is_over(self, now: float) -> bool:
        """Say whether the time is over."""
        return self.by is not None and now >= self.by
