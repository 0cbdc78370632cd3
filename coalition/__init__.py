"""Coalition, a small job manager for a farm of computers.

What a script needs: `Connection`, the `Job` it gives, `NewJob` for trees of them, and the errors it
raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coalition.errors import CoalitionError, ServerUnreachable, TimedOut, Unanswered

if TYPE_CHECKING:
    from coalition.client import Connection, Event, Job, JobId, NewJob, Worker
else:
    # The server and every worker import this package, and have no use for an HTTP client. A type
    # checker must not see this function: it would take any misspelt name for one of ours.
    def __getattr__(name: str) -> object:
        if name in __all__:
            from coalition import client

            return getattr(client, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__version__ = "5.0.0.dev0"

__all__ = [
    "CoalitionError",
    "Connection",
    "Event",
    "Job",
    "JobId",
    "NewJob",
    "ServerUnreachable",
    "TimedOut",
    "Unanswered",
    "Worker",
    "__version__",
]
