"""The command that a keeper runs now."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

from .messages import TYPE_CHECKING

if TYPE_CHECKING and sys.platform != "win32":
    from .killer import Killer

assert sys.platform != "win32"

CHUNK = 32 * 1024
"""Bytes read at once: a node may have a hundred keepers, and all of them a flood."""

FIRST = 0.01
"""Seconds in which only the end of a command is waited for: most short ones need no more."""

PAUSE = 0.01
"""Seconds between two looks at the output of a command that writes often."""

SOON = 0.01
"""Seconds after the end of a command until its remains are gone that nobody needs to be told of."""

MOST_DRAINED = 1024 * 1024
"""Bytes read of a pipe when all is over: what it holds at most. Somebody else may go on writing."""

FIRST_LOOK = 0.002
"""Seconds between the first two looks at something that is to happen; later ones are rarer."""


MOST_MISTAKES = 500
"""Mistakes of the keeper's own until what is left of a run is left alone: it makes no more than
fifty in a second."""


class Run:
    """A command that was started a moment ago, and what is to become of it."""

    def __init__(
        self,
        number: int,
        began: float,
        pid: int,
        pipe: int,
        lease: float | None,
        killer: Killer | None,
    ) -> None:
        """Describe the run `number`; `pipe` is where the output of the process `pid` comes from.

        `killer` signals what the keeper may not signal, if there is something for that.
        """
        self.number = number
        self.pid = pid
        self.exit = -1
        """A descriptor that is readable when it has ended, -1 where nothing tells that."""
        self.lease = lease
        self.began = began
        self.code: int | None = None
        self.seconds = 0.0
        self.announced = False
        self.heard = False
        """Some of its output was told before its end."""
        self.lapsed = False
        self.by_order = False
        """It was to end before it had ended by itself."""
        self.held = False
        self.kill_at: float | None = None
        """When it is ended by force, once it is to end."""
        self.press_at: float | None = None
        """When its ending has to be seen to."""
        self.pause = FIRST_LOOK
        self.asked = False
        self.killing = False
        self.left = False
        """What is left of it cannot be ended."""
        self.fruitless = 0
        self.blind_since: float | None = None
        """Since when the keeper cannot see what is left of it."""
        self.blind_for = ""
        self.forced: dict[int, float] = {}
        """What was left of it when last seen to, and since when by force."""
        self.foreign: set[int] = set()
        """Those that the keeper may not signal."""
        self.killer = killer
        self.remarks: list[str] = []
        self.mistakes = 0
        """Those of the keeper's own since its end."""
        self._mistaken = False
        self._pipe = pipe
        self._read_at = self.began + FIRST

    def exited(self, status: int) -> None:
        """Note the end of the first process; what it has left behind is to end too."""
        self.code = os.waitstatus_to_exitcode(status)
        self.seconds = time.monotonic() - self.began
        self.press_at = self.began

    def clearing(self) -> float:
        """Return for how many seconds it was dead when nothing was left of it, or nearly so."""
        since = time.monotonic() - self.began - self.seconds
        return since if self.code is not None and since > SOON else 0.0

    def end(self, grace: float) -> None:
        """Have it ended from now on, or sooner than it was to be."""
        self.by_order = self.by_order or self.code is None
        self.press_at = self.began
        at = time.monotonic() + grace
        self.kill_at = at if self.kill_at is None else min(self.kill_at, at)

    def note_mistake(self, error: Exception) -> None:
        """Have its log tell of a mistake of the keeper's; after too many give up what is left."""
        if not self._mistaken:
            self._mistaken = True
            words = f"{type(error).__name__} at {_place(error)}: {error}"
            self.remarks.append(f"the worker's keeper made a mistake, please report it: {words}")
        if self.code is not None:
            self.mistakes += 1
            self.left = self.left or self.mistakes >= MOST_MISTAKES
        elif self.kill_at is not None and time.monotonic() >= self.kill_at:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def pipe(self, now: float) -> tuple[int, float | None]:
        """Return the pipe if it may be read now, else -1 and when it may, if that is known."""
        if self._pipe < 0 or self.held:
            return -1, None
        return (-1, self._read_at) if now < self._read_at else (self._pipe, None)

    def read(self) -> bytes:
        """Read what is in the pipe; when that is little, the next look is some time away."""
        try:
            data = os.read(self._pipe, CHUNK)
        except BlockingIOError:
            # A command can open the pipe through /proc, and read what it has written itself.
            self._read_at = time.monotonic() + PAUSE
            return b""
        if len(data) < CHUNK:
            self._read_at = time.monotonic() + PAUSE
        if not data:
            os.close(self._pipe)
            self._pipe = -1
        return data

    def close(self) -> bytes:
        """Free what it holds; return the last of its output."""
        output = b""
        if self._pipe >= 0:
            output = self._drain()
            os.close(self._pipe)
        if self.exit >= 0:
            os.close(self.exit)
        return output

    def _drain(self) -> bytes:
        pieces: list[bytes] = []
        try:
            while len(pieces) < MOST_DRAINED // CHUNK:
                pieces.append(os.read(self._pipe, CHUNK))
                if len(pieces[-1]) < CHUNK:
                    break
        except BlockingIOError:
            pass
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _place(error: BaseException) -> str:
    """Return the line that an exception comes from."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (
        f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else "?"
    )
