"""Bytes on disk, in files of one size, so that those at the beginning can be deleted early."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from io import FileIO
from itertools import islice

from coalition.worker.outbox.disk import remove
from coalition.worker.shortage import Shortage, is_shortage

SEGMENT = 4 * 1024 * 1024
"""Bytes of a file of output: few files for a long log, little that is kept needlessly."""

RING = 1024 * 1024
"""Bytes of output that are kept from the end when the middle is left out."""

HEAD = 64 * 1024
"""Bytes of output up to which a run needs no file of its own."""

MEMORY = 16 * 1024 * 1024
"""Bytes of output that are kept in memory, of all runs together."""

HELD = 1024 * 1024
"""Bytes of a run's output that are held in memory for the server while the disk takes nothing: what
is on its way here when its command is held up, at most 0.6 MB, and some more."""

HELD_IN_ALL = 24 * 1024 * 1024
"""Bytes that are held in this way, of all runs together: of a hundred floods that are held up at
once."""

REST = 8 * 1024
"""Bytes of a run's output that wait in memory, from the end, when that is not enough."""

LAST_LINE = 256
"""Bytes of them that every run may have, even when the memory for output is used up."""

LOST = b"* bytes were lost here\n"
"""What stands, filled up with blanks, for output that is no longer there."""

AT_ONCE = 1
"""Files deleted in one turn of the reactor: a full one takes up to some milliseconds."""

log = logging.getLogger(__name__)


@dataclass
class Space:
    """How much of a node's output may be where, in bytes, and how much is.

    `limit` is for the disk, `quota` a run's part of it; both bound what the server has not
    acknowledged.
    """

    limit: int
    quota: int
    segment: int
    ring: int
    head: int
    memory: int
    held: int
    held_in_all: int
    rest: int
    in_memory: int = 0
    in_hold: int = 0
    on_disk: int = 0
    unacknowledged: int = 0
    doomed: dict[str, None] = field(default_factory=dict)
    """Files to delete, a few at a time."""

    @classmethod
    def of(cls, limit: int, workers: int) -> Space:
        """Share `limit` among workers; where that is little, everything else is smaller, too."""
        quota = limit // max(1, workers)
        part = max(1, quota // 4)
        return cls(
            limit,
            quota,
            segment=min(SEGMENT, part),
            ring=min(RING, part),
            head=min(HEAD, part),
            memory=min(MEMORY, limit),
            held=min(HELD, part),
            held_in_all=min(HELD_IN_ALL, limit),
            rest=min(REST, part),
        )

    def remove_some(self, number: int = AT_ONCE) -> None:
        """Delete some of the files that are not needed any more."""
        for path in list(islice(self.doomed, number)):
            del self.doomed[path]
            remove(path)


class Spool:
    """What was written from some offset on; it may have gaps, which read as LOST."""

    def __init__(self, space: Space, stem: str, segment: int, end: int = 0) -> None:
        """Have nothing yet; the next byte is that at `end`.

        Files are called `stem` and an offset, and have `segment` bytes at most.
        """
        self.end = end
        self._space = space
        self._stem = stem
        self._segment = segment
        self._segments: dict[int, int] = {}  # offset -> length, ascending
        self._file: FileIO | None = None

    def found(self, segments: dict[int, int]) -> None:
        """Take over the files of an earlier life, as offset -> length."""
        self._segments = dict(sorted(segments.items()))
        self._space.on_disk += sum(segments.values())
        self.end = max([self.end, *(offset + length for offset, length in segments.items())])

    @property
    def start(self) -> int:
        """The offset of the first byte that is there."""
        return next(iter(self._segments), self.end)

    def paths(self) -> list[str]:
        """Return the files."""
        return [self._path(offset) for offset in self._segments]

    def append(self, data: bytes) -> None:
        """Write at the end. Raises OSError; `end` tells how much was taken."""
        done = 0
        while done < len(data):
            offset = self._open()
            room = self._segment - self._segments[offset]
            assert self._file is not None
            try:
                written = self._file.write(data[done : done + room]) or 0
            except OSError:
                self._drop_empty(offset)
                raise
            self._segments[offset] += written
            self._space.on_disk += written
            self.end += written
            done += written

    def _drop_empty(self, offset: int) -> None:
        """Leave no file that has just been begun and got nothing."""
        if not self._segments[offset]:
            self.close()
            del self._segments[offset]
            remove(self._path(offset))

    def _open(self) -> int:
        """Return the offset of the file that takes the next byte."""
        offset = next(reversed(self._segments), -1)
        length = self._segments.get(offset, 0)
        if offset >= 0 and length < self._segment and offset + length == self.end:
            if self._file is None:
                self._file = FileIO(self._path(offset), "ab")
            return offset
        self.close()
        path = self._path(self.end)
        # It may be left of an earlier run of the same number.
        self._space.doomed.pop(path, None)
        self._file = FileIO(path, "wb")
        self._segments[self.end] = 0
        return self.end

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes, less at the end. Raises Shortage."""
        end = min(offset + length, self.end)
        pieces = []
        while offset < end:
            piece = self._read_some(offset, end)
            offset += len(piece)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_some(self, offset: int, end: int) -> bytes:
        for start, length in self._segments.items():
            if start > offset:
                end = min(end, start)
                break
            if offset < start + length:
                end = min(end, start + length)
                if piece := self._read_file(start, offset - start, end - offset):
                    return piece
                break
        return LOST[: end - offset].ljust(end - offset)

    def _read_file(self, start: int, at: int, length: int) -> bytes:
        try:
            with open(self._path(start), "rb", buffering=0) as file:
                file.seek(at)
                return file.read(length) or b""
        except OSError as error:
            if is_shortage(error):
                raise Shortage(f"output cannot be read: {error}") from error
            log.error("output is lost: %s", error)
            return b""

    def drop(self, upto: int) -> None:
        """Delete the files that lie below `upto`, never the one that is written."""
        for offset in list(self._segments)[:-1]:
            if offset + self._segments[offset] > upto:
                break
            self._space.on_disk -= self._segments.pop(offset)
            remove(self._path(offset))

    def remove(self) -> list[str]:
        """Forget the files and return them: they are to be deleted."""
        self.close()
        paths = self.paths()
        self._space.on_disk -= sum(self._segments.values())
        self._segments.clear()
        return paths

    def close(self) -> None:
        """Keep no file open; it is opened again when needed."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                log.error("output may be incomplete: %s", error)

    def _path(self, offset: int) -> str:
        return f"{self._stem}.{offset}"
