"""The output of one run as the server is to have it: contiguous bytes from 0.

It begins in memory and in the journal; what is too much for them goes to a spool. Of what is too
much for the server, the end is kept in a ring, until it is added behind a line that says how much
was left out.

What the disk does not take is held in memory, from where the server can have it. Of what is too
much for that, too, the end waits, until there is room for it behind such a line. If the run ends
before, all of this goes to the journal, which waits for the disk.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from coalition.worker.outbox.disk import remove
from coalition.worker.outbox.entries import Output, Rest
from coalition.worker.outbox.journal import Journal
from coalition.worker.outbox.spool import LAST_LINE, Space, Spool
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
        self.rest = b""
        """What the disk had not taken when the run ended: it comes last."""
        self._stem = f"{folder}{os.sep}{run}"
        self._space = space
        self._journal = journal
        self._spool: Spool | None = None
        self._ring: Spool | None = None
        self._held = bytearray()  # what the disk has not taken, behind what is stored
        self._lost = 0  # bytes that were dropped, before those that wait
        self._waiting = bytearray()  # the end of what there was no room for
        self._refused = False  # the node's log says so
        self._counted = 0

    @property
    def size(self) -> int:
        """How many bytes the server may have."""
        return self._stored + len(self._held) + len(self.rest)

    @property
    def _stored(self) -> int:
        return len(self.head) if self._spool is None else self._spool.end

    @property
    def backlog(self) -> int:
        """How many of them the server has not acknowledged."""
        return self.size - self.acknowledged

    @property
    def held(self) -> int:
        """How many of them are in memory alone, as the disk does not take them."""
        return len(self._held)

    def overflows(self) -> bool:
        """Say whether there is more than the disk takes and memory holds."""
        return bool(self._lost or self._waiting)

    # --- an earlier life ---------------------------------------------------------------------

    def found(self, size: int, spool: dict[int, int], ring: dict[int, int]) -> None:
        """Take over head, rest, and files as offset -> length; what they lack of `size` is lost."""
        self._space.in_memory += len(self.head) + len(self.rest)
        stored = max(size - len(self.rest), self._stored)
        if spool or stored > self._stored:
            self._spool = self._new_spool(stored)
            self._spool.found(spool)
        if ring:
            self._ring = self._new_ring()
            self._ring.found(ring)
        self._count()

    # --- output ------------------------------------------------------------------------------

    def append(self, output: bytes) -> None:
        """Add what a run has written; of what a full disk does not take, the end waits."""
        if self._ring is not None and self._may_go_on():
            self._seal(self._ring)
        self._try_again()
        self._take(output)
        self._count()

    def say(self, text: str) -> None:
        """Add a line of our own, marked by a star."""
        self.append(self._line(text))

    def acknowledge(self, upto: int) -> None:
        """Note what the server has; that may be less than it had before it lost its power."""
        self.acknowledged = max(0, min(upto, self.size))
        self._let_go()
        if self.overflows():
            self._try_again()
        self._count()
        if self._ring is not None and self._may_go_on():
            self._seal(self._ring)
            self._count()

    def finish(self) -> list[str]:
        """Note that the run writes no more; return the files that are to be made durable."""
        self._try_again()
        if self._ring is not None:
            self._seal(self._ring)
        self._keep_rest()
        self._count()
        self.close()
        return self.paths()

    def paths(self) -> list[str]:
        """Return the files of the stream."""
        return [] if self._spool is None else self._spool.paths()

    def close(self) -> None:
        """Write what the disk takes by now, and keep no file open."""
        self._try_again()
        for spool in (self._spool, self._ring):
            if spool is not None:
                spool.close()

    def read(self, offset: int, length: int) -> bytes:
        """Return a piece, less than `length` when there is not so much. Raises Shortage."""
        piece = bytes(self.head[offset : offset + length])
        if self._spool is not None and len(piece) < length:
            piece += self._spool.read(offset + len(piece), length - len(piece))
        behind = self._held or self.rest  # the first becomes a part of the other
        if behind and len(piece) < length:
            at = offset + len(piece) - self._stored
            piece += behind[at : at + length - len(piece)]
        return piece

    def trim(self) -> None:
        """Delete what the server has, as far as it makes whole files."""
        if self._spool is not None:
            self._spool.drop(self.acknowledged)

    def remove(self) -> None:
        """Give back all space."""
        for spool in (self._spool, self._ring):
            if spool is not None:
                self._space.doomed.update(dict.fromkeys(spool.remove()))
        self._space.in_memory -= len(self.head) + len(self.rest) + len(self._waiting)
        self._space.in_hold -= len(self._held)
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
        if self._waiting:
            return not self._waiting.endswith(b"\n")
        ring = self._ring
        try:
            if ring is not None and ring.end:
                last = ring.read(ring.end - 1, 1)
            else:
                last = self.read(max(0, self.size - 1), 1)
        except Shortage:
            return True  # one empty line too many does no harm
        return last not in (b"", b"\n")

    def _tell(self, number: int, what: str, add: Callable[[bytes], None]) -> None:
        """Say that bytes are not here; if that has to wait, count them with what waits."""
        if not self.overflows():
            add(self._line(f"{number} bytes of output {what} here"))
            if not self.overflows():
                return
            self._taken_out()  # some of the line
        lost, waiting = self._taken_out()
        self._lost = lost + len(waiting) + number

    # --- what the disk does not take ---------------------------------------------------------

    def _hold(self, output: bytes) -> int:
        """Hold as much as there is room for, unless something before it is lost; say how much."""
        if self.overflows():
            return 0
        space = self._space
        room = max(0, min(space.held - len(self._held), space.held_in_all - space.in_hold))
        held = output[:room]
        self._held += held
        space.in_hold += len(held)
        return len(held)

    def _let_go(self) -> None:
        """Drop what is held of what the server has: the disk need not take it any more."""
        over = min(self.acknowledged - self._stored, len(self._held))
        if over > 0:
            self._step(self._stored + over)
            self._drop_held(over)

    def _step(self, offset: int) -> None:
        """Go on at an offset with what is stored: what is before it, the server has."""
        if self._spool is None:
            self._spool = self._new_spool(offset)
        else:
            self._spool.end = offset

    def _drop_held(self, size: int) -> bytes:
        dropped = bytes(self._held[:size])
        del self._held[:size]
        self._space.in_hold -= size
        return dropped

    def _wait(self, output: bytes) -> None:
        """Keep the end of what the disk has not taken, and count the rest."""
        space, before = self._space, len(self._waiting)
        free = space.memory - space.in_memory + before
        bound = min(space.rest, max(LAST_LINE, free))
        self._waiting += output
        over = max(0, len(self._waiting) - bound)
        del self._waiting[:over]
        self._lost += over
        space.in_memory += len(self._waiting) - before

    def _taken_out(self) -> tuple[int, bytes]:
        """Return the number of bytes that were dropped and those that waited; none wait now."""
        lost, waiting = self._lost, bytes(self._waiting)
        self._lost = 0
        self._waiting.clear()
        self._space.in_memory -= len(waiting)
        return lost, waiting

    def _try_again(self) -> None:
        if self._held:
            self._store_held()
        # What follows a ring waits for its place in the stream: in a ring that goes round, the line
        # about what is missing would be left out.
        if self.overflows() and self._ring is None:
            self._put_back(*self._taken_out(), self._store)

    def _store_held(self) -> None:
        before = self._stored
        try:
            self._write(bytes(self._held))
        except OSError as error:
            self._note(error)
        self._drop_held(self._stored - before)

    def _put_back(self, lost: int, waiting: bytes, add: Callable[[bytes], None]) -> None:
        if lost:
            self._tell(lost, "are missing", add)
        add(waiting)

    def _keep_rest(self) -> None:
        """Have what is not stored written by the journal, together with the end of the run."""
        if self._held or self.overflows():
            rest = bytearray()
            self._put_back(*self._taken_out(), rest.extend)
            rest[:0] = self._drop_held(len(self._held))
            self.rest = bytes(rest)
            self._space.in_memory += len(self.rest)
            self._journal.add(Rest(self.run, self.rest))

    def _note(self, error: OSError) -> None:
        if not self._refused:
            log.error("output of run %d cannot be kept: %s", self.run, error)
        self._refused = True

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
        before = self._stored
        try:
            if not (self._held or self.overflows()):
                self._write(output)
        except OSError as error:
            self._note(error)
        rest = output[self._stored - before :]
        self._wait(rest[self._hold(rest) :])

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
        self._refused = False

    def _new_spool(self, start: int) -> Spool:
        return Spool(self._space, self._stem, self._space.segment, start)

    # --- what is left out --------------------------------------------------------------------

    def _new_ring(self) -> Spool:
        return Spool(self._space, f"{self._stem}.ring", self._space.ring)

    def _leave_out(self, output: bytes) -> None:
        ring = self._ring = self._ring or self._new_ring()
        before = ring.end
        try:
            if not self.overflows():
                ring.append(output)
        except OSError as error:
            self._note(error)
        self._wait(output[ring.end - before :])
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
        """Add the ring to the stream, and behind it what waits."""
        lost, waiting = self._taken_out()
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
            self._tell(left_out, "were left out", self._store)
        self._store(tail)
        self._put_back(lost, waiting, self._store)
