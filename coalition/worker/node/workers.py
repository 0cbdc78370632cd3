"""The workers of a node: what they had, and which of them want no job at the moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from random import Random

from coalition import wire
from coalition.worker.node.rests import Rests


class Workers:
    """All workers of a node, by their names."""

    def __init__(self, names: Iterable[str], affinity: str, random: Random) -> None:
        """Have them idle; all announce the same `affinity`."""
        self._last = dict.fromkeys(names, 0)
        self._affinity = affinity
        self.rests = Rests(random)
        self.drained: set[str] = set()
        self.pausing = False

    def __iter__(self) -> Iterator[str]:
        return iter(self._last)

    def last(self, name: str) -> int | None:
        """Return the highest number of a run that a worker ever had; None for a stranger."""
        return self._last.get(name)

    def note_run(self, name: str, number: int) -> None:
        """Note that a worker has a run, unless it is a stranger."""
        if name in self._last:
            self._last[name] = max(number, self._last[name])

    @property
    def all_drained(self) -> bool:
        """Whether none of them may take more."""
        return self.drained.issuperset(self._last)

    def is_resting(self, name: str) -> bool:
        """Say whether a worker wants no job at the moment."""
        return self.pausing or name in self.rests or name in self.drained

    def slots(self, run_of: Callable[[str], int], now: float) -> list[wire.Slot]:
        """Return what a report says of each; `run_of` gives the run that it has, 0 for none."""
        self.rests.end_some(now)
        return [
            wire.Slot(name, run_of(name), last, self._affinity, self.is_resting(name))
            for name, last in self._last.items()
        ]
