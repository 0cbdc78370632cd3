"""The part of a job's log that belongs to one run: what has arrived, and what of it is kept.

A node of protocol 2 leaves out the middle of a log that is too large, and what it sends is one
stream with the end in it. For a worker of protocol 1 that is done here. Bytes that were counted
as arrived are never asked for again, be they kept or not.
"""

from __future__ import annotations

from collections.abc import Iterator

from coalition.core.progress import Meter

LAST = 64 * 1024
"""Bytes of the end of a log that are kept in memory while a worker of protocol 1 writes too much:
a hundred of them take less than 10 MB."""

SLACK = 2 * 1024 * 1024
"""Bytes beyond the limit that are taken of a node: it sends the last MB, and a word before it."""

CUT = b"* what follows was not kept: the log of this run is too large\n"

PIECE = 1024 * 1024
"""Bytes of a filler that are written at once."""


class Section:
    """What is known of the log of a run that goes on."""

    __slots__ = (
        "_cut",
        "_kept",
        "_last",
        "_left_out",
        "_limit",
        "_line_open",
        "_unknown",
        "has_head",
        "lost",
        "meter",
        "size",
    )

    def __init__(self, limit: int, meter: Meter) -> None:
        """Begin a section of at most `limit` bytes, and what is said above."""
        self.size = 0  # bytes of output that have arrived
        self.meter = meter
        self.has_head = False  # the line above it stands in the file
        self.lost = 0  # bytes that could not be written, since the last that were
        self._limit = limit
        self._kept = 0  # bytes of output that stand in the file
        self._line_open = False  # the last one there is not a newline
        self._left_out = 0  # bytes beyond the limit, of a worker of protocol 1
        self._last = b""  # the last of those
        self._unknown = False  # an earlier server knew how many there were before
        self._cut = False  # the file says that nothing more is kept

    def find_again(self, size: int, last: bytes, by_offset: bool) -> None:
        """Go on with a section whose head an earlier server wrote.

        In the file follow `size` bytes, the `last` of them as many as CUT has. `by_offset` tells
        protocol 2.
        """
        self.has_head = True
        self._cut = by_offset and last == CUT and size > SLACK
        self.size = self._kept = size - len(CUT) if self._cut else size
        self._line_open = bool(last) and not last.endswith(b"\n")
        self._unknown = not by_offset and size >= self._limit

    def fresh(self, offset: int | None, output: bytes) -> bytes:
        """Give what is new of output from `offset` on (None: what follows); nothing for a gap."""
        have = self.size
        if offset is None or offset == have:
            return output
        if offset < have:
            return output[have - offset :]
        if not self._cut:
            return b""
        self.size = offset  # an earlier server had counted what is between
        return output

    def text(self, offset: int | None, fresh: bytes) -> bytes:
        """Give what goes to the file of fresh output."""
        room = self._room(offset)
        if len(fresh) <= room:
            return fresh
        kept = fresh[:room]
        if offset is None or self._cut:
            return kept
        line_open = not kept.endswith(b"\n") if kept else self._line_open
        return kept + b"\n" * line_open + CUT

    def take(self, offset: int | None, fresh: bytes) -> None:
        """Count fresh output, whose text stands in the file now."""
        over = len(fresh) - self._room(offset)
        self.size += len(fresh)
        if over <= 0:
            self._kept += len(fresh)
            self._line_open = not fresh.endswith(b"\n")
            return
        kept = fresh[:-over]
        self._kept += len(kept)
        if kept:
            self._line_open = not kept.endswith(b"\n")
        if offset is None:
            self._left_out += over
            self._last = (self._last + fresh[-over:])[-LAST:]
        else:
            self._cut, self._line_open = True, False

    def _room(self, offset: int | None) -> int:
        if self._cut:
            return 0
        return max(0, self._limit + (0 if offset is None else SLACK) - self._kept)

    def fill(self, size: int) -> None:
        """Note that so many of the bytes that were lost have been made up for in the file."""
        self.lost -= size
        self._line_open = self._line_open and self.lost > 0

    def rest(self) -> bytes:
        """Give what is still to be written when the run has ended, up to the end of a line."""
        last, line_open = self._last, self._line_open and not self.lost
        missing = self._left_out - len(last)
        if missing or self._unknown:
            number = "an unknown number of" if self._unknown else str(missing)
            mark = f"* {number} bytes of output were left out here\n"
            last = b"\n" * line_open + mark.encode() + last
        if last:
            line_open = not last.endswith(b"\n")
        return last + b"\n" * line_open


def filler(size: int) -> Iterator[bytes]:
    """Give as many bytes as were lost, in pieces, that end with a line which says so."""
    line = b"\n* %d bytes of output are missing here: they could not be written\n" % size
    if size < len(line):
        line = b"*" * (size - 1) + b"\n"
    for start in range(len(line), size, PIECE):
        yield b" " * min(PIECE, size - start)
    yield line
