"""The Python API: a connection to a server, and the jobs it gives.

::

    farm = coalition.Connection("farm")
    job = farm.newJob(title="Frame 1", command="render -f 1 shot.scene")
    [ended] = farm.wait(job)

The names in camel case are 4.0's, or made like them.
"""

from __future__ import annotations

from coalition.client.connection import Connection
from coalition.client.jobs import Job, JobChanges, JobId, NewJob
from coalition.client.shapes import Event, Worker, WorkerChanges

__all__ = [
    "Connection",
    "Event",
    "Job",
    "JobChanges",
    "JobId",
    "NewJob",
    "Worker",
    "WorkerChanges",
]
