"""A progress bar for jobs, on a terminal."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TextIO

from coalition.client import Job
from coalition.core.states import ERROR, FINISHED

WIDEST = 40
"""Characters of the bar itself at most; longer ones are hard to read."""


class ProgressBar:
    """One line that is drawn again and again; nothing where the stream is no terminal."""

    def __init__(self, stream: TextIO) -> None:
        """Draw on the stream, from the first `show` on."""
        self._stream = stream
        self._drawn = False

    def show(self, jobs: Sequence[Job]) -> None:
        """Draw how far the jobs are, taken together."""
        if not self._stream.isatty():
            return
        text = line(jobs, shutil.get_terminal_size().columns - 1)
        # The rest of a longer line before is cleared.
        self._stream.write(f"\r{text}\x1b[K")
        self._stream.flush()
        self._drawn = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._drawn:
            self._stream.write("\n")


def line(jobs: Sequence[Job], width: int) -> str:
    """Return the bar with percent and counts, in `width` characters at most."""
    leaves = sum(job.total or 1 for job in jobs)
    part = sum(progress(job) * (job.total or 1) for job in jobs) / leaves
    finished = sum(job.total_finished if job.total else job.state == FINISHED for job in jobs)
    failed = sum(job.total_errors if job.total else job.state == ERROR for job in jobs)
    counts = f" {part:4.0%}  {finished} of {leaves} finished"
    if failed:
        counts += f", {failed} failed"
    room = min(WIDEST, width - len(counts) - 2)
    full = int(part * room)
    bar = f"[{'#' * full}{'.' * (room - full)}]" if room > 0 else ""
    return (bar + counts)[:width]


def progress(job: Job) -> float:
    """Return how far a job is, 0 to 1; the server knows nothing of one that prints no progress."""
    return 1.0 if job.state == FINISHED else job.progress or 0.0
