"""What happened, as data: the rows that are now different, and what follows once they are safe."""

from __future__ import annotations

from coalition.core.model import Job, Run, Worker


class Changes:
    """Collects what the farm's events changed until the journal takes it.

    Jobs, runs and workers are kept as themselves, each once, however often they change: the
    journal reads their values when it closes a batch.
    """

    __slots__ = (
        "affinities",
        "begun_runs",
        "cleared_logs",
        "deleted_jobs",
        "deleted_workers",
        "dependencies",
        "dropped_runs",
        "edited_jobs",
        "endings",
        "finished_runs",
        "jobs",
        "new_jobs",
        "new_runs",
        "submissions",
        "timeout",
        "workers",
    )

    def __init__(self) -> None:
        """Start with nothing."""
        self.new_jobs: dict[int, Job] = {}  # rows to insert
        self.edited_jobs: dict[int, Job] = {}  # rows whose every column may have changed
        self.jobs: dict[int, Job] = {}  # rows whose state, counters or progress changed
        self.deleted_jobs: dict[int, None] = {}  # with their dependencies, both ways
        self.dependencies: dict[int, Job] = {}  # jobs whose own dependency rows are to be replaced
        self.new_runs: dict[int, Run] = {}
        self.begun_runs: dict[int, Run] = {}  # handed ahead; worker, start and state are new
        self.dropped_runs: dict[int, None] = {}  # handed ahead and never begun: rows to delete
        self.finished_runs: dict[int, Run] = {}  # rows to update: state, duration, code
        # Runs that were taken back and may not be dead, and those handed ahead that are void or
        # whose worker was deleted: rows to insert, None: to delete.
        self.endings: dict[int, Run | None] = {}
        self.workers: dict[str, Worker] = {}  # rows to insert or update
        self.deleted_workers: dict[str, None] = {}
        self.affinities: dict[int, str] = {}  # names by number
        self.cleared_logs: dict[int, None] = {}  # jobs whose log is to be removed
        # Large submissions reach the database in several batches: id -> (first, last job id) when
        # one begins, None when it is complete. What is not complete at a start is taken back.
        self.submissions: dict[int, tuple[int, int] | None] = {}
        self.timeout: float | None = None  # no node counts with a longer one from now on

    def __bool__(self) -> bool:
        """Say whether anything changed."""
        return any(getattr(self, name) for name in self.__slots__)

    def take(self) -> Changes:
        """Give all that was collected so far, and start anew."""
        taken = Changes()
        for name in self.__slots__:
            mine, empty = getattr(self, name), getattr(taken, name)
            setattr(taken, name, mine)
            setattr(self, name, empty)
        return taken
