"""A connection to a server: all that the Python API can ask of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike, fspath
from types import TracebackType
from typing import Any, Literal, Self, overload

from coalition import wire
from coalition.address import server_url, without_login
from coalition.client import following, lists
from coalition.client.editing import Edits
from coalition.client.http import Http, Login, Patience
from coalition.client.jobs import (
    Job,
    JobChanges,
    JobId,
    NewJob,
    SomeJob,
    SomeJobs,
    Tree,
    as_sent,
    checked_tree,
    created,
    dependencies_of,
    id_of,
    ids_of,
    parent_of,
    whole,
)
from coalition.client.lists import PAGE
from coalition.client.workers import WorkerCalls
from coalition.errors import CoalitionError


class Connection(WorkerCalls):
    """A connection to the server at ``host``, which may also be a URL, ``https://farm`` say.

    A port in the URL counts before ``port``; without both it is 19211, or 443 for ``https://``.

    ::

        import coalition

        farm = coalition.Connection("farm")
        film = farm.newJob(title="Film")
        for frame in range(1, 11):
            farm.newJob(film, f"Frame {frame}", f"render -f {frame} shot.scene", retry=2)
        [ended] = farm.wait(film)
        print(ended.state, ended.total_errors)

    The methods in camel case that have a twin in 4.0 take their arguments in its order. Jobs are
    given as such or by their ids, and where many are asked for, one will do.

    ``with connection:`` gathers the assignments to attributes of jobs and sends them in one request
    at its end; when the block ends with an exception nothing is sent and the jobs are as before::

        with farm:
            for job in farm.getJobChildren(film):
                job.priority = 2000

    A server that does not answer, or says that it cannot now (503), is asked again ``retries``
    times with growing pauses, about two seconds in all, or after as long as it says. A request that
    changes something is repeated only if the first one has surely done nothing; where that is not
    known, because the answer was lost, Unanswered is raised. ``timeout`` is how many seconds a
    server may be silent.

    ``user`` and ``password``, which may stand in the URL as well, or a ``token`` say who asks. They
    are sent to this server only: where it sends elsewhere, nobody follows. Of ``https://`` the
    certificate must be one that the system trusts, or be signed by an authority in the file
    ``verify``. Proxies that the environment names are not used.

    Threads can share a connection: each has its own way to the server and its own ``with`` block. A
    job belongs to one thread at a time.

    All calls raise ServerUnreachable when nothing answers, and otherwise CoalitionError or what
    stands below it in ``coalition.errors``, with what the server said. ``sleep`` and ``clock`` are
    there for tests.
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int | None = None,
        *,
        user: str = "",
        password: str = "",
        token: str = "",
        verify: str | PathLike[str] = "",
        timeout: float = 60.0,
        retries: int = 3,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Remember where the server is; nothing is sent. Raises ConfigError for no address."""
        self.url, url_user, url_password = without_login(server_url(host, port))
        login = Login(user or url_user, password or url_password, token)
        patience = Patience(retries)
        self._http = Http(self.url, login, fspath(verify), timeout, patience, sleep, clock)
        self._mine = threading.local()

    def __repr__(self) -> str:
        return f"<Connection {self.url}>"

    # --- jobs -----------------------------------------------------------------------------------

    def newJob(
        self,
        parent: SomeJob | str = 0,
        title: str = "",
        command: str = "",
        dir: str = "",
        environment: str | Mapping[str, str] = "",
        state: Literal["WAITING", "PAUSED"] = "WAITING",
        paused: bool = False,
        priority: float = 1000,
        timeout: float = 0,
        affinity: str = "",
        user: str = "",
        progress_pattern: str = "",
        dependencies: str | Iterable[SomeJob] = (),
        url: str = "",
        retry: int = 0,
        globalprogress: str = "",
        *,
        exclusive: bool = False,
        scratch: bool = False,
    ) -> int:
        r"""Create a job, or a group if it has no command, and return its id.

        ``parent`` is an id, a title or a path of titles (``departments|render``); ``environment``
        is a dictionary, or ``A=1\nB=2`` with a backslash and an n; ``timeout`` is in seconds, 0 for
        none; ``dependencies`` are ids; ``retry`` is how often a run that failed is repeated. Of
        ``priority`` only the whole number counts.
        Raises BadRequest, UnknownParent, UnknownDependency, NotAGroup, Cycle; and Unanswered if
        the answer was lost, when the job may have been created or not.
        """
        job = NewJob(
            title=title,
            command=command,
            dir=dir or ".",
            environment=environment if isinstance(environment, str) else dict(environment),
            parent=parent_of(parent),
            priority=whole(priority),
            dependencies=dependencies_of(dependencies),
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

    @overload
    def addJobs(self, jobs: Tree) -> JobId: ...

    @overload
    def addJobs(self, jobs: Iterable[Tree]) -> list[JobId]: ...

    def addJobs(self, jobs: Tree | Iterable[Tree]) -> JobId | list[JobId]:
        """Create many jobs by one request, all or none, and return their ids in the same shape.

        A job is a ``NewJob``, or a dictionary of the same names; ``children`` nest as deep as 200,
        and ``key`` is a name for the ``dependencies`` of others::

            film = farm.addJobs(NewJob("Film", children=[
                NewJob("Frames", key="frames", children=[
                    NewJob(f"Frame {n}", f"render -f {n}") for n in range(1, 11)]),
                NewJob("Join", "join", dependencies=["frames"])]))
            frames, join = film.children

        Raises what ``newJob`` does; the message of BadRequest says where, ``$[0].priority`` say.
        """
        if isinstance(jobs, (NewJob, dict)):
            return created(self._http.ask("PUT", "/api/jobs", checked_tree(jobs)))
        answer = self._http.ask("PUT", "/api/jobs", checked_tree(list(jobs)))
        return [created(one) for one in answer]

    def getJob(self, id: SomeJob) -> Job:
        """Return a job; raises UnknownJob if there is none."""
        return Job(self._http.ask("GET", f"/api/jobs/{id_of(id)}"), self)

    def getJobChildren(self, id: SomeJob = 0) -> list[Job]:
        """Return the jobs of a group, by default those that are in none."""
        # 0 is no job of its own: what has no parent stands at /api/jobs.
        path = f"/api/jobs/{id_of(id)}/children" if id else "/api/jobs"
        return [Job(fields, self) for fields in self._http.ask("GET", path)]

    def jobs(
        self,
        *,
        parent: SomeJobs | None = None,
        id: SomeJobs | None = None,
        state: str | Iterable[str] | None = None,
        user: str | Iterable[str] | None = None,
        worker: str | Iterable[str] | None = None,
        title: str | None = None,
        command: str | None = None,
        affinity: str | None = None,
        sort: str = "",
        page: int = PAGE,
        **numbers: float,
    ) -> Iterator[Job]:
        """Give the jobs of the whole tree that have all of this, asked for ``page`` by page.

        ::

            for job in farm.jobs(user="bob", state=["ERROR", "WORKING"], priority_min=500):
                print(job.id, job.title)

        ``parent=0`` is the top of the tree. Of ``parent``, ``id``, ``state``, ``user`` and
        ``worker`` one of several values must be met; ``title``, ``command`` and ``affinity`` must
        contain the text. Any other number, time or flag of a job can be given, ``is_group=0``, also
        with ``_min`` or ``_max``, bounds included.

        Without ``sort`` the lowest id comes first, and what comes or goes while the list is read
        hides nothing else. ``sort`` names fields, ``-priority,id``, of which ``-`` begins with the
        highest; pages are then counted, and a job that moves meanwhile from one not read yet to one
        that was is missed, while none comes twice. Raises TypeError for an unknown filter.
        """
        exact = {
            "parent": None if parent is None else ids_of(parent),
            "id": None if id is None else ids_of(id),
            "state": state,
            "user": user,
            "worker": worker,
        }
        contained = {"title": title, "command": command, "affinity": affinity}
        # With a bound that all keep: without any condition the list is the top of the tree.
        numbers.setdefault("id_min", 1)
        asked = lists.filters(exact, contained, numbers, wire.Job.__struct_fields__)
        found = lists.rows(self._http, "/api/jobs", asked, page, sort)
        return (Job(fields, self) for fields in found)

    def getJobDependencies(self, id: SomeJob) -> list[Job]:
        """Return the jobs that a job waits for."""
        answer = self._http.ask("GET", f"/api/jobs/{id_of(id)}/dependencies")
        return [Job(fields, self) for fields in answer]

    def setJobDependencies(self, id: SomeJob, ids: Iterable[SomeJob]) -> None:
        """Let a job wait for exactly these, for none if ``ids`` is empty."""
        self._http.ask("POST", f"/api/jobs/{id_of(id)}/dependencies", ids_of(ids))

    def editJobs(self, changes: Mapping[int, JobChanges]) -> None:
        """Change jobs, all or none: ids to the new values of their fields."""
        plain = {id: as_sent(fields) for id, fields in changes.items()}
        self._http.ask("POST", "/api/jobs", by_name(plain))

    def deleteJobs(self, jobs: SomeJobs) -> None:
        """Delete jobs, with everything below them and their logs."""
        self._http.ask("DELETE", "/api/jobs", ids_of(jobs))

    def resetJobs(self, jobs: SomeJobs) -> None:
        """Let jobs, and those below them, run again from the start, with an empty log."""
        self._http.ask("POST", "/api/resetjobs", ids_of(jobs))

    def resetErrorJobs(self, jobs: SomeJobs) -> None:
        """Reset what is in ERROR among jobs and those below them."""
        self._http.ask("POST", "/api/reseterrorjobs", ids_of(jobs))

    def startJobs(self, jobs: SomeJobs) -> None:
        """Start paused jobs; a finished or failed one runs again."""
        self._http.ask("POST", "/api/startjobs", ids_of(jobs))

    def pauseJobs(self, jobs: SomeJobs) -> None:
        """Pause jobs; what runs is ended, and runs again from the start once it is started."""
        self._http.ask("POST", "/api/pausejobs", ids_of(jobs))

    # --- following ------------------------------------------------------------------------------

    def watch(self, jobs: SomeJobs) -> Iterator[list[Job]]:
        """Give the jobs, in their order, again and again until all have ended.

        A group in which a job has failed for good has ended: it is in ERROR. A server that is away
        for a minute at most is waited for::

            for film, trailer in farm.watch([12, 13]):
                print(film.progress, trailer.progress)
        """
        return following.watch(self, self._http, ids_of(jobs))

    def wait(self, jobs: SomeJobs, timeout: float | None = None) -> list[Job]:
        """Return the jobs, in their order, when all have ended; see ``watch``.

        Raises TimedOut, which is a TimeoutError, when they have not after ``timeout`` seconds.
        """
        return following.wait(self, self._http, ids_of(jobs), timeout)

    def log(self, job: SomeJob, follow: bool = False) -> Iterator[str]:
        """Give the log of a job piece by piece; with ``follow`` until the job has ended.

        ::

            for piece in farm.log(12, follow=True):
                print(piece, end="")

        What is not UTF-8 is replaced. A job that is reset meanwhile is read from the start again.
        """
        return following.read(self._http, id_of(job), follow)

    # --- the edit block -------------------------------------------------------------------------

    def edit(self, job: Job, name: str, value: Any) -> None:
        """Note that an attribute of a job was assigned; raises CoalitionError out of a block."""
        edits: Edits | None = getattr(self._mine, "edits", None)
        if edits is None:
            raise CoalitionError(
                "a job's attributes are changed inside of `with connection:`, or by job.update()"
            )
        edits.note(job, name, value)

    def __enter__(self) -> Self:
        if getattr(self._mine, "edits", None) is not None:
            raise CoalitionError("this connection is in such a block already")
        self._mine.edits = Edits()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        edits: Edits = self._mine.edits
        self._mine.edits = None
        sent = False
        try:
            changes = edits.by_job()
            if kind is None and changes:
                self._http.ask("POST", "/api/jobs", by_name(changes))
            sent = kind is None
        finally:
            if not sent:
                edits.take_back()


def by_name(changes: Mapping[int, object]) -> dict[str, object]:
    """Return changes with the ids as the texts that the keys of JSON are."""
    return {str(int(id)): fields for id, fields in changes.items()}
