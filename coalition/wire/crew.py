"""Workers as the REST API knows them."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Raw, Struct, UnsetType

from coalition.wire.plain import Flag, Name, Text


class WorkerEdit(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What to change of a worker; what is not named stays."""

    affinity: Text | UnsetType = UNSET
    """Lines of words, each line such as `LINUX,24GB`; the first are preferred."""
    active: bool | UnsetType = UNSET
    """Whether it takes jobs; false ends what it runs."""


class Worker(Struct):
    """A worker as it is: one slot of a node that runs one job at a time."""

    name: str
    """Its name, which no other has."""
    node: str
    """The worker.py that it belongs to; empty for a worker of 4.0."""
    start_time: float
    """When it was first heard of, in seconds since 1970."""
    ip: str
    """The address that it was last heard from."""
    state: Literal["WAITING", "WORKING", "TIMEOUT", "STARTING", "TERMINATED"]
    """TIMEOUT: it fell silent; TERMINATED: it has left."""
    finished: int
    """Runs of it that ended well."""
    error: int
    """Runs of it that did not."""
    last_job: int
    """The job that it ran last, -1: none."""
    current_event: int
    """Its run, -1: none."""
    active: Flag
    """Whether it takes jobs."""
    host: str
    """The name of its computer; empty for a worker of 4.0, as is what follows."""
    os: str
    """Its operating system."""
    cores: int
    """How many processors there are."""
    memory: int
    """MB in all."""
    version: str
    """Of worker.py."""
    draining: Flag
    """It finishes what it runs, takes nothing more and leaves."""
    affinity: str
    """Lines of words that it offers, the first are preferred."""
    ping_time: float = 0.0
    """When it was last heard of."""
    cpu: str = "[0]"
    """Percent per core, as a text such as `[12, 99]`."""
    free_memory: int = 0
    """MB."""
    total_memory: int = 0
    """MB."""


Names = list[Name] | dict[Name, Raw]
"""Which workers: a list of names, or an object whose keys are the names."""

AFFINITIES = range(1, 65)
"""Numbers in the list of known affinity words."""
