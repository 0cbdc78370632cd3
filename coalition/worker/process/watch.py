"""Who is told what becomes of commands, and the words for those that cannot be started."""

from __future__ import annotations

import errno
from typing import NamedTuple, Protocol

from coalition.worker.command.command import Command, CommandError
from coalition.worker.shortage import Shortage, is_shortage

NO_DIRECTORY = 1
UNKNOWN = 127
NOT_STARTED = 126
"""Exit codes of commands that never ran; the last two are what shells use."""


class Exit(NamedTuple):
    """How a run ended; `code` is negative for a signal.

    The command took `seconds`, and `clearing` seconds more went by until nothing was left of it.
    `lapsed` says that it was ended because its lease was over, and `by_order` that it had not ended
    by itself if it was to be ended. `remarks` are for its log.
    """

    code: int
    seconds: float
    clearing: float
    lapsed: bool
    by_order: bool
    remarks: list[str]


class Watcher(Protocol):
    """Is told what becomes of the runs that `Processes` has to start."""

    def on_began(self, run: int, pid: int, started: float) -> None:
        """Take note of the first process of a run that lasts; see `start_time` for `started`."""

    def on_output(self, run: int, output: bytes) -> None:
        """Take what a run has written to stdout and stderr."""

    def on_ended(self, run: int, exit: Exit) -> None:
        """Learn how a run ended, when all that it started is gone."""

    def on_failed(self, run: int, error: CommandError | Shortage) -> None:
        """Take the reason why a run cannot be started."""

    def on_dropped(self, run: int) -> None:
        """Learn that a run was not begun, for it was ended or its lease was over before."""

    def on_lost(self, run: int) -> None:
        """Learn that nobody knows how a run ended, if it began; nothing of it is left."""

    def on_killed(self, run: int, remarks: list[str]) -> None:
        """Learn that somebody, as a rule the run itself, killed what kept it; nothing is left.

        `remarks` are for its log.
        """

    def on_turn(self) -> None:
        """Learn that this was all for the moment."""


def explained(command: Command, place: str, number: int, reason: str) -> CommandError | Shortage:
    """Say why a command cannot be started.

    `place` is "directory" or "program", whichever the error `number` (0: none of the system's) was
    found at.
    """
    if is_shortage(OSError(number, reason)):
        return Shortage(f"this computer can start nothing at the moment: {reason}")
    if not number:
        return CommandError(f"the command cannot be started: {reason}", NOT_STARTED)
    if place == "directory":
        if number in (errno.ENOENT, errno.ENOTDIR):
            return CommandError(f"there is no directory {command.directory}", NO_DIRECTORY)
        words = f"cannot go to the directory {command.directory}: {reason}"
        return CommandError(words, NO_DIRECTORY)
    program = command.arguments if isinstance(command.arguments, str) else command.arguments[0]
    code = UNKNOWN if number == errno.ENOENT else NOT_STARTED
    return CommandError(f"cannot start {program}: {reason}", code)
