"""The runcommand, which ends what it has made another user's and a keeper may not signal."""

from __future__ import annotations

import os
import signal
import sys

from .messages import TYPE_CHECKING

if TYPE_CHECKING and sys.platform != "win32":
    from .table import Found

if sys.platform != "win32":
    from .starting import spawn

assert sys.platform != "win32"

PATIENCE = 4.0
"""Seconds that it may take. Programs that change the user are done at once, unless they wait for a
directory service."""

MOST_LEFT = 2
"""Those of a run that hang and cannot be ended: one that asks and one that forces. Each further one
would only be one more of them."""

AGAIN = 0.5
"""Seconds between two that use force: the program that has started a job is root's, as a rule, and
ends only after what it has started."""

MOST = 4096
"""Processes for one command: the system takes no argument of more than 128 kB."""


class Killer:
    """Signals processes of one run by commands as their user, one after the other."""

    def __init__(self, arguments: list[list[bytes]], environment: dict[bytes, bytes]) -> None:
        """Have none that runs; the text of one goes between the pieces of `arguments`."""
        self._arguments = arguments
        self._environment = environment
        self.pid = 0
        """The process of the command that runs, 0: there is none."""
        self._left = 0
        self._until = 0.0
        self._next = 0.0
        self._killed = False

    def send(
        self, found: list[Found], signals: tuple[signal.Signals, ...], now: float, *, force: bool
    ) -> None:
        """Begin to signal processes, unless that was begun a moment ago.

        With `force` their groups too. One that cannot be started now is for the next look.
        """
        if not found or self._left >= MOST_LEFT or self.pid or now < self._next:
            return
        if force:
            self._next = now + AGAIN
        try:
            text = signalling(found[:MOST], signals, force=force).encode()
            null = os.open(os.devnull, os.O_WRONLY)
            try:
                arguments = [text.join(pieces) for pieces in self._arguments]
                self.pid = spawn(arguments, self._environment, null, None)
            finally:
                os.close(null)
        except (OSError, ValueError, MemoryError):
            return
        self._until, self._killed = now + PATIENCE, False

    def exited(self, pid: int) -> None:
        """Note that a child has ended."""
        if pid == self.pid:
            self.pid = 0

    def hangs(self, now: float) -> bool:
        """Kill a command that hangs; say whether that is of no use."""
        if not self.pid or now < self._until:
            return False
        again, self._killed, self._until = self._killed, True, now + PATIENCE
        try:
            os.kill(self.pid, signal.SIGKILL)
        except PermissionError:
            return True
        return again

    def leave(self) -> None:
        """Wait no longer for the command that hangs."""
        self.pid = 0
        self._left += 1


def signalling(found: list[Found], signals: tuple[signal.Signals, ...], *, force: bool) -> str:
    """Return the text that signals processes, one that any shell understands.

    It does nothing where it does not see this process: a runcommand may go into a container or to
    another computer, where the numbers are somebody else's.
    """
    # Whole groups first, before they fork again. Not `-KILL --`, which dash does not know.
    groups = {-group for _, group in found} - {0, -os.getpgrp()} if force else set()
    numbers = " ".join(map(str, [*groups, *(pid for pid, _ in found)]))
    kills = "; ".join(f"kill -s {number.name[3:]} -- {numbers}" for number in signals)
    here = f"read -r keeper </proc/{os.getpid()}/stat"
    return f"{here} && case $keeper in (*\\ {_began()}\\ *) {kills};; esac"


def _began() -> str:
    """Return when this process was started, as /proc says it: no other with its number has that."""
    with open("/proc/self/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[19].decode()
