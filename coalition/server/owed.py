"""Runs that have ended while the disk took no logs: their last line is owed to their logs."""

from __future__ import annotations

from collections.abc import Iterator

from coalition.core.model import Run

MOST = 1000
"""Runs that are remembered: each may hold a section with 64 KiB of output."""


class Owed:
    """The runs, in the order in which they are tried."""

    def __init__(self) -> None:
        """Start with none."""
        self._runs: dict[int, Run] = {}
        self._of_job: dict[int, list[int]] = {}  # their numbers, as they ended
        self.given_up = 0  # runs that were forgotten to make room for others

    def __len__(self) -> int:
        """Give how many there are."""
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        """Give the runs, those first that were not tried for the longest time."""
        return iter(self._runs.values())

    def add(self, run: Run) -> Run | None:
        """Note a run, or that it was tried in vain; give the one that has to be forgotten, if any.

        That is the one that ended first.
        """
        if self._runs.pop(run.id, None) is None:
            self._of_job.setdefault(run.job_id, []).append(run.id)
        self._runs[run.id] = run
        if len(self._runs) <= MOST:
            return None
        self.given_up += 1
        oldest = self._runs[min(self._runs)]
        self.remove(oldest)
        return oldest

    def remove(self, run: Run) -> None:
        """Forget a run, if it is one of them."""
        if self._runs.pop(run.id, None) is not None:
            numbers = self._of_job[run.job_id]
            numbers.remove(run.id)
            if not numbers:
                del self._of_job[run.job_id]

    def of_job(self, job_id: int) -> list[Run]:
        """Give the runs of a job, in the order in which they ended."""
        return [self._runs[number] for number in self._of_job.get(job_id, ())]
