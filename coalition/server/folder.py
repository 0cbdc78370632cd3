"""The folder of the logs: whose are there, and which have to go before their places are used again.

Those of jobs that were reset or deleted are removed. Those of jobs that the database never had are
kept, out of the way of the jobs that get their ids now.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import count, islice
from pathlib import Path

from coalition.core.model import Job
from coalition.server.logfile import is_before, open_log

log = logging.getLogger(__name__)

AT_ONCE = 200
"""Files that go, or get what is owed to them, in one turn: with more it would take too many ms."""


class Folder:
    """A file for each job that has a log."""

    def __init__(self, folder: Path) -> None:
        """Use a folder, which is made if it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        self.name = str(folder)
        # Jobs whose log of before has to go, and into which folder; into none, if that is empty.
        self.cleared: dict[int, str] = {}

    def place(self, job_id: int) -> str:
        """Give where a job's log stands, and perhaps another one that has to go."""
        return f"{self.name}/{job_id}.log"

    def path(self, job_id: int) -> str:
        """Give where a job's log stands or will stand."""
        if job_id in self.cleared:
            self._go(job_id)
        return self.place(job_id)

    def job_ids(self) -> Iterator[int]:
        """Give the jobs that have a log."""
        with os.scandir(self.name) as entries:
            for entry in entries:
                name = entry.name.removesuffix(".log")
                if name != entry.name and name.isascii() and name.isdigit():
                    yield int(name)

    def sort_out(
        self, jobs: Mapping[int, Job], next_job: int, fresh: Iterable[tuple[int, int]]
    ) -> None:
        """Find, when the server starts, what has to go.

        Jobs were reset when the server was killed; of some of these the next run has begun, `fresh`
        lists it with its job. And where the database was replaced, or an older one restored, jobs
        from `next_job` on are none of its own.
        """
        there = list(self.job_ids())
        strange = sorted(job_id for job_id in there if job_id >= next_job)
        if strange:
            self._set_aside(strange)
        # A group has no log of its own, but a job with a command may have become one in 4.0.
        plain = [id for id in there if id in jobs and jobs[id].group is None]
        self.clear(id for id in plain if not jobs[id].start_time)
        self.clear(job_id for run, job_id in fresh if self._is_before(job_id, run))

    def _is_before(self, job_id: int, run_id: int) -> bool:
        try:
            with open_log(self.place(job_id)) as file:
                return is_before(file, run_id)
        except OSError:
            return False

    def _set_aside(self, jobs: list[int]) -> None:
        numbers = count(1)
        while os.path.lexists(aside := f"{self.name}/old-{next(numbers)}"):
            pass
        try:
            os.mkdir(aside)
        except OSError as error:
            log.error("%d logs of another database stay where they are: %s", len(jobs), error)
            return
        log.warning("%d logs of jobs that this database never had go to %s", len(jobs), aside)
        # In the order in which their ids are given: a server that is killed before it has moved all
        # has not given one of the others.
        self.cleared.update(dict.fromkeys(jobs, aside))

    def clear(self, jobs: Iterable[int]) -> None:
        """Have logs removed, soon and in any case before they are looked at or written again."""
        for job_id in jobs:
            self.cleared.setdefault(job_id, "")

    def clear_some(self) -> bool:
        """Let some of the logs go that have to; say whether there are more."""
        for job_id in list(islice(self.cleared, AT_ONCE)):
            self._go(job_id)
        return bool(self.cleared)

    def _go(self, job_id: int) -> None:
        aside, place = self.cleared.pop(job_id), self.place(job_id)
        try:
            if aside:
                os.rename(place, f"{aside}/{job_id}.log")
            else:
                os.unlink(place)
        except FileNotFoundError:
            pass
        except OSError as error:
            verb = "moved" if aside else "removed"
            log.error("the log of job %d cannot be %s: %s", job_id, verb, error)
