"""What commands inherit from their keeper, and a job could change for all that come after it."""

from __future__ import annotations

import os
import sys

Standing = tuple[object, ...]


def standing(pid: int) -> Standing:
    """Return the limits, niceness, scheduling and processors of a process.

    Nothing where that cannot be said.
    """
    if sys.platform != "linux":
        return ()
    else:
        import resource  # Windows has none

        names = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
        try:
            return (
                *(resource.prlimit(pid, name) for name in sorted(names)),
                os.getpriority(os.PRIO_PROCESS, pid),
                os.sched_getscheduler(pid),
                os.sched_getaffinity(pid),
            )
        except OSError:
            return ()
