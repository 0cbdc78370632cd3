"""The commands that a node has started, in the way that this kind of system allows."""

from __future__ import annotations

import sys

from coalition.worker.process.keeper.messages import boottime
from coalition.worker.process.watch import Exit, Watcher

if sys.platform == "win32":
    from coalition.worker.process.windows import Processes
else:
    from coalition.worker.process.posix import Processes

__all__ = ["Exit", "Processes", "Watcher", "boottime"]
