"""The output of one run as the server is to have it: contiguous bytes from 0.

It begins in memory and in the journal; what is too much for them goes to a spool. Of what is too
much for the server or the disk, the end is kept in a ring, until it is added behind a line that
says how much was left out.
"""

from __future__ import annotations

import logging
import os

from coalition.worker.outbox.disk import remove
from coalition.worker.outbox.entries import Output
from coalition.worker.outbox.journal import Journal
from coalition.worker.outbox.spool import Space, Spool
from coalition.worker.shortage import Shortage

log = logging.getLogger(__name__)


class Stream:
    """The output of one run."""

    def __init__(self, run: int, maxlog: int, folder: str, space: Space, journal: Journal) -> None:
        """Have none yet; beyond `maxlog` bytes the middle is left out."""
        self.run = run
        self.maxlog = maxlog
        self.acknowledged = 0
        self.head = bytearray()
        self._stem = f"{folder}{os.sep}{run}"
        self._space = space
        self._journal = journal
        self._spool: Spool | None = None
        self._ring: Spool | None = None
        self._lost = 0
        self._counted = 0

    @property
    def size(self) -> int:
        """How many bytes the server may have."""
        return len(self.head) if self._spool is None else self._spool.end

    @property
    def backlog(self) -> int:
        """How many of them the server has not acknowledged."""
        return self.size - self.acknowledged

    # --- an earlier life ---------------------------------------------------------------------

    def found(self, size: int, spool: dict[int, int], ring: dict[int, int]) -> None:
        """Take over the head and files, as offset -> length; what they lack of `size` is lost."""
        self._space.in_memory += len(self.head)
        if spool or size > self.size:
            self._spool = self._new_spool(max(size, self.size))
            self._spool.found(spool)
        if ring:
            self._ring = self._new_ring()
            self._ring.found(ring)
        self._count()

    # --- output ------------------------------------------------------------------------------

    def append(self, output: bytes) -> None:
        """Add what a run has written; what a full disk does not take is counted."""
        if self._ring is not None and self._may_go_on():
            self._seal(self._ring)
        if self._lost and not self._tell_loss():
            self._lost += len(output)
        else:
            self._take(output)
        self._count()

    def say(self, text: str) -> None:
        """Add a line of our own, marked by a star."""
        self.append(self._line(text))

    def acknowledge(self, upto: int) -> None:
        """Note what the server has; that may be less than it had before it lost its power."""
        self.acknowledged = max(0, min(upto, self.size))
        self._count()
        if self._ring is not None and self._may_go_on():
            self._seal(self._ring)
            self._count()

    def finish(self) -> list[str]:
        """Note that the run writes no more; return the files that are to be made durable."""
        if self._lost:
            self._tell_loss()
        if self._ring is not None:
            self._seal(self._ring)
        self._count()
        self.close()
        return self.paths()

    def paths(self) -> list[str]:
        """Return the files of the stream."""
        return [] if self._spool is None else self._spool.paths()

    def close(self) -> None:
        """Keep no file open."""
        for spool in (self._spool, self._ring):
            if spool is not None:
                spool.close()

    def read(self, offset: int, length: int) -> bytes:
        """Return a piece, less than `length` when there is not so much. Raises Shortage."""
        piece = bytes(self.head[offset : offset + length])
        if self._spool is None or len(piece) == length:
            return piece
        return piece + self._spool.read(offset + len(piece), length - len(piece))

    def trim(self) -> None:
        """Delete what the server has, as far as it makes whole files."""
        if self._spool is not None:
            self._spool.drop(self.acknowledged)

    def remove(self) -> None:
        """Give back all space."""
        for spool in (self._spool, self._ring):
            if spool is not None:
                self._space.doomed.update(dict.fromkeys(spool.remove()))
        self._space.in_memory -= len(self.head)
        self._space.unacknowledged -= self._counted

    def _count(self) -> None:
        backlog = self.backlog
        self._space.unacknowledged += backlog - self._counted
        self._counted = backlog

    # --- our own lines -----------------------------------------------------------------------

    def _line(self, text: str) -> bytes:
        line = f"* {text}\n".encode("utf-8", "replace")
        return b"\n" + line if self._is_in_a_line() else line

    def _is_in_a_line(self) -> bool:
        last = self._ring or self._spool
        if last is None:
            return len(self.head) > 0 and not self.head.endswith(b"\n")
        try:
            return last.end > 0 and last.read(last.end - 1, 1) != b"\n"
        except Shortage:
            return True  # one empty line too many does no harm

    def _tell_loss(self) -> bool:
        """Say how much is missing, if there is room for that; return whether it is said."""
        lost, self._lost = self._lost, 0
        self._take(self._line(f"{lost} bytes of output are missing here"))
        if self._lost:
            self._lost = lost
        return not self._lost

    def _lose(self, number: int, error: OSError) -> None:
        if not self._lost:
            log.error("output of run %d cannot be kept: %s", self.run, error)
        self._lost += number

    # --- where it goes -----------------------------------------------------------------------

    def _take(self, output: bytes) -> None:
        """Add to the stream as far as its bounds go, and to the ring what is beyond."""
        room = 0 if self._ring is not None else self._room()
        if room >= len(output):
            self._store(output)
            return
        if room:
            self._store(output[:room])
        self._leave_out(output[room:])

    def _room(self) -> int:
        space, size = self._space, self.size
        quota = space.quota - (size - self.acknowledged)
        return max(0, min(self.maxlog - size, quota, space.limit - space.unacknowledged))

    def _store(self, output: bytes) -> None:
        before = self.size
        try:
            self._write(output)
        except OSError as error:
            self._lose(len(output) - (self.size - before), error)

    def _write(self, output: bytes) -> None:
        space, size = self._space, len(output)
        if self._spool is None:
            if len(self.head) + size <= space.head and space.in_memory + size <= space.memory:
                self.head += output
                space.in_memory += size
                self._journal.add(Output(self.run, output))
                return
            # A file must not be there before what comes first.
            self._journal.flush()
            self._spool = self._new_spool(self.size)
        self._spool.append(output)

    def _new_spool(self, start: int) -> Spool:
        return Spool(self._space, self._stem, self._space.segment, start)

    # --- what is left out --------------------------------------------------------------------

    def _new_ring(self) -> Spool:
        return Spool(self._space, f"{self._stem}.ring", self._space.ring)

    def _leave_out(self, output: bytes) -> None:
        ring = self._ring = self._ring or self._new_ring()
        before = ring.end
        try:
            ring.append(output)
        except OSError as error:
            self._lose(len(output) - (ring.end - before), error)
        ring.drop(ring.end - self._space.ring)

    def _may_go_on(self) -> bool:
        """Say whether there is room again, enough not to fill up at once."""
        space = self._space
        return (
            self.size < self.maxlog
            and self.backlog < space.quota // 2
            and space.unacknowledged < space.limit // 2
        )

    def _seal(self, ring: Spool) -> None:
        """Add the ring to the stream."""
        left_out = max(ring.start, ring.end - self._space.ring)
        try:
            tail = ring.read(left_out, ring.end - left_out)
        except Shortage as error:
            log.error("the end of the output of run %d is lost: %s", self.run, error)
            left_out, tail = ring.end, b""
        # Gone first: on a full disk its bytes need its place.
        for path in ring.remove():
            remove(path)
        self._ring = None
        if left_out:
            self._store(self._line(f"{left_out} bytes of output were left out here"))
        self._store(tail)
