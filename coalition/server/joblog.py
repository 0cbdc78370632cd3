"""The logs of the jobs: one file per job, one section per run.

The file itself is the truth about how much of a run's output has arrived: so repeated and missing
parts are noticed across a crash of the server, without a second record that could disagree.
"""

from __future__ import annotations

import logging
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path

import re2

from coalition.core.changes import Changes
from coalition.core.model import Run
from coalition.core.progress import Compile, Meter, Regex
from coalition.core.states import WORKING
from coalition.errors import BadRequest

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


AT_ONCE = 200
"""Files removed in one turn: more would keep the reactor for longer than a few milliseconds."""


class _Section:
    """The part of a log file that belongs to a run that goes on."""

    __slots__ = ("base", "line_open", "meter", "size")

    def __init__(self, base: int, size: int, line_open: bool, meter: Meter) -> None:
        self.base = base  # offset in the file of the first byte of output
        self.size = size  # bytes of output that have arrived
        self.line_open = line_open  # the last one was not a newline
        self.meter = meter


class JobLogs:
    """The folder of the logs."""

    def __init__(self, folder: Path, compile: Compile = compile_pattern) -> None:
        """Use a folder, which is made if it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = str(folder)
        self._compile = compile
        self._sections: dict[int, _Section] = {}
        self._doomed: dict[int, None] = {}  # jobs whose old log is still to be removed
        self.trouble: str | None = None  # why the last write failed

    def path(self, job_id: int) -> str:
        """Give the file of a job's log."""
        if job_id in self._doomed:
            self._remove(job_id)
        return f"{self._folder}/{job_id}.log"

    def append(
        self, run: Run, offset: int | None, data: bytes
    ) -> tuple[int, float | None, float | None]:
        """Write output of a run that goes on, from `offset` of its output (None: what follows).

        What is there already is passed over; what would leave a gap is not written, and what the
        disk does not take is not counted. Gives the number of bytes that have arrived, and
        progress and local progress where they were told.
        """
        section = self._sections.get(run.id) or self._find(run)
        if section is None:
            return 0, None, None
        have = section.size
        fresh = data if offset is None or offset == have else data[max(0, have - offset) :]
        if not fresh or (offset is not None and offset > have):
            return have, None, None
        if self._write(run.job_id, fresh) is None:
            return have, None, None
        section.size += len(fresh)
        section.line_open = not fresh.endswith(b"\n")
        return section.size, *section.meter.feed(fresh)

    def on_committed(self, changes: Changes) -> None:
        """Write heads and tails of runs; what was cleared is removed by remove_some()."""
        for run in changes.finished_runs.values():
            if run.id not in changes.new_runs:
                self._end(run)
        self._doomed.update(changes.cleared_logs)
        for run in changes.new_runs.values():
            if run.job_id not in changes.deleted_jobs:
                self._begin(run)
                if run.state != WORKING:
                    self._end(run)

    def _begin(self, run: Run) -> None:
        command = run.job.command.replace("\n", "\\n")
        head = f"{_head(run.id)} on {run.worker.name} at {_date(run.start)}: {command}\n"
        end = self._write(run.job_id, head.encode(errors="replace"))
        if end is not None:
            self._sections[run.id] = _Section(end, 0, False, self._meter(run))

    def _end(self, run: Run) -> None:
        section = self._sections.pop(run.id, None)
        if not os.path.exists(self.path(run.job_id)):
            return
        open_line = "\n" if section is not None and section.line_open else ""
        code = "no exit code" if run.code is None else f"exit code {run.code}"
        end = run.start + run.duration
        tail = f"{_head(run.id)} {run.state} at {_date(end)}, {run.duration:.3f} s, {code}\n"
        self._write(run.job_id, (open_line + tail).encode())

    def _write(self, job_id: int, data: bytes) -> int | None:
        """Append to a job's file; give its size then, or None if the disk does not take it."""
        try:
            size = self._append(job_id, data)
        except OSError as error:
            if self.trouble is None:
                log.error("the log of job %d cannot be written: %s", job_id, error)
            self.trouble = str(error)
            return None
        self.trouble = None
        return size

    def _append(self, job_id: int, data: bytes) -> int:
        file = os.open(self.path(job_id), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            written = os.write(file, data)
            while written < len(data):
                written += _write_rest(file, data, written)
            return os.lseek(file, 0, os.SEEK_CUR)
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
        with suppress(FileNotFoundError):
            os.unlink(f"{self._folder}/{job_id}.log")

    def _meter(self, run: Run) -> Meter:
        job = run.job
        try:
            return Meter(job.progress_pattern, job.globalprogress, self._compile)
        except BadRequest:  # an older program let it pass
            log.warning("job %d has a progress pattern that cannot be used", job.id)
            return Meter("", "", self._compile)

    def _find(self, run: Run) -> _Section | None:
        """Find the section of a run that began before this server was started, or begin it."""
        head = f"{_head(run.id)} on ".encode()
        base = size = 0
        last = b"\n"
        try:
            with (
                open(self.path(run.job_id), "rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text,
            ):
                at = text.find(head)
                if at >= 0:
                    base = text.find(b"\n", at) + 1
                    size, last = len(text) - base, text[-1:]
        except (OSError, ValueError):  # mmap refuses an empty file
            pass
        if not base:
            self._begin(run)
        else:
            self._sections[run.id] = _Section(base, size, last != b"\n", self._meter(run))
        return self._sections.get(run.id)


def _write_rest(file: int, data: bytes, written: int) -> int:
    """Go on after a partial write; if the disk takes no more, take back what it took."""
    try:
        return os.write(file, data[written:])
    except OSError:
        os.ftruncate(file, os.fstat(file).st_size - written)
        raise


def _head(run_id: int) -> str:
    return f"* RUN {run_id}"


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def check_patterns(local_pattern: str, global_pattern: str) -> None:
    """Raise BadRequest if one of a job's progress patterns cannot be used."""
    if local_pattern or global_pattern:
        Meter(local_pattern, global_pattern, compile_pattern)
