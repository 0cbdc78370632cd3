"""What the machine asks for: actions to carry out, in order, and reports to send."""

from __future__ import annotations

from dataclasses import dataclass

from coalition import wire


@dataclass(frozen=True)
class Begin:
    """Start this run on `start.worker`, after what that worker has; then feed on_exit.

    An exclusive one ends itself at `lease`, if nothing moves that (see Extend).
    """

    start: wire.Start
    lease: float | None = None


@dataclass(frozen=True)
class EndTree:
    """End the run's processes; on_exit follows when they are gone, or on_dropped."""

    run: int


@dataclass(frozen=True)
class Drop:
    """Take the run out of its worker's queue if it has not begun; on_dropped follows then."""

    run: int


@dataclass(frozen=True)
class Save:
    """Make the end of this run durable, soon or with the next wave; then feed on_saved."""

    run: int
    code: int
    again: bool
    seconds: float
    soon: bool = True


@dataclass(frozen=True)
class Forget:
    """Delete what the outbox has of this run."""

    run: int


@dataclass(frozen=True)
class Extend:
    """The server has answered: exclusive runs may go on until `lease`."""

    lease: float


Action = Begin | EndTree | Drop | Save | Forget | Extend


@dataclass(frozen=True)
class Cut:
    """A piece of a run's output that belongs into a report."""

    run: int
    offset: int
    length: int


@dataclass(frozen=True)
class Plan:
    """A report to send: `cuts` are still to be read from the outbox into `report.logs`.

    Its answer may take `patience` seconds, beyond the wait that it agrees to.
    """

    number: int
    report: wire.Report
    cuts: list[Cut]
    patience: float
