"""What a node knows of one run."""

from __future__ import annotations

from dataclasses import dataclass

from coalition import wire
from coalition.worker.node.actions import Cut

RUN_LIMIT = 256 * 1024
"""Bytes of one run's log in a report, so that a flood of one run leaves room for the others."""

LONGEST_AGO = 1e8
"""Seconds since the end of a run that a server is told at most, three years."""


@dataclass(slots=True)
class Run:
    """A run that the node has: its processes, or what the server has not acknowledged yet.

    A run is `alive` from the moment it stands in its worker's queue until its processes are gone,
    and `dropped` when the node has asked the queue not to begin it.
    """

    number: int
    worker: str
    handed_at: float | None = None
    """When it was handed ahead; None for one that the server gave to this worker itself."""
    exclusive: bool = False
    long: bool = False
    size: int = 0
    sent: int = 0
    safe: int = 0
    alive: bool = True
    killed: bool = False
    dropped: bool = False
    again: bool = False
    code: int = 0
    seconds: float = 0.0
    clearing: float = 0.0
    ended_at: float = 0.0
    saved: bool = False
    told: bool = False
    early: bool = False
    """Its end is told before all of its log: the server has to see that it is over."""

    @property
    def waiting(self) -> bool:
        """Whether there is something of it that no report has brought on its way."""
        return not self.killed and (self.size > self.sent or (self.saved and not self.told))

    def end(self, now: float) -> wire.End:
        """Return the end of it that a report tells."""
        # A clock that was set meanwhile must not make it an end that no server takes.
        ago = min(max(0.0, now - self.ended_at), LONGEST_AGO)
        return wire.End(
            self.number, self.code, self.again, self.worker, self.seconds, ago, self.clearing,
            self.size,
        )  # fmt: skip

    def take(self, room: int) -> Cut:
        """Cut the next piece of output that is to be sent.

        Once the run has ended, all that is not acknowledged goes with the end: else the end could
        arrive and be acknowledged while an earlier report with the rest of the log is lost.
        """
        offset = self.sent if self.alive else self.safe
        return Cut(self.number, offset, max(0, min(self.size - offset, RUN_LIMIT, room)))
