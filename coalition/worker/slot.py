"""A worker: what its keeper has to do, and when that owes an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coalition.worker.command import Command
from coalition.worker.keeper.messages import boottime
from coalition.worker.line import Line
from coalition.worker.tree import GRACE

if TYPE_CHECKING:
    from coalition.worker.keeper.messages import Message

STARTING_LOOK = 30.0
ENDING_LOOK = 2.5
"""Seconds between two looks at a keeper that starts, as from a slow disk, and at one that has to
end a run; see `Line.expect`."""

LAPSED_LOOK = 0.5
"""The same when a lease is over. The second look comes when the keeper should have used force: half
a second later, so that all is over in the shortest of the usual margins."""

LAPSED_GRACE = 0.5
"""Seconds that processes whose keeper is gone have beyond their lease."""


class Slot:
    """A worker, and what its keeper has to do."""

    def __init__(self, worker: str, cgroup: str) -> None:
        """Have no keeper yet."""
        self.worker = worker
        self.cgroup = cgroup
        self.line: Line | None = None
        self.ready = False
        self.mending = False
        """Its keeper was killed, and what that kept is being ended."""
        self.runs: dict[int, Command] = {}
        """What the keeper was given and has not ended, in that order."""
        self.began: int | None = None
        """The run of which the keeper has said that it runs."""
        self.ending: set[int] = set()
        """The runs that are to end."""
        self.leases: dict[int, float] = {}
        """Until when exclusive runs may go on, by `boottime`."""
        self.unsaid: list[Message] = []

    def done(self, run: int) -> Command:
        """Note that a run is over."""
        if self.began == run:
            self.began = None
        if self.ending or self.leases:
            self.ending.discard(run)
            self.leases.pop(run, None)
            self.expect()
        return self.runs.pop(run)

    def forget(self) -> dict[int, Command]:
        """Have nothing to do any more; return the runs that there were."""
        lost, self.runs = self.runs, {}
        self.began = None
        self.ending.clear()
        self.leases.clear()
        self.unsaid = []
        return lost

    def extend(self, deadline: float) -> None:
        """Move the leases that are not over, as the keeper does."""
        now = boottime()
        self.leases = {
            run: deadline if lease > now else lease for run, lease in self.leases.items()
        }

    def expect(self) -> None:
        """Have the keeper looked after for as long as it owes an answer."""
        if self.line is None:
            return
        over = self._left() <= 0
        if over or self.ending:
            pause = LAPSED_LOOK if over else ENDING_LOOK
            self.line.expect(pause if self.ready else STARTING_LOOK)
        else:
            self.line.relax()

    def grace(self) -> float:
        """Return how many seconds what it runs may have to end when its keeper is gone."""
        return max(0.0, min(GRACE, self._left() + LAPSED_GRACE))

    def _left(self) -> float:
        """Return the seconds until the first lease is over."""
        return min(self.leases.values(), default=float("inf")) - boottime()
