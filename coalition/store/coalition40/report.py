"""What became of the rows: how many there were and are, which were dropped and why, and what else
had to be changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from coalition.errors import StoreError

Tell = Callable[[str], None]
"""Shows somebody a line."""

MOST_TOLD = 20
"""Lines about the same thing; of more, the number is told."""


@dataclass
class Tally:
    """The rows of one table."""

    before: int = 0
    after: int = 0
    dropped: Counter[str] = field(default_factory=Counter)  # by reason


class Report:
    """Collects what is to be told when all is done."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.tallies: dict[str, Tally] = {}  # by what the rows are, in the order of the table
        self._changes: dict[str, list[str]] = {}
        self._changed: Counter[str] = Counter()

    def tally(self, what: str, before: int) -> Tally:
        """Begin to count rows of a kind."""
        self.tallies[what] = Tally(before)
        return self.tallies[what]

    def drop(self, what: str, reason: str, who: str) -> None:
        """A row is left out: `who` says which one."""
        self.tallies[what].dropped[reason] += 1
        self.change(reason, f"{who}: {reason}; it is dropped")

    def change(self, kind: str, line: str) -> None:
        """Something is not as it was."""
        self._changed[kind] += 1
        if self._changed[kind] <= MOST_TOLD:
            self._changes.setdefault(kind, []).append(line)

    def check(self) -> None:
        """Raise StoreError if rows are missing that nobody dropped."""
        for what, tally in self.tallies.items():
            if tally.before - tally.dropped.total() != tally.after:
                raise StoreError(
                    f"{what}: {tally.before} before, {tally.dropped.total()} dropped, and "
                    f"{tally.after} after; the database stays as it was"
                )

    def tell(self, tell: Tell) -> None:
        """Show all of it, some lines for each kind of change, and the table of the rows."""
        for kind, lines in self._changes.items():
            for line in lines:
                tell(line)
            more = self._changed[kind] - len(lines)
            if more:
                tell(f"... and {more} more: {kind}")
        tell(f"{'':20}{'before':>10}{'after':>10}{'dropped':>10}")
        for what, tally in self.tallies.items():
            reasons = "; ".join(f"{reason}: {number}" for reason, number in tally.dropped.items())
            row = f"{what:20}{tally.before:10}{tally.after:10}{tally.dropped.total():10}"
            tell(f"{row}  {reasons}".rstrip())
