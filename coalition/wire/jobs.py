"""Jobs as the REST API knows them: what a request may say of one, and what is answered.

A text below a field is its description in the API's document; what an edit or an answer shares
with a new job is described there.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from coalition.wire.plain import FOLDER, PRIORITY, Count, Flag, Seconds, Text

Environment = Text | dict[str, str]
Dependencies = str | list[int | str]
Ids = list[int | str] | dict[str, msgspec.Raw]
"""Which jobs: a list of ids, as numbers or texts of digits, or an object whose keys are the ids."""

Children = Annotated[
    list[msgspec.Raw] | None,
    Meta(extra_json_schema={"items": {"$ref": "#/components/schemas/NewJob"}}),
]
"""Each is decoded for itself: so large trees take several turns of the reactor."""

StateToSet = Literal["WAITING", "PAUSED", "FINISHED", "ERROR", ""]
"""What an edit can make of a job; nothing leaves it as it is, as in 4.0."""
JobState = Literal["WAITING", "PENDING", "WORKING", "FINISHED", "ERROR", "PAUSED"]


class NewJob(Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A job to create. `children` and `key` are about other jobs of the same request."""

    title: Text | None = ""
    """A name for people."""
    command: Text | None = ""
    """What the shell runs; a job without a command is a group."""
    dir: Text | None = FOLDER
    """The folder it runs in."""
    environment: Environment | None = ""
    r"""`A=1\nB=2`, with a backslash and an n between, or an object of texts."""
    env: Environment | None = None
    """Another name of `environment`."""
    parent: int | str | None = 0
    """Its group: an id, a title, or a path of titles such as `films|shot 12`; 0 is the top."""
    priority: int | None = PRIORITY
    """Any whole number; higher goes first."""
    dependencies: Dependencies | None = None
    """Jobs that must be FINISHED before it starts: a list of ids, or a text such as `1,3,5`."""
    timeout: Seconds | None = 0
    """Limit of a run in seconds; 0 is none."""
    retry: Count | None = 0
    """Further tries after an error."""
    affinity: Text | None = ""
    """Words that its worker must offer, such as `LINUX,24GB`; `@NAME` is offered by the worker of
    that name and by the workers of the computer of that name."""
    url: Text | None = ""
    """An address to show with it."""
    user: Text | None = ""
    """Whose it is."""
    state: Literal["WAITING", "PAUSED"] | None = "WAITING"
    """PAUSED creates it paused."""
    paused: bool | None = False
    """Hold it back until it is started."""
    progress_pattern: Text | None = ""
    """How its log tells the progress of the current step, such as `PROGRESS:%percent`."""
    localprogress: Text | None = ""
    """Another name of `progress_pattern`."""
    globalprogress: Text | None = ""
    """How its log tells the progress of the whole job."""
    exclusive: bool = False
    """It never runs on two nodes at the same time, not even across a cut network: its node ends it
    when it has not heard from the server for the setting `timeout`, less a margin. Workers of 4.0
    are not given it."""
    scratch: bool = False
    """It runs in the empty scratch directory of the run, `COALITION_SCRATCH_DIR`, and not in
    `dir`. Workers of 4.0 use `dir`."""
    key: str | None = None
    """A name by which `dependencies` in the same request mean it."""
    children: Children = None
    """Jobs to create in it, each like this one."""


class JobEdit(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What to change of a job; what is not named stays."""

    title: Text | UnsetType = UNSET
    command: Text | UnsetType = UNSET
    dir: Text | UnsetType = UNSET
    environment: Environment | UnsetType = UNSET
    parent: int | str | UnsetType = UNSET
    priority: int | UnsetType = UNSET
    dependencies: Dependencies | UnsetType = UNSET
    timeout: Seconds | UnsetType = UNSET
    retry: Count | UnsetType = UNSET
    affinity: Text | UnsetType = UNSET
    url: Text | UnsetType = UNSET
    user: Text | UnsetType = UNSET
    state: StateToSet | UnsetType = UNSET
    """WAITING starts it and PAUSED pauses it. FINISHED and ERROR set it so by hand, if it is no
    group: what runs is ended, the pause is lifted, and no try is counted."""
    paused: bool | UnsetType = UNSET
    """True pauses it and false lifts the pause."""
    progress_pattern: Text | UnsetType = UNSET
    localprogress: Text | UnsetType = UNSET
    globalprogress: Text | UnsetType = UNSET
    exclusive: bool | UnsetType = UNSET
    scratch: bool | UnsetType = UNSET


class Job(Struct, gc=False):
    """A job as it is. Of a group, duration and counters are sums of what is below it."""

    id: int
    """Its number, which no other job ever had or will have."""
    parent: int
    """The id of its group; 0 is the top."""
    title: str
    command: str
    dir: str
    environment: str
    state: JobState
    """What it does: PENDING waits for its dependencies, PAUSED is one with `paused` set."""
    paused: Flag
    worker: str
    """The worker of its last run."""
    start_time: float
    """When its last run began, in seconds since 1970, 0: never; of a group, work in it."""
    duration: float
    """Seconds that its last run took, or has taken so far."""
    run_done: int
    """Runs that counted as a try."""
    retry: int
    timeout: int | float
    priority: int
    affinity: str
    user: str
    finished: int
    """Jobs directly in the group that are FINISHED and are no groups."""
    errors: int
    """The same of those in ERROR."""
    working: int
    """The same of those that run."""
    total: int
    """All jobs below the group that are no groups."""
    total_finished: int
    """Those of them that are FINISHED."""
    total_errors: int
    """Those of them in ERROR."""
    total_working: int
    """Those of them that run."""
    url: str
    progress: float | None
    """From 0 to 1; null while unknown."""
    local_progress: float | None
    """That of the current step."""
    progress_pattern: str
    globalprogress: str
    is_group: Flag
    """1 where other jobs are in it, or could be."""
    exclusive: Flag
    scratch: Flag
    ping_time: float = 0.0
    """When its worker was last heard of, while it runs; else 0."""


class JobWithDependencies(Job):
    """A job as it is, with the ids of those that it waits for."""

    dependencies: list[int] = []
    """Ids of the jobs that must be FINISHED before it starts."""


class Created(Struct):
    """The ids of a group and of what was created in it."""

    id: int
    """That of the group."""
    children: list[int | Created]
    """Those of its children, in their order."""


NewJobs = NewJob | list[NewJob]
"""Body of PUT /api/jobs."""

CreatedJobs = int | Created | list[int | Created]
"""The ids in the shape of the request."""


class Dependency(Struct):
    """That one job waits for another."""

    id: int
    """The one that waits."""
    dependency: int
    """The one that must be FINISHED."""


class Event(Struct, gc=False):
    """A run: one attempt to execute a job on a worker."""

    id: int
    """Its number, which only grows."""
    worker: str
    """Who ran it."""
    job_id: int
    """What it ran."""
    job_title: str
    """The title that the job had then."""
    state: Literal["WORKING", "FINISHED", "ERROR", "STOPPED", "LOST"]
    """STOPPED: somebody ended it; LOST: its worker fell silent."""
    start: float
    """When it began, in seconds since 1970."""
    duration: float
    """Seconds that it took; 0 while it goes on."""
    code: int | None
    """Its exit code, negative for a signal; null while it goes on."""


class UserOfJobs(Struct):
    """A user who has jobs."""

    user: str
    """The name, empty for jobs of nobody."""


class StateOfJobs(Struct):
    """A state in which jobs are."""

    state: JobState
    """As it is shown."""


class WorkerOfJobs(Struct):
    """A worker that ran jobs; empty for those that never ran."""

    worker: str
    """Its name."""


class PriorityOfJobs(Struct):
    """A priority that jobs have."""

    priority: int
    """A number."""


class AffinityOfJobs(Struct):
    """An affinity that jobs have, as it is written."""

    affinity: str
    """Its words."""


READ_ONLY_JOB_FIELDS = frozenset(Job.__struct_fields__) - frozenset(NewJob.__struct_fields__)
"""Fields of an answer that a request to create a job may repeat; they are ignored there."""
