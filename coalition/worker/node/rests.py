"""Workers that rest, because this computer could not start what they were given."""

from __future__ import annotations

from random import Random

FIRST_REST = 4.0
LONGEST_REST = 20.0
"""Seconds that a worker offers itself to nobody after this computer could not start its run; they
double from first to longest. Far below the silence after which a server takes a worker for lost."""


class Rests:
    """Who rests until when, in seconds of any clock that only grows."""

    def __init__(self, random: Random) -> None:
        """Let nobody rest."""
        self._random = random
        self._refusals: dict[str, int] = {}
        self._until: dict[str, float] = {}

    def __contains__(self, worker: str) -> bool:
        return worker in self._until

    def begin(self, worker: str, now: float) -> None:
        """Have a worker rest: else the server and it would pass a job to and fro all the time."""
        refusals = self._refusals.get(worker, 0)
        rest = min(LONGEST_REST, FIRST_REST * 2**refusals) * self._random.uniform(0.5, 1.0)
        self._refusals[worker] = min(refusals + 1, 10)
        self._until[worker] = now + rest

    def note_start(self, worker: str) -> None:
        """Note that a run of the worker could be started: the next rest is a short one."""
        self._refusals.pop(worker, None)

    def end_some(self, now: float) -> None:
        """End the rests that are over."""
        self._until = {name: until for name, until in self._until.items() if until > now}

    def first_end(self) -> float | None:
        """Say when the first of them ends."""
        return min(self._until.values(), default=None)
