"""What becomes of a process whose parent has ended."""

from __future__ import annotations

import ctypes
import signal

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
"""From linux/prctl.h."""


def adopt_orphans() -> bool:
    """Have orphaned descendants come back to this process instead of to init; say if they will."""
    return _set(PR_SET_CHILD_SUBREAPER, 1)


def wake_as_orphan() -> None:
    """Have this process go on when its parent ends, if it is stopped then.

    It is so until this process changes its user. To one that is not stopped it is nothing, nor is
    it when only a thread of the parent ends.
    """
    _set(PR_SET_PDEATHSIG, getattr(signal, "SIGCONT", 0))


def _set(option: int, value: int) -> bool:
    try:
        return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False  # not Linux
