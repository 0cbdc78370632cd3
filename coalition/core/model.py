"""Job, Worker and Run: what the farm keeps in memory. Times are seconds since the epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coalition.core.affinity import CALL, NO_WORDS, Line, Words, requirement
from coalition.core.states import WAITING, RunState, State, WorkerState

if TYPE_CHECKING:
    from coalition.core.ready import Group, Queue


class Job:
    """A node of the tree: a command to run, or a group (`group` is set) of such nodes.

    Slots, short attribute chains and no per-job containers: a queued job costs less than 1 KB.
    """

    __slots__ = (
        "affinity",
        "claim",
        "command",
        "dependencies",
        "dependents",
        "dir",
        "duration",
        "environment",
        "exclusive",
        "globalprogress",
        "group",
        "id",
        "local_progress",
        "parent",
        "paused",
        "priority",
        "progress",
        "progress_pattern",
        "queue",
        "retry",
        "run",
        "run_done",
        "scratch",
        "start_time",
        "state",
        "timeout",
        "title",
        "unmet",
        "url",
        "user",
        "words",
        "worker",
    )

    def __init__(
        self,
        id: int,
        *,
        title: str = "",
        command: str = "",
        dir: str = ".",
        environment: str = "",
        affinity: str = "",
        words: Words = NO_WORDS,
        priority: int = 1000,
        timeout: float = 0,
        retry: int = 0,
        url: str = "",
        user: str = "",
        progress_pattern: str = "",
        globalprogress: str = "",
        paused: bool = False,
        exclusive: bool = False,
        scratch: bool = False,
    ) -> None:
        """Make a job that waits and stands nowhere in the tree yet."""
        self.id = id
        self.title = title
        self.command = command
        self.dir = dir
        self.environment = environment
        self.affinity = affinity
        self.words = requirement(words, exclusive=exclusive)
        self.priority = priority
        self.timeout = timeout
        self.retry = retry
        self.url = url
        self.user = user
        self.progress_pattern = progress_pattern
        self.globalprogress = globalprogress
        self.paused = paused
        self.exclusive = exclusive  # its node ends it before the server could give it to another
        self.scratch = scratch  # its working directory is the run's empty scratch directory
        self.state: State = WAITING
        self.worker = ""  # name of the worker of the last run
        self.start_time = 0.0  # of the last run; of a group: when work below it began
        self.duration = 0.0  # of the last run, once it has ended; of a group: the sum below
        self.run_done = 0  # runs that ended and count as a try
        self.progress: float | None = None  # 0..1
        self.local_progress: float | None = None
        self.parent: Job | None = None
        self.group: Group | None = None
        self.queue: Queue | None = None  # the queue of the parent's group in which it is ready
        self.run: Run | None = None
        # Keeps it from everybody else: handed ahead, or taken back and perhaps not yet dead.
        self.claim: Run | None = None
        self.unmet = 0  # dependencies that are not FINISHED
        self.dependencies: tuple[Job, ...] = ()
        self.dependents: dict[int, Job] | None = None


class Run:
    """One attempt to execute a job on a worker; an event of the REST API.

    One that is handed ahead is RESERVED, its worker stands for all of the node that are like it.
    """

    __slots__ = (
        "code",
        "duration",
        "id",
        "job",
        "job_id",
        "job_title",
        "recalled",
        "returning",
        "start",
        "state",
        "void",
        "worker",
    )

    def __init__(self, id: int, job: Job, worker: Worker, start: float) -> None:
        """Begin run number `id`; numbers only grow."""
        self.id = id
        self.job = job
        self.job_id = job.id
        self.job_title = job.title
        self.worker = worker
        self.start = start
        self.duration = 0.0
        self.state: RunState = "WORKING"
        self.code: int | None = None  # exit code, negative for a signal
        self.recalled = False  # handed ahead, and must not begin
        self.void = False  # the same, and its job is another one now: no result of it counts
        self.returning = False  # handed ahead, and wanted back if it has not begun


class Worker:
    """One slot of a node that runs one job at a time."""

    __slots__ = (
        "active",
        "affinity",
        "ahead",
        "cores",
        "cpu",
        "draining",
        "endings",
        "error",
        "finished",
        "free_memory",
        "host",
        "ip",
        "last_job",
        "lines",
        "memory",
        "name",
        "node",
        "os",
        "ping_time",
        "run",
        "seen_run",
        "session",
        "start_time",
        "state",
        "tags",
        "total_memory",
        "version",
    )

    def __init__(self, name: str, start_time: float) -> None:
        """Make a worker that was first heard of at `start_time`."""
        self.name = name
        self.start_time = start_time
        self.ip = ""
        self.node = ""  # name of the node that speaks for it; empty for protocol 1
        self.session = ""  # of the node: another one for each life of worker.py
        self.affinity = ""  # lines separated by newlines
        self.lines: tuple[Line, ...] = ()
        self.tags: Words = frozenset({CALL + name})  # words that it has by itself
        self.state: WorkerState = "WAITING"
        self.finished = 0
        self.error = 0
        self.last_job = -1
        self.run: Run | None = None
        self.endings: dict[int, Run] = {}  # taken from it; their processes may still be dying
        self.seen_run = 0  # number of the last run its node was heard to have
        self.ahead: dict[int, Run] = {}  # handed ahead to it and those of its node that are like it
        self.active = True
        self.draining = False  # it finishes what it runs, takes no more, and leaves
        self.host = ""  # name of the computer
        self.os = ""
        self.cores = 0
        self.memory = 0  # MB in all
        self.version = ""  # of worker.py
        # What follows is only the last word of the worker; it is not kept in the database.
        self.ping_time = start_time
        self.cpu = "[0]"
        self.free_memory = 0
        self.total_memory = 0
