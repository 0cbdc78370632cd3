"""What happens to the runs of a node, one entry after the other, in a file that only grows.

When much of a file is of no use any more, a thread begins the next one with what is live; that
counts from its entry `Ready` on, and the file before it is deleted once it is durable. A new file
has a new name instead of being renamed over the old one, because Windows renames no open file.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable, Iterator
from io import FileIO
from itertools import islice
from pathlib import Path

from coalition.worker.outbox.disk import remove, sync_file, sync_folder
from coalition.worker.outbox.entries import HEADER, Entry, Fresh, Ready, frame, read

LONG = 4 * 1024 * 1024
"""Bytes from which on a file is followed by a new one when less than half of it is live: few enough
to be read in an instant, many enough to make that rare."""

BATCH = 16
"""Entries of a frame of what is live: a thread writes them, and the reactor has to wait for as long
as encoding one takes."""

_FILE = re.compile(r"journal\.(\d+)")

log = logging.getLogger(__name__)


class _File:
    """A file of the journal that is open; `size` is that of its sound frames."""

    def __init__(self, path: Path) -> None:
        """Make it. Raises OSError."""
        self.path = path
        self.size = 0
        self._file = FileIO(path, "x")

    def write(self, data: bytes | bytearray) -> None:
        """Write at the end, all or nothing. Raises OSError, _Torn where a part may be left."""
        done = 0
        try:
            while done < len(data):
                done += self._file.write(data[done:] if done else data) or 0
        except OSError as error:
            self._take_back(error)
            raise
        self.size += done

    def _take_back(self, error: OSError) -> None:
        """Cut off half a frame: whatever stood behind it would never be read."""
        try:
            self._file.truncate(self.size)
            self._file.seek(self.size)
        except OSError:
            raise _Torn(error.errno, error.strerror) from error

    def sync(self) -> None:
        sync_file(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def give_up(self) -> None:
        self.close()
        remove(self.path)


class _Torn(OSError):
    """What is written behind this place is never read again."""


class Journal:
    """The file that is written, the one before it and the one after it.

    Everything is called in one thread but `sync`, which may be called in any.
    """

    def __init__(self, folder: Path, long: int = LONG) -> None:
        """Read what there is into `found`; write nothing before `start`.

        A file of `long` bytes is followed by a new one when less than half of it is live. Raises
        OutboxUnreadable, OSError.
        """
        self._folder = folder
        self._long = long
        self._files: list[_File] = []  # the last one is written
        self._gathered: list[Entry] = []
        self._unwritten = bytearray()
        self._due_at = long
        self._trouble: OSError | None = None  # why the last write failed
        self._doubt: OSError | None = None  # why the file cannot be relied on
        self._live: list[Entry] | None = None  # what a thread is to begin the next file with
        self._since = bytearray()  # what has happened since that was live
        self._next: _File | None = None
        self._swapping = threading.Lock()
        self._syncing = threading.Lock()
        found = {int(match[1]): path for path in folder.iterdir() if (match := _match(path))}
        self._number = max(found, default=0)
        self._stale = list(found.values())
        self.found = _newest(found[number] for number in sorted(found, reverse=True))

    def start(self, live: Iterable[Entry]) -> None:
        """Begin the first file of this process, and be rid of older ones. Raises OSError."""
        file = self._begun(live)
        file.write(frame([Ready()]))
        file.sync()
        sync_folder(self._folder)
        self._files.append(file)
        for path in self._stale:
            remove(path)

    def add(self, entry: Entry) -> None:
        """Gather an entry for the next flush."""
        self._gathered.append(entry)

    def flush(self) -> None:
        """Hand what gathered to the system; what it does not take stays for the next time."""
        if self._gathered:
            fresh = frame(self._gathered)
            self._gathered.clear()
            self._unwritten += fresh
            if self._live is not None:
                self._since += fresh
        if self._next is not None:
            self._go_on_in(self._next)
        if self._unwritten:
            self._write()

    def _write(self) -> None:
        try:
            self._files[-1].write(self._unwritten)
            self._unwritten.clear()
            self._note(None)
        except OSError as error:
            if isinstance(error, _Torn):
                self._distrust(error)
            self._note(error)

    def _note(self, trouble: OSError | None) -> None:
        if trouble is not None and self._trouble is None:
            log.error("the outbox cannot be written: %s", trouble)
        if trouble is None and self._trouble is not None:
            log.info("the outbox can be written again")
        self._trouble = trouble

    def _note_delay(self, error: OSError) -> None:
        if self._trouble is None:
            log.warning("the outbox grows, it cannot be written anew: %s", error)

    def _distrust(self, error: OSError) -> None:
        self._doubt, self._due_at = error, 0

    # --- the next file -----------------------------------------------------------------------

    def is_due(self, live: int) -> bool:
        """Say whether the next file is worth it, where about `live` bytes would go into it."""
        size = self._files[-1].size + len(self._unwritten)
        return (
            self._live is None
            and size > self._due_at
            and (self._doubt is not None or size > 2 * live)
        )

    def rewrite(self, live: Iterable[Entry]) -> None:
        """Have the next file begun, by the next `sync`, with what is live after all that was added.

        What waits for a disk that takes nothing is begun anew at once: its memory is bounded.
        """
        self._live = list(live)
        self._since = bytearray()
        if len(self._unwritten) > self._long:
            self._unwritten = bytearray(frame([Fresh(), *self._live]))
        self._due_at = self._files[-1].size + len(self._unwritten) + self._long

    def _begun(self, live: Iterable[Entry]) -> _File:
        self._number += 1
        file = _File(self._folder / f"journal.{self._number}")
        try:
            file.write(HEADER)
            for piece in _frames(live):
                file.write(piece)
            # In a thread, so that it does not take long when ends wait for it.
            file.sync()
        except OSError:
            file.give_up()
            raise
        return file

    def _begin_next(self, live: list[Entry]) -> None:
        """Write the next file as far as it can be done in a thread."""
        try:
            self._next = self._begun(live)
        except OSError as error:
            self._note_delay(error)
            self._live = None

    def _go_on_in(self, file: _File) -> None:
        self._live, self._next = None, None
        try:
            file.write(self._since + frame([Ready()]))
        except OSError as error:
            self._note_delay(error)
            file.give_up()
            return
        self._due_at, self._doubt = self._long, None
        self._unwritten.clear()
        self._note(None)
        with self._swapping:
            self._files.append(file)

    # --- durable -----------------------------------------------------------------------------

    def sync(self) -> None:
        """Return when everything flushed before is durable. Raises OSError when it is not."""
        with self._syncing:
            try:
                self._sync()
            finally:
                if self._live is not None and self._next is None:
                    self._begin_next(self._live)

    def _sync(self) -> None:
        if trouble := self._doubt or self._trouble:
            raise OSError(trouble.errno, trouble.strerror)
        with self._swapping:
            *older, newest = self._files
        try:
            newest.sync()
        except OSError as error:
            # The system may take its failed pages for written: only a new file helps.
            self._distrust(error)
            raise
        if older:
            sync_folder(self._folder)
            self._retire(older)

    def _retire(self, older: list[_File]) -> None:
        # Only here are files closed, so that none is while it is being synced.
        with self._swapping:
            del self._files[: len(older)]
        for file in older:
            file.give_up()

    def close(self) -> None:
        """Write what gathered and close the files."""
        self.flush()
        with self._syncing:
            for file in [*self._files, *([self._next] if self._next else [])]:
                file.close()


def _match(path: Path) -> re.Match[str] | None:
    return _FILE.fullmatch(path.name)


def _frames(entries: Iterable[Entry]) -> Iterator[bytes]:
    rest = iter(entries)
    while some := list(islice(rest, BATCH)):
        yield frame(some)


def _newest(paths: Iterable[Path]) -> list[Entry]:
    """Return the entries of the first file that counts."""
    for path in paths:
        entries = read(path)
        if entries is not None:
            return entries
    return []
