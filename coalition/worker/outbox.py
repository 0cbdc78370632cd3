"""What the server has not acknowledged yet, in a folder: it survives a crash of the node.

Per run there is a record, `<run>.json`, and once it has written something a spool, `<run>.log`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path

import msgspec

from coalition.errors import CoalitionError
from coalition.worker.shortage import Shortage, is_shortage

log = logging.getLogger(__name__)


class OutboxTaken(CoalitionError):
    """Another worker.py of this name runs here."""

    code = "outbox_taken"


class Record(msgspec.Struct, omit_defaults=True):
    """What is kept of a run; `code` is None until it has ended.

    `pid` and `started` (as psutil gives it) name its first process; 0 before there is one.
    """

    run: int
    job: int = 0
    worker: str = ""
    server: str = ""
    pid: int = 0
    started: float = 0.0
    code: int | None = None
    again: bool = False


class Outbox:
    """The folder, owned by one process at a time."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, and make it if need be. Raises OutboxTaken, OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = _locked(folder / "lock")
        self._spools: dict[int, FileIO] = {}
        self._sizes: dict[int, int] = {}
        self._lost: dict[int, int] = {}

    def close(self) -> None:
        """Let another process have the folder."""
        for number in list(self._spools):
            self._close_spool(number)
        self._lock.close()

    def records(self) -> list[Record]:
        """Return what an earlier process left, oldest run first; what is of no use is deleted."""
        for path in [*self._folder.glob("*.new"), *self._ownerless_spools()]:
            path.unlink(missing_ok=True)
        numbers = sorted(int(path.stem) for path in self._numbered("*.json"))
        return [self._read_record(number) for number in numbers]

    def put(self, record: Record) -> None:
        """Keep a record over a crash of this process; after a power failure its run is over anyway.

        Raises OSError.
        """
        self._record(record.run).write_bytes(msgspec.json.encode(record))

    def put_ends(self, records: Iterable[Record]) -> None:
        """Keep the records of ended runs and their output over a power failure. Raises OSError.

        Can be called in a thread of its own: it touches nothing but files of ended runs.
        """
        for record in records:
            with (
                contextlib.suppress(FileNotFoundError),
                self._spool(record.run).open("ab") as spool,
            ):
                os.fsync(spool.fileno())
            new = self._record(record.run).with_suffix(".new")
            with new.open("wb") as file:
                file.write(msgspec.json.encode(record))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._record(record.run))
        _sync_folder(self._folder)

    def forget(self, number: int) -> None:
        """Delete what is kept of a run."""
        self._close_spool(number)
        self._sizes.pop(number, None)
        self._lost.pop(number, None)
        self._record(number).unlink(missing_ok=True)
        self._spool(number).unlink(missing_ok=True)

    # --- output ------------------------------------------------------------------------------

    def append(self, number: int, output: bytes) -> int:
        """Add to a run's spool; return its size. What a full disk does not take is left out."""
        try:
            if lost := self._lost.get(number, 0):
                self._write(number, f"\n* {lost} bytes of output are missing here\n".encode())
                del self._lost[number]
            self._write(number, output)
        except OSError as error:
            if number not in self._lost:
                log.error("output of run %d cannot be kept: %s", number, error)
            self._lost[number] = self._lost.get(number, 0) + len(output)
        return self.size(number)

    def say(self, number: int, text: str) -> int:
        """Add a line of our own to a run's spool, marked by a star; return the spool's size."""
        line = f"* {text}\n".encode("utf-8", "replace")
        return self.append(number, b"\n" + line if self._is_in_a_line(number) else line)

    def _is_in_a_line(self, number: int) -> bool:
        size = self.size(number)
        try:
            return size > 0 and self.read(number, size - 1, 1) != b"\n"
        except Shortage:
            return True  # one empty line too many does no harm

    def ended(self, number: int) -> None:
        """Note that a run writes no more."""
        self._close_spool(number)

    def size(self, number: int) -> int:
        """Return the size of a run's spool in bytes, 0 without one."""
        if number not in self._sizes:
            with contextlib.suppress(FileNotFoundError):
                self._sizes[number] = self._spool(number).stat().st_size
        return self._sizes.get(number, 0)

    def read(self, number: int, offset: int, length: int) -> bytes:
        """Return a piece of a run's spool, less than `length` when there is not so much.

        Raises Shortage when it is there and cannot be read at the moment.
        """
        try:
            with self._spool(number).open("rb", buffering=0) as file:
                file.seek(offset)
                return file.read(length) or b""
        except OSError as error:
            if is_shortage(error):
                raise Shortage(f"output of run {number} cannot be read: {error}") from error
            log.error("output of run %d cannot be read: %s", number, error)
            return b""

    def _write(self, number: int, output: bytes) -> None:
        if number not in self._spools:
            self._spools[number] = self._spool(number).open("ab", buffering=0)
            self._sizes.setdefault(number, self._spools[number].tell())
        view = memoryview(output)
        while view:
            # A disk that fills up takes a part first.
            written = self._spools[number].write(view) or 0
            self._sizes[number] += written
            view = view[written:]

    def _close_spool(self, number: int) -> None:
        if spool := self._spools.pop(number, None):
            try:
                spool.close()
            except OSError as error:
                log.error("output of run %d may be incomplete: %s", number, error)

    # --- files -------------------------------------------------------------------------------

    def _record(self, number: int) -> Path:
        return self._folder / f"{number}.json"

    def _spool(self, number: int) -> Path:
        return self._folder / f"{number}.log"

    def _numbered(self, pattern: str) -> Iterator[Path]:
        return (path for path in self._folder.glob(pattern) if path.stem.isdecimal())

    def _ownerless_spools(self) -> list[Path]:
        spools = self._numbered("*.log")
        return [path for path in spools if not path.with_suffix(".json").exists()]

    def _read_record(self, number: int) -> Record:
        try:
            return msgspec.json.decode(self._record(number).read_bytes(), type=Record)
        except (msgspec.DecodeError, OSError) as error:
            # Cut off by a crash: that there was such a run is all we know, so it is done again.
            log.warning("the record of run %d cannot be read: %s", number, error)
            return Record(number)


def _locked(path: Path) -> FileIO:
    file = path.open("ab", buffering=0)
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise OutboxTaken(f"another worker.py of this name runs here ({path.parent})") from error
    return file


def _sync_folder(folder: Path) -> None:
    if sys.platform != "win32":
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
