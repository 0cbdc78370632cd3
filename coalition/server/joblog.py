"""The logs of the jobs: one file per job, one section per run.

The file itself is the truth about how much of a run's output has arrived: so repeated and missing
parts are noticed across a crash of the server, without a second record that could disagree.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from pathlib import Path

import re2

from coalition import wire
from coalition.core.changes import Changes
from coalition.core.model import Run
from coalition.core.progress import Compile, Meter, Regex
from coalition.core.states import RESERVED
from coalition.errors import BadRequest, LogUnusable
from coalition.server.folder import AT_ONCE, Folder
from coalition.server.logfile import (
    append,
    end_of_head,
    head_line,
    is_over,
    open_log,
    tail_line,
)
from coalition.server.owed import Owed
from coalition.server.section import CUT, Section, filler

log = logging.getLogger(__name__)

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.encoding = re2.Options.Encoding.LATIN1  # bytes as they come, whatever they mean

_SMALL = re2.Options()
_SMALL.log_errors = False
_SMALL.encoding = re2.Options.Encoding.LATIN1
_SMALL.max_mem = 6 * 1024
"""Bytes a compiled pattern may take: the time of a match is the log's length times this."""


@lru_cache(maxsize=1000)
def compile_pattern(text: bytes) -> Regex:
    """Compile an expression with RE2, whose time is linear in the log; raises BadRequest."""
    try:
        re2.compile(text, _SMALL)
        regex: Regex = re2.compile(text, _OPTIONS)
    except re2.error as error:
        reason = error.args[0] if error.args else "it is no regular expression"
        reason = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise BadRequest(f"a progress pattern is wrong: {reason}") from None
    return regex


PASSING = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT,
        errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN,
    }
)  # fmt: skip
"""Errors of a disk, its server or this computer: all logs have them, and they pass."""


class JobLogs:
    """The folder of the logs."""

    def __init__(
        self, folder: Path, limit: int = wire.MAXLOG, compile: Compile = compile_pattern
    ) -> None:
        """Use a folder, which is made if it is missing; keep `limit` bytes of a run's log."""
        self.folder = Folder(folder)
        self._limit = limit
        self._compile = compile
        self._sections: dict[int, Section] = {}
        self._first_run: int | None = None  # number of the first one that this server has begun
        self._blocked: dict[int, str] = {}  # jobs whose file takes nothing, and why
        self.owed = Owed()  # ends whose tail could not be written yet
        self.trouble: str | None = None  # why the disk takes no logs, while it does not
        self._told = ""  # what was logged of that last: one bad file may be tried for ever

    def path(self, job_id: int) -> str:
        """Give the file of a job's log."""
        return self.folder.path(job_id)

    def look(self, job_id: int) -> tuple[str, int, str]:
        """Give the file of a job's log, its size, and why what comes for it is lost, if it is.

        Raises LogUnusable if it cannot be read.
        """
        path = self.path(job_id)
        try:
            with open_log(path) as file:
                size = os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            size = 0
        except OSError as error:
            reason = f"the log of job {job_id} cannot be read: {_reason(error)}"
            raise LogUnusable(reason, id=job_id) from error
        blocked = self._blocked.get(job_id, "")
        if blocked:
            blocked = f"the log of job {job_id} cannot be written, its rest is lost: {blocked}"
        return path, size, blocked

    def append(
        self, run: Run, offset: int | None, data: bytes
    ) -> tuple[int, float | None, float | None]:
        """Write output of a run that goes on, from `offset` of its output (None: what follows).

        What is there already is passed over; what would leave a gap is not written, and what the
        disk does not take at the moment is not counted; without an offset it is never sent again,
        and is lost. Gives the number of bytes that have arrived, and progress and local progress
        where they were told.
        """
        section = self._section(run)
        if section is None:
            return 0, None, None
        fresh = section.fresh(offset, data)
        if not fresh:
            return section.size, None, None
        text = section.text(offset, fresh)
        if not self._write(run, section, text):
            if offset is not None:
                return section.size, None, None
            section.lost += len(text)
        section.take(offset, fresh)
        return section.size, *section.meter.feed(fresh)

    def size(self, run: Run) -> int | None:
        """Give how many bytes of a run's output have arrived; None if the disk does not say."""
        section = self._section(run)
        return None if section is None else section.size

    def on_committed(self, changes: Changes) -> None:
        """Write heads and tails of runs; what was cleared goes later; see Folder.

        A tail is not written earlier: it would be there although the run had never ended, should
        the server be killed before the commit.
        """
        new, ended = changes.new_runs, changes.finished_runs
        if self._first_run is None and new:
            self._first_run = min(new)
        for run_id in changes.dropped_runs:
            self._sections.pop(run_id, None)  # of one whose log could not be taken
        begun = {**new, **changes.begun_runs}
        for run in ended.values():
            if run.id not in begun:
                self._end(run)
        # What began together with these did so after its job was reset.
        self.folder.clear(changes.cleared_logs)
        for job_id in self._blocked.keys() & changes.cleared_logs.keys():
            del self._blocked[job_id]
        if self.owed:
            for job_id in (*changes.cleared_logs, *changes.deleted_jobs):
                self._forget(job_id)
        # By number: a later server takes all that stands below the last head for that run's output,
        # so an earlier run of the job must have its tail above that.
        for _, run in sorted(begun.items()):
            if run.job_id in changes.deleted_jobs:
                self._sections.pop(run.id, None)
            elif run.id in ended:
                self._end(run)
            elif run.state != RESERVED and (section := self._section(run)) is not None:
                self._write(run, section, b"")

    def mend(self, runs: Iterable[Run]) -> None:
        """Write the tails that an earlier server may not have written, of runs by number."""
        for run in runs:
            if self.trouble is None:
                self._settle(run)
            else:
                self._owe(run)

    def _end(self, run: Run) -> bool:
        """Write the tail of a run; False if that has to wait."""
        section = self._section(run)
        if section is None or not self._write(run, section, section.rest() + tail_line(run)):
            self._owe(run)
            return False
        del self._sections[run.id]
        if self.owed:
            self.owed.remove(run)
        return True

    def _owe(self, run: Run) -> None:
        forgotten = self.owed.add(run)
        if forgotten is None:
            return
        self._sections.pop(forgotten.id, None)
        if self.owed.given_up == 1:  # one word for all: every run that ends may be one more
            log.error(
                "the log of job %d will lack the end of run %d: too many wait for the disk",
                forgotten.job_id, forgotten.id,
            )  # fmt: skip

    def _settle(self, run: Run) -> bool:
        """Write the tail of a run unless the file says that it is over; False if that has to wait.

        Of one that ended before this server knew of it, the file alone tells that.
        """
        if run.id in self._sections:
            return self._end(run)
        try:
            with open_log(self.path(run.job_id)) as file:
                over = is_over(file, run.id)
        except FileNotFoundError:
            over = False
        except OSError as error:
            if self._waits(run.job_id, error):
                self._owe(run)
                return False
            over = True  # or each start would write one more tail into what cannot be read
        if over:
            self.owed.remove(run)
        return over or self._end(run)

    def _settle_before(self, run: Run) -> bool:
        """Write the tails of earlier runs of a job; False if that has to wait.

        What stands below the head of a run is taken for its output, so they must be above it.
        """
        earlier = [one for one in self.owed.of_job(run.job_id) if one.id < run.id]
        return all(self._settle(one) for one in earlier)

    def _forget(self, job_id: int) -> None:
        """The log of a job goes, and with it what is owed to it."""
        for run in self.owed.of_job(job_id):
            self.owed.remove(run)
            self._sections.pop(run.id, None)

    def _write(self, run: Run, section: Section, text: bytes) -> bool:
        """Append to the file of a run's job, its head first; False if that has to wait.

        A file that nobody can write keeps no node waiting: what comes for it is lost.
        """
        if not text and section.has_head:
            return True
        if self.owed and not self._settle_before(run):
            return False
        try:
            if section.lost:
                self._fill(run, section)
            append(self.path(run.job_id), text if section.has_head else head_line(run) + text)
        except OSError as error:
            if self._waits(run.job_id, error):
                return False
            section.lost += len(text)
            return True
        self.trouble = None
        section.has_head = True
        if self._blocked and self._blocked.pop(run.job_id, ""):
            log.info("the log of job %d can be written again", run.job_id)
        return True

    def _fill(self, run: Run, section: Section) -> None:
        """Write as much as was lost: the file is to tell how much of a run has arrived."""
        if not section.has_head:
            append(self.path(run.job_id), head_line(run))
            section.has_head = True
        for piece in filler(section.lost):
            append(self.path(run.job_id), piece)
            section.fill(len(piece))

    def _waits(self, job_id: int, error: OSError) -> bool:
        """Note why a file is of no use; say whether it may be later, when the disk is."""
        if self._passes(error):
            self._note_trouble(job_id, error)
            return True
        self._block(job_id, error)
        return False

    def _passes(self, error: OSError) -> bool:
        """Say whether an error concerns all logs, and not just the file of one."""
        return error.errno in PASSING or not os.access(self.folder.name, os.W_OK | os.X_OK)

    def _note_trouble(self, job_id: int, error: OSError) -> None:
        told = f"the log of job {job_id} cannot be written: {error}"
        if self.trouble is None and told != self._told:
            log.error("%s", told)
        self.trouble, self._told = str(error), told

    def try_again(self) -> None:
        """See whether the disk takes logs again: those who wait for that may have none to write.

        Then it gets some of what is owed to it.
        """
        if self.trouble is not None:
            path = f"{self.folder.name}/.probe"
            try:
                with open(path, "wb") as file:
                    file.write(bytes(4096))
                os.unlink(path)
            except OSError:
                return
            self.trouble = None
        for run in list(islice(self.owed, AT_ONCE)):
            if not self._settle(run):
                self.trouble = None  # that of one file: nobody else is to wait for it
                return
        if self.owed.given_up and not self.owed:
            log.error("the logs lack the ends of %d runs", self.owed.given_up)
            self.owed.given_up = 0

    def _block(self, job_id: int, error: OSError) -> None:
        if job_id not in self._blocked:
            file = self.folder.place(job_id)
            log.error("%s cannot be used, and what comes for it is lost: %s", file, _reason(error))
        self._blocked[job_id] = _reason(error)

    def _meter(self, run: Run) -> Meter:
        job = run.job
        try:
            return Meter(job.progress_pattern, job.globalprogress, self._compile)
        except BadRequest:  # an older program let it pass
            log.warning("job %d has a progress pattern that cannot be used", job.id)
            return Meter("", "", self._compile)

    def _section(self, run: Run) -> Section | None:
        """Give the section of a run that goes on; what an earlier server had of it is found.

        None if the disk does not say at the moment what that is.
        """
        section = self._sections.get(run.id)
        if section is None:
            section = Section(self._limit, self._meter(run))
            is_old = self._first_run is None or run.id < self._first_run
            if is_old and not self._find(run, section):
                return None
            self._sections[run.id] = section
        return section

    def _find(self, run: Run, section: Section) -> bool:
        try:
            with open_log(self.path(run.job_id)) as file:
                base = end_of_head(file, run)
                if base:
                    size = file.seek(0, os.SEEK_END) - base
                    file.seek(max(base, base + size - len(CUT)))
                    section.find_again(size, file.read(), by_offset=bool(run.worker.node))
        except FileNotFoundError:
            pass
        except OSError as error:
            return not self._waits(run.job_id, error)
        return True


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def check_patterns(local_pattern: str, global_pattern: str, path: str) -> None:
    """Raise BadRequest if one of the progress patterns of the job at `path` cannot be used."""
    for field, patterns in (
        ("progress_pattern", (local_pattern, "")),
        ("globalprogress", ("", global_pattern)),
    ):
        if any(patterns):
            try:
                Meter(*patterns, compile_pattern)
            except BadRequest as error:
                raise BadRequest(f"{error} - at `{path}.{field}`", field=field) from None
