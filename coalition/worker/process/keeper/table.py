"""The processes of this computer, and whose children they are, as /proc shows them."""

from __future__ import annotations

import os

from .messages import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

Found = tuple[int, int]
"""A living process and its group, 0 where that is not known."""

Children = dict[int, list[tuple[int, int, bool]]]
"""The processes by their parents: each with its group, and whether it lives."""


_THREADS = 13
"""Where the number of threads stands in `/proc/N/stat`, behind the first fields of `_stat`."""


def children() -> Children:
    """Return what /proc says of all processes, in one pass.

    Raises OSError when this computer lacks what it takes to look at one of them.
    """
    found: Children = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (words := _stat(name)):
            found.setdefault(int(words[1]), []).append((int(name), int(words[2]), _lives(words)))
    return found


def _lives(words: list[bytes]) -> bool:
    """Say whether a process lives: its first thread may be over while others go on."""
    return words[0] not in (b"Z", b"X") or int(words[-1].split()[_THREADS]) > 1


def below(top: int, children: Children, spared: Collection[int] = ()) -> list[Found]:
    """Return the living processes below `top`, parents before their children.

    Those in `spared` are left out, and what is below them.
    """
    found = []
    queue = [top]
    for parent in queue:
        for pid, group, lives in children.get(parent, ()):
            if pid in spared:
                continue
            queue.append(pid)
            if lives:
                found.append((pid, group))
    return found


def _stat(pid: str) -> list[bytes]:
    """Return state, parent, group, session and the rest of what is told of a process.

    Nothing when it is gone or hidden.
    """
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []
    try:
        return os.read(fd, 1024).rpartition(b")")[2].split(None, 4)
    except (ProcessLookupError, PermissionError):
        return []
    finally:
        os.close(fd)
