"""The runs that a node was handed ahead of its idle workers, and which worker begins which."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from coalition import wire

DEPTH = 48
"""Runs that stand in one worker's queue at most: more would wait behind a long one."""


@dataclass(slots=True)
class Handed:
    """A run that no worker has yet, and the workers that may have it."""

    start: wire.Start
    workers: list[str]
    since: float


class Pool:
    """What was handed ahead and stands in no worker's queue yet, in the server's order."""

    def __init__(self) -> None:
        """Have nothing."""
        self.last = 0
        self._handed: dict[int, Handed] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._handed

    def __len__(self) -> int:
        return len(self._handed)

    def __iter__(self) -> Iterator[int]:
        return iter(self._handed)

    def add(self, ahead: wire.Ahead, now: float) -> None:
        """Take runs that were not handed to this node before."""
        for start in ahead.starts:
            if start.run > self.last:
                self.last = start.run
                self._handed[start.run] = Handed(start, ahead.workers, now)

    def drop(self, number: int) -> None:
        """Do not begin a run, also if its start should come only later."""
        self.last = max(self.last, number)
        self._handed.pop(number, None)

    def clear(self) -> None:
        """Begin none of them."""
        self._handed.clear()

    def assign(self, queues: Mapping[str, Collection[object]]) -> Iterator[Handed]:
        """Give runs out to the shortest queues of those that take some; `start.worker` is chosen.

        `queues` are the workers that may get one, with what stands in their queues.
        """
        length = {name: len(queue) for name, queue in queues.items()}
        for number, handed in list(self._handed.items()):
            free = [name for name in handed.workers if length.get(name, DEPTH) < DEPTH]
            if free:
                chosen = min(free, key=length.__getitem__)
                length[chosen] += 1
                del self._handed[number]
                handed.start.worker = chosen
                yield handed

    def give_back(self, now: float) -> bool:
        """Drop what has waited for too long; say whether that was anything."""
        late = [number for number, one in self._handed.items() if now >= one.since + wire.PATIENCE]
        for number in late:
            del self._handed[number]
        return bool(late)

    def oldest(self) -> float | None:
        """Say since when the first of them has waited."""
        return next((handed.since for handed in self._handed.values()), None)
