"""A command as its keeper is told of it: in bytes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from coalition.worker.command.command import SIGNALLING, Command, Mark

ENCODING, ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


def plain(command: Command, directory: str) -> tuple[object, ...]:
    """Return a command for a keeper; its directory begins in `directory`.

    Raises UnicodeEncodeError.
    """
    user, killer = command.user, command.killer
    return (
        _words(command),
        encoded(command.variables),
        _bytes(os.path.join(directory, command.directory or "")),
        None if user is None else (user.uid, user.gid, tuple(user.groups)),
        None if killer is None else (_pieces(killer), encoded(killer.variables)),
    )


def _words(command: Command) -> list[bytes]:
    words = command.arguments if isinstance(command.arguments, list) else [command.arguments]
    return [_bytes(word) for word in words]


def _pieces(killer: Command) -> list[list[bytes]]:
    return [word.split(_bytes(SIGNALLING)) for word in _words(killer)]


def encoded(variables: Mapping[str, str]) -> dict[bytes, bytes]:
    """Return an environment for the system."""
    return {_bytes(name): _bytes(value) for name, value in variables.items()}


def _bytes(text: str) -> bytes:
    """Do what os.fsencode does to a text, in a third of its time."""
    return text.encode(ENCODING, ERRORS)


def mark_of(command: Command) -> Mark:
    """Return the mark that the processes of a command have."""
    names = ("COALITION_RUN", "COALITION_WORKER", "COALITION_SERVER")
    run, worker, server = (command.variables.get(name, "") for name in names)
    return Mark(int(run or 0), worker, server)
