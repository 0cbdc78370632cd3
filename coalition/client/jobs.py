"""Jobs: those that the server has, and those to create."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, Self, TypedDict, TypeVar, Unpack, cast

import msgspec

from coalition import wire
from coalition.client.http import encoded
from coalition.errors import BadRequest, ServerUnreachable, Unavailable

if TYPE_CHECKING:
    from coalition.client.connection import Connection

EDITABLE = frozenset(wire.JobEdit.__struct_fields__)


if TYPE_CHECKING:
    Read = TypeVar("Read", covariant=True)
    Assigned = TypeVar("Assigned", contravariant=True)

    class Attribute(Generic[Read, Assigned]):
        """What a type checker knows of an attribute that is assigned in more ways than it reads."""

        def __get__(self, job: Job, kind: type[Job]) -> Read: ...
        def __set__(self, job: Job, value: Assigned) -> None: ...


class JobChanges(TypedDict, total=False):
    """What can be changed of a job; see ``Job`` for what each means."""

    title: str
    command: str
    dir: str
    environment: str | dict[str, str]
    parent: SomeJob | str
    priority: float
    dependencies: str | Iterable[SomeJob]
    timeout: float
    retry: int
    affinity: str
    url: str
    user: str
    state: wire.StateToSet
    paused: bool
    progress_pattern: str
    localprogress: str
    globalprogress: str
    exclusive: bool
    scratch: bool


class Job:
    """A job as the server described it; nothing of it changes by itself, see ``refresh``.

    Times are seconds since the epoch, durations and timeouts seconds, progress 0 to 1 or None.
    An attribute can be assigned inside of ``with connection:``, which sends all that was assigned
    at its end; outside of such a block that raises CoalitionError, and for what is not editable
    AttributeError. ``update`` needs no block. A parent is given as ``Connection.newJob`` takes it,
    dependencies and priority, too. ::

        job = farm.getJob(12)
        job.update(priority=2000, title="Urgent")
        print(job.wait().state)
    """

    id: int
    parent: Attribute[int, SomeJob | str]
    title: str
    command: str
    dir: str
    environment: str | dict[str, str]
    state: str
    paused: bool
    worker: str
    start_time: float
    duration: float
    ping_time: float
    run_done: int
    retry: int
    timeout: float
    priority: Attribute[int, float]
    affinity: str
    user: str
    url: str
    dependencies: Attribute[list[int], str | Iterable[SomeJob]]
    finished: int
    errors: int
    working: int
    total: int
    total_finished: int
    total_errors: int
    total_working: int
    progress: float | None
    local_progress: float | None
    progress_pattern: str
    globalprogress: str
    exclusive: bool
    scratch: bool
    is_group: bool
    _connection: Connection

    def __init__(self, fields: Mapping[str, Any], connection: Connection) -> None:
        """Wrap an answer of the server."""
        self.__dict__.update(fields, _connection=connection)

    if not TYPE_CHECKING:
        # Hidden, because a type checker would allow the use of any name.
        def __setattr__(self, name: str, value: Any) -> None:
            if name not in EDITABLE:
                raise AttributeError(f"a job's {name!r} cannot be changed")
            [plain] = as_sent({name: value}).values()
            self._connection.edit(self, name, plain)

        def __getattr__(self, name: str) -> Any:
            # A list does not say what each of its jobs waits for.
            if name != "dependencies" or "id" not in vars(self):
                raise AttributeError(f"a job has no {name!r}")
            found = [job.id for job in self._connection.getJobDependencies(self.id)]
            return vars(self).setdefault(name, found)

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.title!r} {self.state}>"

    @property
    def fields(self) -> dict[str, Any]:
        """What the server answered, with the edits made since."""
        return {name: value for name, value in vars(self).items() if name != "_connection"}

    def refresh(self) -> Self:
        """Ask the server how the job is now, and return it."""
        vars(self).update(self._connection.getJob(self.id).fields)
        return self

    def update(self, **changes: Unpack[JobChanges]) -> None:
        """Change the job at once; the attributes then have the new values.

        When the server refuses, the error of its answer is raised and the job is as before.
        """
        # Made plain only once: dependencies may be an iterator.
        plain = as_sent(changes)
        self._connection.editJobs({self.id: cast(JobChanges, plain)})
        vars(self).update(plain)
        # The server may write it otherwise, a parent's path as its id; but it has been changed.
        with suppress(ServerUnreachable, Unavailable):
            self.refresh()

    def start(self) -> Self:
        """Start the job if it is paused; if it has ended it runs again."""
        self._connection.startJobs([self])
        return self.refresh()

    def pause(self) -> Self:
        """Pause the job; what runs is ended, and runs again from the start once it is started."""
        self._connection.pauseJobs([self])
        return self.refresh()

    def reset(self) -> Self:
        """Let the job, and those below it, run again from the start, with an empty log."""
        self._connection.resetJobs([self])
        return self.refresh()

    def delete(self) -> None:
        """Delete the job, with everything below it and its logs."""
        self._connection.deleteJobs([self])

    def children(self) -> Iterator[Job]:
        """Give the jobs of this group, asked for page by page; see ``Connection.jobs``."""
        return self._connection.jobs(parent=self.id)

    def log(self, follow: bool = False) -> Iterator[str]:
        """Give the log piece by piece; see ``Connection.log``."""
        return self._connection.log(self, follow)

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until the job has ended, and return it as it is then; see ``Connection.wait``."""
        [ended] = self._connection.wait(self, timeout)
        vars(self).update(ended.fields)
        return self


class NewJob(wire.NewJob, kw_only=True, gc=True, forbid_unknown_fields=False):
    """A job to create, with the jobs below it; see ``Connection.addJobs``.

    ``title``, ``command`` and ``dir`` can be given in this order, all else by name: what
    ``Connection.newJob`` takes, and two more. ``children`` makes it a group. ``key`` is a name by
    which other jobs of the same call depend on it.
    """

    # To the server, which decodes each for itself, they are not jobs yet.
    children: Sequence[NewJob] | None = None  # type: ignore[assignment]


class JobId(int):
    """The id of a job that was created: a number, which knows the ids of the jobs below it."""

    children: list[JobId]

    def __new__(cls, id: int, children: Iterable[JobId] = ()) -> Self:
        """Make it of the id as the server gave it."""
        made = super().__new__(cls, id)
        made.children = list(children)
        return made


Tree = NewJob | dict[str, Any]
SomeJob = int | Job
SomeJobs = SomeJob | Iterable[SomeJob]


def id_of(job: SomeJob) -> int:
    """Return the id of a job that was given as such or by its id."""
    return job.id if isinstance(job, Job) else int(job)


def ids_of(jobs: SomeJobs) -> list[int]:
    """Return the ids of one job or many."""
    # A text is one id, not one per digit.
    return [id_of(job) for job in ([jobs] if isinstance(jobs, (int, Job, str)) else jobs)]


def parent_of(parent: SomeJob | str) -> int | str:
    """Return the id of a job; what else a parent is given as, the server reads or refuses."""
    return parent.id if isinstance(parent, Job) else parent


def dependencies_of(jobs: str | SomeJobs) -> str | list[int | str]:
    """Return jobs to wait for by their ids; what else they are given as, as ``parent_of``."""
    if isinstance(jobs, str):
        return jobs
    return [parent_of(job) for job in ([jobs] if isinstance(jobs, (int, Job)) else jobs)]


def whole(priority: float) -> int:
    """Return a priority without what stands behind its point, as 4.0 took it, or BadRequest."""
    if isinstance(priority, float) and not math.isfinite(priority):
        raise BadRequest(f"a priority cannot be {priority}", field="priority")
    # What is no number at all is for the server to refuse.
    return int(priority) if isinstance(priority, float) else priority


AS_SENT: Mapping[str, Callable[[Any], object]] = {
    "parent": parent_of,
    "dependencies": dependencies_of,
    "priority": whole,
}


def as_sent(changes: Mapping[str, object]) -> dict[str, object]:
    """Return changes of a job in plain values; raises BadRequest for an endless priority."""
    return {
        name: AS_SENT[name](value) if name in AS_SENT else value for name, value in changes.items()
    }


def checked_tree(jobs: Tree | list[Tree]) -> msgspec.Raw:
    """Return jobs to create as JSON; raises BadRequest with the place of what is no job."""
    body = encoded(jobs) or b""
    try:
        # Not all the rules, which are the server's, but what a slip of the pen gets wrong.
        msgspec.json.decode(body, type=NewJob | list[NewJob], strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error)) from None
    return msgspec.Raw(body)


def created(answer: Any) -> JobId:
    """Return what the server says of a job that it has created, and of those below it."""
    if isinstance(answer, int):
        return JobId(answer)
    return JobId(answer["id"], map(created, answer["children"]))
