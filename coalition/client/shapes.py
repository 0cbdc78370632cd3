"""What the server says of workers and runs: dictionaries, as in 4.0, whose keys are known."""

from __future__ import annotations

from typing import TypedDict


class Worker(TypedDict):
    """A worker; memory is in MB, ``cpu`` percent per core as a text, times since the epoch.

    ``affinity`` has a line per set of words. ``last_job`` is the id of the job it has or had,
    ``current_event`` that of its run, -1 without one; ``active`` and ``draining`` are 0 or 1. What
    is unknown is empty or 0.
    """

    name: str
    node: str
    ip: str
    affinity: str
    state: str
    active: int
    draining: int
    start_time: float
    ping_time: float
    cpu: str
    free_memory: int
    total_memory: int
    last_job: int
    current_event: int
    finished: int
    error: int
    host: str
    os: str
    cores: int
    memory: int
    version: str


class WorkerChanges(TypedDict, total=False):
    """What can be changed of a worker."""

    affinity: str
    active: bool


class Event(TypedDict):
    """A run of a job; ``start`` is since the epoch, ``duration`` seconds.

    ``code`` is the exit code of its command, negative for a signal, None while there is none.
    """

    id: int
    worker: str
    job_id: int
    job_title: str
    state: str
    start: float
    duration: float
    code: int | None
