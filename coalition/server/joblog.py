"""The logs of the jobs: one file per job, one section per run.

The file itself is the truth about how much of a run's output has arrived: so repeated and missing
parts are noticed across a crash of the server, without a second record that could disagree.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import re2

from coalition import wire
from coalition.core.changes import Changes
from coalition.core.model import Run
from coalition.core.progress import Compile, Meter, Regex
from coalition.core.states import RESERVED
from coalition.errors import BadRequest, LogUnusable
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


PIECE = 1024 * 1024
"""Bytes of a log that are looked through at once for the head of a run."""

NONBLOCK = getattr(os, "O_NONBLOCK", 0)
"""For whatever stands in place of a log and is none: a FIFO would be waited for."""

APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | NONBLOCK | getattr(os, "O_BINARY", 0)
"""How a log is opened, for each write: to keep it open would save 2 us of the 25 of a short run.
Windows would write a carriage return before each newline, if it were not told that it is binary."""

PASSING = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT,
        errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN,
    }
)  # fmt: skip
"""Errors of a disk, its server or this computer: all logs have them, and they pass."""

AT_ONCE = 200
"""Files removed in one turn: more would keep the reactor for longer than a few milliseconds."""


class JobLogs:
    """The folder of the logs."""

    def __init__(
        self, folder: Path, limit: int = wire.MAXLOG, compile: Compile = compile_pattern
    ) -> None:
        """Use a folder, which is made if it is missing; keep `limit` bytes of a run's log."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = str(folder)
        self._limit = limit
        self._compile = compile
        self._sections: dict[int, Section] = {}
        self._first_run: int | None = None  # number of the first one that this server has begun
        self._doomed: dict[int, None] = {}  # jobs whose old log is still to be removed
        self._blocked: dict[int, str] = {}  # jobs whose file takes nothing, and why
        self.trouble: str | None = None  # why the disk takes no logs, while it does not

    def path(self, job_id: int) -> str:
        """Give the file of a job's log."""
        if job_id in self._doomed:
            self._remove(job_id)
        return self._place(job_id)

    def _place(self, job_id: int) -> str:
        return f"{self._folder}/{job_id}.log"

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

    def on_committed(self, changes: Changes) -> None:
        """Write heads and tails of runs; what was cleared is removed by remove_some().

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
        self._doomed.update(changes.cleared_logs)
        # By number: a later server takes all that stands below the last head for that run's output,
        # so an earlier run of the job must have its tail above that.
        for _, run in sorted(begun.items()):
            if run.job_id in changes.deleted_jobs:
                self._sections.pop(run.id, None)
            elif run.id in ended:
                self._end(run)
            elif run.state != RESERVED and (section := self._section(run)) is not None:
                self._write(run, section, b"")

    def _end(self, run: Run) -> None:
        section = self._section(run)
        if section is None:
            return
        del self._sections[run.id]
        code = "no exit code" if run.code is None else f"exit code {run.code}"
        end = run.start + run.duration
        tail = f"{_head(run.id)} {run.state} at {_date(end)}, {run.duration:.3f} s, {code}\n"
        self._write(run, section, section.rest() + tail.encode())

    def _write(self, run: Run, section: Section, text: bytes) -> bool:
        """Append to the file of a run's job, its head first; False if that has to wait.

        A file that nobody can write keeps no node waiting: what comes for it is lost.
        """
        if not text and section.has_head:
            return True
        try:
            if section.lost:
                self._fill(run, section)
            self._append(run.job_id, text if section.has_head else _head_line(run) + text)
        except OSError as error:
            if self._passes(error):
                self._note_trouble(run.job_id, error)
                return False
            self._block(run.job_id, error)
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
            self._append(run.job_id, _head_line(run))
            section.has_head = True
        for piece in filler(section.lost):
            self._append(run.job_id, piece)
            section.lost -= len(piece)

    def _passes(self, error: OSError) -> bool:
        """Say whether an error concerns all logs, and not just the file of one."""
        return error.errno in PASSING or not os.access(self._folder, os.W_OK | os.X_OK)

    def _note_trouble(self, job_id: int, error: OSError) -> None:
        if self.trouble is None:
            log.error("the log of job %d cannot be written: %s", job_id, error)
        self.trouble = str(error)

    def try_again(self) -> None:
        """See whether the disk takes logs again: those who wait for that may have none to write."""
        if self.trouble is not None:
            path = f"{self._folder}/.probe"
            try:
                with open(path, "wb") as file:
                    file.write(bytes(4096))
                os.unlink(path)
            except OSError:
                return
            self.trouble = None

    def _block(self, job_id: int, error: OSError) -> None:
        if job_id not in self._blocked:
            file = self._place(job_id)
            log.error("%s cannot be used, and what comes for it is lost: %s", file, _reason(error))
        self._blocked[job_id] = _reason(error)

    def _append(self, job_id: int, data: bytes) -> None:
        file = os.open(self.path(job_id), APPEND, 0o666)
        try:
            written = os.write(file, data)
            while written < len(data):
                written += _write_rest(file, data, written)
        finally:
            os.close(file)

    def job_ids(self) -> Iterator[int]:
        """Give the jobs that have a log."""
        with os.scandir(self._folder) as entries:
            for entry in entries:
                name = entry.name.removesuffix(".log")
                if name != entry.name and name.isascii() and name.isdigit():
                    yield int(name)

    def clear(self, job_id: int) -> None:
        """Remove a job's log, soon and in any case before it is looked at or written again."""
        self._doomed[job_id] = None

    def remove_some(self) -> bool:
        """Remove some of the logs that were cleared; say whether there are more."""
        for job_id in list(islice(self._doomed, AT_ONCE)):
            self._remove(job_id)
        return bool(self._doomed)

    def _remove(self, job_id: int) -> None:
        del self._doomed[job_id]
        self._blocked.pop(job_id, None)
        try:
            os.unlink(self._place(job_id))
        except FileNotFoundError:
            pass
        except OSError as error:
            log.error("the log of job %d cannot be removed: %s", job_id, error)

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
                base = _end_of_line(file, f"{_head(run.id)} on ".encode())
                if base:
                    size = file.seek(0, os.SEEK_END) - base
                    file.seek(max(base, base + size - len(CUT)))
                    section.find_again(size, file.read(), by_offset=bool(run.worker.node))
        except FileNotFoundError:
            pass
        except OSError as error:
            if self._passes(error):
                self._note_trouble(run.job_id, error)
                return False
            self._block(run.job_id, error)
        return True


def open_log(path: str) -> BinaryIO:
    """Open a log to read it. Raises OSError."""
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 its user closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file")
    return file


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | NONBLOCK)


def _end_of_line(file: BinaryIO, start: bytes) -> int:
    """Give where the line that begins with `start` ends, 0 if there is none that is complete.

    The file is not mapped: one of a few hundred MB would count as memory of the server.
    """
    before, position = b"", 0
    while piece := file.read(PIECE):
        text = before + piece
        at = text.find(start)
        if at >= 0:
            file.seek(position + at)
            line = file.readline()
            return file.tell() if line.endswith(b"\n") else 0
        before = text[-len(start) :]
        position += len(text) - len(before)
    return 0


def _write_rest(file: int, data: bytes, written: int) -> int:
    """Go on after a partial write; if the disk takes no more, take back what it took."""
    try:
        return os.write(file, data[written:])
    except OSError:
        os.ftruncate(file, os.fstat(file).st_size - written)
        raise


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _head_line(run: Run) -> bytes:
    command = run.job.command.replace("\n", "\\n")
    head = f"{_head(run.id)} on {run.worker.name} at {_date(run.start)}: {command}\n"
    return head.encode(errors="replace")


def _head(run_id: int) -> str:
    return f"* RUN {run_id}"


def _date(seconds: float) -> str:
    return _date_of(int(seconds))


@lru_cache(maxsize=100)
def _date_of(second: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))


def check_patterns(local_pattern: str, global_pattern: str) -> None:
    """Raise BadRequest if one of a job's progress patterns cannot be used."""
    if local_pattern or global_pattern:
        Meter(local_pattern, global_pattern, compile_pattern)
