"""Where a process goes whose parent has ended."""

from __future__ import annotations

import ctypes

PR_SET_CHILD_SUBREAPER = 36
"""From linux/prctl.h."""


def adopt_orphans() -> bool:
    """Have orphaned descendants come back to this process instead of to init; say if they will."""
    try:
        return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False  # not Linux
