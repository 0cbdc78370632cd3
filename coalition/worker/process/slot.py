"""A worker: what its keeper has to do, and when that owes an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coalition.worker.command.command import Command
from coalition.worker.process.ending import GRACE
from coalition.worker.process.keeper.messages import boottime
from coalition.worker.process.line import Line

if TYPE_CHECKING:
    from coalition.worker.process.keeper.messages import Message

STARTING_LOOK = 30.0
RUNNING_LOOK = 30.0
ENDING_LOOK = 2.5
"""Seconds between two looks at a keeper that starts, as from a slow disk, at one that only has
runs, and at one that has to end or drop a run; see `Line.expect`."""

LAPSED_LOOK = 0.5
"""The same when a lease is over. The second look comes when the keeper should have used force: half
a second later, so that all is over in the shortest of the usual margins."""

WARY = 600.0
"""Seconds in which the keepers of a node get one run at a time, after one was killed and nobody can
tell by which of several. A job that always does it has been to every node of a farm by then, and is
known where it comes for the second time."""

SHORTAGES = 2
"""Runs in a row that a keeper cannot start until it is replaced: it may be itself what lacks
something, by what some job has done to it."""

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
        """Its keeper is gone, and what that kept is being ended."""
        self.runs: dict[int, Command] = {}
        """What the keeper was given and has not ended, in that order."""
        self.began: int | None = None
        """The run of which the keeper has said that it runs, or what it writes."""
        self.ending: set[int] = set()
        """The runs that are to end."""
        self.dropping: set[int] = set()
        """The runs that are to be dropped, unless they have begun."""
        self.leases: dict[int, float] = {}
        """Until when exclusive runs may go on, by `boottime`."""
        self.unsaid: list[Message] = []
        self.worn = False
        """Its keeper is to be replaced when it has nothing to do."""
        self.shortages = 0
        """Runs in a row that the keeper could not start for lack of something."""
        self._behind: dict[int, tuple[Any, ...]] = {}  # what of `runs` the keeper is not given yet
        self._wary_until = 0.0

    def start(self, run: int, command: Command, told: tuple[Any, ...], lease: float | None) -> None:
        """Have a run begun when those before it have ended; `told` is its part of the message."""
        self.runs[run] = command
        if lease is not None:
            self.leases[run] = lease
        self._behind[run] = told
        self._go_on()

    def tell(self, message: Message) -> None:
        """Have the keeper told something that is no start."""
        kind, what = message[:2]
        if kind == "end":
            self.ending.add(what)
        elif kind == "drop" and what != self.began:
            self.dropping.add(what)
        if kind in ("drop", "end") and what in self._behind:
            self._hand_over(what)  # together with this, so it is dropped and never begun
        self.unsaid.append(message)

    def _go_on(self) -> None:
        """Hand over what waits here, one run after the other while the keeper is to have one."""
        while self._behind and not self.worn:
            if not self.is_idle and boottime() < self._wary_until:
                break
            self._hand_over(next(iter(self._behind)))

    def _hand_over(self, run: int) -> None:
        told = self._behind.pop(run)
        self.unsaid.append(("start", run, *told, self.leases.get(run)))

    @property
    def is_idle(self) -> bool:
        """Whether the keeper has nothing to do, as far as it was told."""
        return len(self._behind) == len(self.runs)

    def on_shortage(self) -> None:
        """Note that the keeper could not start a run for lack of something."""
        self.shortages += 1
        self.worn = self.worn or self.shortages >= SHORTAGES
        self.inspect()

    def inspect(self) -> None:
        """Have the keeper replaced if a job has changed what others inherit from it."""
        self.worn = self.worn or (self.line is not None and not self.line.is_as_started)

    def renew(self) -> None:
        """Keep what comes from now on for a fresh keeper."""
        self.mending, self.worn, self.shortages = True, False, 0
        self._go_on()

    def on_began(self, run: int) -> None:
        """Note that a run is the one that runs; so it is not dropped, and nobody says more."""
        self.began = run
        self.dropping.discard(run)

    def done(self, run: int) -> Command:
        """Note that a run is over."""
        if self.began == run:
            self.began = None
        command = self.runs.pop(run)
        if self.owes:
            self.ending.discard(run)
            self.dropping.discard(run)
            self.leases.pop(run, None)
            self.expect()
        self._go_on()
        return command

    def suspects(self) -> list[int]:
        """Return which runs the keeper may be at, for all that it has said.

        The others have certainly not begun. Of several, those before the one that runs have ended.
        """
        if self.began is not None:
            return [self.began]
        unsaid = {message[1] for message in self.unsaid if message[0] == "start"}
        return [run for run in self.runs if run not in unsaid and run not in self._behind]

    def beware(self) -> None:
        """Give the keeper one run at a time for a while: then it is known which one it is at."""
        self._wary_until = boottime() + WARY

    def forget(self) -> dict[int, Command]:
        """Have nothing to do any more; return the runs that there were."""
        lost, self.runs = self.runs, {}
        self.began = None
        self.ending.clear()
        self.dropping.clear()
        self.leases.clear()
        self.unsaid = []
        self._behind.clear()
        return lost

    def extend(self, deadline: float) -> None:
        """Move the leases that are not over, as the keeper does."""
        now = boottime()
        self.leases = {
            run: deadline if lease > now else lease for run, lease in self.leases.items()
        }

    @property
    def owes(self) -> bool:
        """Whether the keeper has more to do than to run what it was given, now or later."""
        return bool(self.ending or self.dropping or self.leases)

    def expect(self) -> None:
        """Have the keeper looked after for as long as it has runs, closely when it owes an end."""
        if self.line is None:
            return
        if not self.runs:
            self.line.relax()
        elif not self.ready:
            self.line.expect(STARTING_LOOK)
        elif self._left() <= 0:
            self.line.expect(LAPSED_LOOK)
        else:
            self.line.expect(ENDING_LOOK if self.ending or self.dropping else RUNNING_LOOK)

    def until(self) -> float:
        """Return until when what it runs may take to end if its keeper is gone, by `boottime`."""
        return boottime() + min(GRACE, self._left() + LAPSED_GRACE)

    def _left(self) -> float:
        """Return the seconds until the first lease is over."""
        return min(self.leases.values(), default=float("inf")) - boottime()
