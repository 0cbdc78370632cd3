"""The file of a job's log: the lines around each run, and how they are found again."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import BinaryIO

from coalition.core.model import Run

PIECE = 1024 * 1024
"""Bytes of a log that are looked through at once."""

NEAR = 4096
"""Bytes at the end of a log in which its last line stands, unless the job has run again since."""

NONBLOCK = getattr(os, "O_NONBLOCK", 0)
"""For whatever stands in place of a log and is none: a FIFO would be waited for."""

APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | NONBLOCK | getattr(os, "O_BINARY", 0)
"""How a log is opened, for each write: to keep it open would save 2 us of the 25 of a short run.
Windows would write a carriage return before each newline, if it were not told that it is binary."""

MARK = re.compile(rb"(?<=\n)\* RUN (\d{1,19}) (?:on |([A-Z]+) at [^\n]{1,99}\n)")
"""The beginning of a head, or the whole of a tail."""

LONGEST_MARK = 200
"""Bytes that MARK never needs, with the end of the line before."""


def open_log(path: str) -> BinaryIO:
    """Open a log to read it. Raises OSError."""
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 its user closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file")
    return file


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | NONBLOCK)


def append(path: str, data: bytes) -> None:
    """Write to the end of a log, all or nothing. Raises OSError."""
    file = os.open(path, APPEND, 0o666)
    try:
        written = os.write(file, data)
        while written < len(data):
            written += _write_rest(file, data, written)
    finally:
        os.close(file)


def _write_rest(file: int, data: bytes, written: int) -> int:
    """Go on after a partial write; if the disk takes no more, take back what it took."""
    try:
        return os.write(file, data[written:])
    except OSError:
        os.ftruncate(file, os.fstat(file).st_size - written)
        raise


def end_of_head(file: BinaryIO, run: Run) -> int:
    """Give where the head of a run ends, 0 if there is none that is complete.

    Where an older database was restored, a run of that number may stand there that is not known any
    more, and what a run prints may be a head, too. So it is the first one with its worker and its
    start; or the last one with its number, for the computer may be in another time zone by now.
    """
    at = _find(file, _beginning_of_head(run))
    if at < 0:
        at = _find(file, f"{_beginning(run.id)} on ".encode(), last=True)
    if at < 0:
        return 0
    file.seek(at)
    line = file.readline()
    return file.tell() if line.endswith(b"\n") else 0


def _find(file: BinaryIO, text: bytes, *, last: bool = False) -> int:
    """Give where a text stands in a file for the first or the last time, -1 if nowhere.

    The file is not mapped: one of a few hundred MB would count as memory of the server.
    """
    file.seek(0)
    found, before, position = -1, b"", 0
    while piece := file.read(PIECE):
        part = before + piece
        at = part.rfind(text) if last else part.find(text)
        if at >= 0:
            found = position + at
            if not last:
                break
        before = part[-len(text) :]
        position += len(part) - len(before)
    return found


def is_over(file: BinaryIO, run_id: int) -> bool:
    """Say whether the tail of a run stands in a log, or the head of a later one.

    Nothing may be written for a run below that: it would be taken for output of the later one.
    """
    near = max(0, file.seek(0, os.SEEK_END) - NEAR)
    return any(
        number > run_id or (is_tail and number == run_id)
        for start in dict.fromkeys((near, 0))
        for number, is_tail in _marks(file, start)
    )


def is_before(file: BinaryIO, run_id: int) -> bool:
    """Say whether there are only runs in a log that are earlier than that of a number."""
    number = 0
    for number, _ in _marks(file, 0):
        if number >= run_id:
            return False
    return number > 0


def _marks(file: BinaryIO, start: int) -> Iterator[tuple[int, bool]]:
    """Give the runs whose heads and tails stand in a file from `start` on, and which are tails."""
    file.seek(start)
    before = b"" if start else b"\n"
    while piece := file.read(PIECE):
        text = before + piece
        for mark in MARK.finditer(text):
            yield int(mark[1]), mark[2] is not None
        before = text[-LONGEST_MARK:]


def head_line(run: Run) -> bytes:
    """Give the line above a run's output."""
    command = run.job.command.replace("\n", "\\n")
    return _beginning_of_head(run) + f"{command}\n".encode(errors="replace")


def _beginning_of_head(run: Run) -> bytes:
    head = f"{_beginning(run.id)} on {run.worker.name} at {_date(run.start)}: "
    return head.encode(errors="replace")


def tail_line(run: Run) -> bytes:
    """Give the line below the output of a run that has ended."""
    code = "no exit code" if run.code is None else f"exit code {run.code}"
    end = run.start + run.duration
    tail = f"{_beginning(run.id)} {run.state} at {_date(end)}, {run.duration:.3f} s, {code}\n"
    return tail.encode()


def _beginning(run_id: int) -> str:
    return f"* RUN {run_id}"


def _date(seconds: float) -> str:
    return _date_of(int(seconds))


@lru_cache(maxsize=100)
def _date_of(second: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
