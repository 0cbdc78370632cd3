"""The Python API: a connection to a server, and the jobs it gives.

    farm = coalition.Connection("farm")
    job = farm.newJob(title="Frame 1", command="render -f 1 shot.scene")
    [ended] = farm.wait([job])

The names in camel case are 4.0's. Every call may raise ServerUnreachable when nothing answers, and
CoalitionError, or the class of it that fits, with what the server said when it refused.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeVar

from coalition import wire
from coalition.core.states import FINAL
from coalition.errors import CoalitionError, ServerUnreachable, Unavailable
from coalition.http import Http, server_url

POLL = 0.5
"""Seconds between two looks at a job or a log that is followed."""

PATIENCE = 120
"""Looks without an answer after which following gives up: a minute, enough to restart a server."""

PIECE = 1024 * 1024
"""Bytes of a log that are asked for at once."""

Answer = TypeVar("Answer")
Arguments = ParamSpec("Arguments")

EDITABLE = frozenset(wire.JobEdit.__struct_fields__)


def log_path(id: int) -> str:
    """Return the address of a job's log on the server."""
    return f"/api/jobs/{int(id)}/log"


class Job:
    """A job as the server described it; inside `with connection:` its attributes can be assigned.

    Times are seconds since the epoch, durations and timeouts seconds, progress 0 to 1 or None.
    Assigning raises CoalitionError outside of such a block and AttributeError for what is not
    editable.
    """

    id: int
    parent: int
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
    priority: int
    affinity: str
    user: str
    url: str
    dependencies: list[int]
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
    _connection: Connection

    def __init__(self, fields: Mapping[str, Any], connection: Connection) -> None:
        """Wrap an answer of the server."""
        self.__dict__.update(fields, _connection=connection)

    if not TYPE_CHECKING:
        # Hidden, because a type checker would allow the assignment of any name.
        def __setattr__(self, name: str, value: Any) -> None:
            if name not in EDITABLE:
                raise AttributeError(f"a job's {name!r} cannot be changed")
            self._connection.edit(self, name, value)

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.title!r} {self.state}>"

    @property
    def fields(self) -> dict[str, Any]:
        """What the server answered, with the edits made since."""
        return {name: value for name, value in vars(self).items() if name != "_connection"}


class Connection:
    """A connection to the server at `host`, which may also be a URL; not for use by two threads.

    `with connection:` gathers the assignments to attributes of jobs and sends them in one request
    at its end; when the block ends with an exception nothing is sent, and the jobs are as before.
    `timeout` is in seconds; `sleep` waits between two looks at what is followed.
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int = wire.PORT,
        *,
        timeout: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Remember where the server is; nothing is sent. Raises ConfigError for no address."""
        self.url = server_url(host, port)
        self._http = Http(self.url, timeout)
        self._sleep = sleep
        self._edits: list[tuple[Job, str, Any]] | None = None

    # --- jobs -----------------------------------------------------------------------------------

    def newJob(
        self,
        parent: int | str = 0,
        title: str = "",
        command: str = "",
        dir: str = "",
        environment: str | Mapping[str, str] = "",
        state: Literal["WAITING", "PAUSED"] = "WAITING",
        paused: bool = False,
        priority: int = 1000,
        timeout: float = 0,
        affinity: str = "",
        user: str = "",
        progress_pattern: str = "",
        dependencies: str | Iterable[int] = (),
        url: str = "",
        retry: int = 0,
        globalprogress: str = "",
        *,
        exclusive: bool = False,
        scratch: bool = False,
    ) -> int:
        """Create a job, or a group if it has no command, and return its id.

        `parent` is an id, a title or a path of titles (`departments|render`); `timeout` is in
        seconds, 0 for none; `dependencies` are ids.
        """
        job = wire.NewJob(
            title=title,
            command=command,
            dir=dir or ".",
            environment=environment if isinstance(environment, str) else dict(environment),
            parent=parent,
            priority=priority,
            dependencies=dependencies if isinstance(dependencies, str) else list(dependencies),
            timeout=timeout,
            retry=retry,
            affinity=affinity,
            url=url,
            user=user,
            state=state,
            paused=paused,
            progress_pattern=progress_pattern,
            globalprogress=globalprogress,
            exclusive=exclusive,
            scratch=scratch,
        )
        return int(self._http.ask("PUT", "/api/jobs", job))

    def getJob(self, id: int) -> Job:
        """Return a job; raises UnknownJob if there is none."""
        return Job(self._http.ask("GET", f"/api/jobs/{int(id)}"), self)

    def getJobChildren(self, id: int = 0) -> list[Job]:
        """Return the jobs of a group, by default those that are in none."""
        # 0 is no job of its own: what has no parent stands at /api/jobs.
        path = f"/api/jobs/{int(id)}/children" if id else "/api/jobs"
        return [Job(fields, self) for fields in self._http.ask("GET", path)]

    def getJobDependencies(self, id: int) -> list[Job]:
        """Return the jobs that a job waits for."""
        answer = self._http.ask("GET", f"/api/jobs/{int(id)}/dependencies")
        return [Job(fields, self) for fields in answer]

    def setJobDependencies(self, id: int, ids: Iterable[int]) -> None:
        """Let a job wait for exactly these, for none if `ids` is empty."""
        self._http.ask("POST", f"/api/jobs/{int(id)}/dependencies", list(ids))

    def deleteJobs(self, ids: Iterable[int]) -> None:
        """Delete jobs, with everything below them and their logs."""
        self._http.ask("DELETE", "/api/jobs", list(ids))

    def resetJobs(self, ids: Iterable[int]) -> None:
        """Let jobs, and those below them, run again from the start, with an empty log."""
        self._http.ask("POST", "/api/resetjobs", list(ids))

    def resetErrorJobs(self, ids: Iterable[int]) -> None:
        """Reset what is in ERROR among jobs and those below them."""
        self._http.ask("POST", "/api/reseterrorjobs", list(ids))

    def startJobs(self, ids: Iterable[int]) -> None:
        """Start paused jobs; a finished or failed one runs again."""
        self._http.ask("POST", "/api/startjobs", list(ids))

    def pauseJobs(self, ids: Iterable[int]) -> None:
        """Pause jobs; what runs is ended, and runs again from the start once it is started."""
        self._http.ask("POST", "/api/pausejobs", list(ids))

    # --- workers --------------------------------------------------------------------------------

    def getWorkers(self) -> list[dict[str, Any]]:
        """Return the workers as the server describes them."""
        answer: list[dict[str, Any]] = self._http.ask("GET", "/api/workers")
        return answer

    def editWorkers(self, edits: Mapping[str, Mapping[str, Any]]) -> None:
        """Change workers: name to the values of `affinity` and `active`."""
        self._http.ask("POST", "/api/workers", edits)

    def startWorkers(self, names: Iterable[str]) -> None:
        """Let workers take jobs again."""
        self._http.ask("POST", "/api/startworkers", list(names))

    def stopWorkers(self, names: Iterable[str]) -> None:
        """Let workers take no more jobs, and end what they run."""
        self._http.ask("POST", "/api/stopworkers", list(names))

    def pauseWorkers(self, names: Iterable[str]) -> None:
        """Let workers take no more jobs; what they run goes on."""
        self._http.ask("POST", "/api/pauseworkers", list(names))

    def drainWorkers(self, names: Iterable[str]) -> None:
        """Let workers take no more jobs, and leave when what they run is done."""
        self._http.ask("POST", "/api/drainworkers", list(names))

    def deleteWorkers(self, names: Iterable[str]) -> None:
        """Forget workers."""
        self._http.ask("DELETE", "/api/workers", list(names))

    def getAffinities(self) -> dict[str, str]:
        """Return the named affinities by number."""
        answer: dict[str, str] = self._http.ask("GET", "/api/affinities")
        return answer

    def setAffinities(self, names: Mapping[str, str]) -> None:
        """Name affinities by number."""
        self._http.ask("POST", "/api/affinities", names)

    # --- following ------------------------------------------------------------------------------

    def watch(self, ids: Iterable[int]) -> Iterator[list[Job]]:
        """Give the jobs, in the order of `ids`, again and again until all have ended.

        A group in which a job has failed for good has ended: it is in ERROR. A server that is away
        for a minute at most is waited for.
        """
        wanted = list(ids)
        jobs = [self.getJob(id) for id in wanted]
        yield jobs
        while any(job.state not in FINAL for job in jobs):
            self._sleep(POLL)
            jobs = [
                job if job.state in FINAL else self._patiently(self.getJob, job.id) for job in jobs
            ]
            yield jobs

    def wait(self, ids: Iterable[int]) -> list[Job]:
        """Return the jobs, in the order of `ids`, when all have ended; see `watch`."""
        jobs: list[Job] = []
        for seen in self.watch(ids):
            jobs = seen
        return jobs

    def log(self, id: int, follow: bool = False) -> Iterator[str]:
        """Give the log of a job piece by piece; with `follow` until the job has ended.

        What is not UTF-8 is replaced. A job that is reset meanwhile is read from the start again.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for piece in self._follow(id) if follow else self._read(id):
            yield decoder.decode(piece)
        yield decoder.decode(b"", final=True)

    def _read(self, id: int) -> Iterator[bytes]:
        position = 0
        while piece := self._http.read(log_path(id), position, PIECE):
            position += len(piece)
            yield piece

    def _follow(self, id: int) -> Iterator[bytes]:
        position, state = 0, self.getJob(id).state
        while True:
            piece = self._patiently(self._http.read, log_path(id), position, PIECE)
            position = 0 if piece is None else position + len(piece)
            if piece:
                yield piece
            elif piece is not None and state in FINAL:
                return
            else:
                self._sleep(POLL)
                # Asked before the log is read on: what the job wrote before its end is then there.
                state = self._patiently(self.getJob, id).state

    def _patiently(
        self, ask: Callable[Arguments, Answer], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Answer:
        for _ in range(PATIENCE):
            try:
                return ask(*args, **kwargs)
            except (ServerUnreachable, Unavailable):
                self._sleep(POLL)
        return ask(*args, **kwargs)

    # --- the edit block -------------------------------------------------------------------------

    def edit(self, job: Job, name: str, value: Any) -> None:
        """Note that an attribute of a job was assigned; raises CoalitionError out of a block."""
        if self._edits is None:
            raise CoalitionError("a job is changed inside of `with connection:`")
        self._edits.append((job, name, vars(job).get(name)))
        vars(job)[name] = value

    def __enter__(self) -> Self:
        if self._edits is not None:
            raise CoalitionError("this connection is in such a block already")
        self._edits = []
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        edits, self._edits = self._edits or [], None
        sent = False
        try:
            if kind is None and edits:
                self._send_edits(edits)
                sent = True
        finally:
            if not sent:
                for job, name, before in reversed(edits):
                    vars(job)[name] = before

    def _send_edits(self, edits: list[tuple[Job, str, Any]]) -> None:
        changes: dict[str, dict[str, Any]] = {}
        for job, name, _ in edits:
            changes.setdefault(str(job.id), {})[name] = vars(job)[name]
        self._http.ask("POST", "/api/jobs", changes)
