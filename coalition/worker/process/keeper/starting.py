"""How a keeper starts a command."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType

from .orphans import wake_as_orphan

assert sys.platform != "win32"

UMASK = 0o002
"""Files of a job can be written by the group, as in 4.0: other users' jobs work on with them."""

CHILD = (signal.SIGCHLD,)

UNCAUGHT = {
    *(signal.SIGKILL, signal.SIGSTOP),  # nobody can
    *(signal.SIGCHLD, signal.SIGCONT),
    # Who receives its own faults runs into them again, for ever.
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS),
}
"""Signals that do to a keeper what they do to any process; no other ends or stops it."""

Owner = tuple[int, int, tuple[int, ...]]
"""A user that a command runs as: uid, gid and all groups."""


def settle() -> None:
    """Make this process one whose commands start as if from a fresh login."""
    os.umask(UMASK)
    os.chdir("/")
    # A signal that is ignored stays ignored in the commands, one that is received does not. So
    # none needs to be reset at each start.
    for number in signal.valid_signals() - UNCAUGHT:
        signal.signal(number, _nothing)
    for number in UNCAUGHT - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    # Waited for (see Ending.reap_soon), and free in the commands.
    signal.pthread_sigmask(signal.SIG_SETMASK, CHILD)


def _nothing(number: int, frame: FrameType | None) -> None:
    pass


def enter(directory: bytes, owner: Owner | None) -> None:
    """Go to a directory, with the rights of the command's user."""
    if owner is None:
        os.chdir(directory)
        return
    uid, gid, groups = owner
    ours = os.geteuid(), os.getegid(), os.getgroups()
    os.setgroups(groups)
    try:
        os.setegid(gid)
        os.seteuid(uid)
        os.chdir(directory)
    finally:
        os.seteuid(ours[0])
        os.setegid(ours[1])
        os.setgroups(ours[2])
        wake_as_orphan()


def spawn(
    arguments: list[bytes], environment: dict[bytes, bytes], output: int, owner: Owner | None
) -> int:
    """Start a command in a session of its own, in the current directory; return its number.

    Raises OSError, ValueError and MemoryError when it cannot be started.
    """
    if owner is not None:
        return _spawn_as(arguments, environment, output, owner)
    *others, last = _paths(arguments[0], environment)
    for path in others:
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            return _spawn(path, arguments, environment, output)
    return _spawn(last, arguments, environment, output)


def _spawn(
    path: bytes, arguments: list[bytes], environment: dict[bytes, bytes], output: int
) -> int:
    actions = [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    return os.posix_spawn(
        path, arguments, environment, file_actions=actions, setsid=True, setsigmask=()
    )


def _paths(program: bytes, environment: dict[bytes, bytes]) -> list[bytes]:
    """Return where a program may be: the command's PATH counts, not ours."""
    if b"/" in program:
        return [program]
    folders = environment.get(b"PATH", os.defpath.encode()).split(b":")
    return [os.path.join(folder, program) for folder in folders]


def _spawn_as(
    arguments: list[bytes], environment: dict[bytes, bytes], output: int, owner: Owner
) -> int:
    # Not by posix_spawn: between vfork and exec the user's process would share our memory. Imported
    # here, for it costs more than all the rest.
    import subprocess

    uid, gid, groups = owner
    signal.pthread_sigmask(signal.SIG_UNBLOCK, CHILD)
    try:
        process = subprocess.Popen(
            arguments,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
            user=uid,
            group=gid,
            extra_groups=groups,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, CHILD)
    # One that has ended meanwhile told nobody. So whoever waits is to look once by itself.
    signal.raise_signal(signal.SIGCHLD)
    process.returncode = 0  # we wait for it ourselves
    return process.pid


def exit_descriptor(pid: int) -> int:
    """Return a descriptor that is readable when a child has ended; -1 where there is none."""
    if sys.platform == "linux":
        try:
            return os.pidfd_open(pid)
        except OSError:
            return -1  # before Linux 5.3, in a sandbox, or short of descriptors
    else:
        return -1
