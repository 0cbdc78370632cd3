"""What the machine asks for: actions to carry out, in order, and reports to send."""

from __future__ import annotations

from dataclasses import dataclass

from coalition import wire


@dataclass(frozen=True)
class Begin:
    """Start this run; then feed on_output and on_exit."""

    start: wire.Start


@dataclass(frozen=True)
class EndTree:
    """End the run's processes; on_exit follows when they are gone."""

    run: int


@dataclass(frozen=True)
class Save:
    """Make this end durable; then feed on_saved."""

    end: wire.End


@dataclass(frozen=True)
class Forget:
    """Delete what the outbox has of this run."""

    run: int


Action = Begin | EndTree | Save | Forget


@dataclass(frozen=True)
class Cut:
    """A piece of a run's output that belongs into a report."""

    run: int
    offset: int
    length: int


@dataclass(frozen=True)
class Plan:
    """A report to send: `cuts` are still to be read from the outbox into `report.logs`."""

    number: int
    report: wire.Report
    cuts: list[Cut]
