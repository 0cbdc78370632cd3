"""The job tree: parents, counters by difference, dependencies and the states they cause."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from coalition.core.changes import Changes
from coalition.core.model import Job
from coalition.core.ready import Group, close, graft, leave, reopen, settle
from coalition.core.states import (
    ERROR,
    FINISHED,
    MOVES,
    PENDING,
    QUEUED,
    WAITING,
    WORKING,
    Move,
    State,
    after,
)
from coalition.errors import NotAGroup, UnknownJob


def group_state(node: Job) -> State:
    """Derive the state of a group from its counters."""
    group = node.group
    assert group is not None
    if group.total_errors:
        return ERROR
    if group.total and group.total_finished == group.total:
        return FINISHED
    if group.total_working:
        return WORKING
    return PENDING if node.unmet else WAITING


def leaves(node: Job) -> Iterator[Job]:
    """Give every job below `node` that is not a group, or `node` itself if it is none."""
    stack = [node]
    while stack:
        job = stack.pop()
        if job.group is None:
            yield job
        else:
            stack.extend(job.group.children.values())


def subtree(node: Job) -> Iterator[Job]:
    """Give `node` and everything below it, a group before what is in it."""
    stack = [node]
    while stack:
        job = stack.pop()
        yield job
        if job.group is not None:
            stack.extend(job.group.children.values())


class Tree:
    """All jobs by id, below one root that is nobody's job."""

    def __init__(self, changes: Changes) -> None:
        """Make an empty tree that notes its changes in `changes`."""
        self.changes = changes
        self.root = Job(0, title="Root")
        self.root.group = Group()
        self.jobs: dict[int, Job] = {}
        self.just_finished: set[int] = set()  # top-level jobs, until somebody takes note
        # Counts what could make a search for cycles out of date; who changes links raises it.
        self.links_version = 0
        # Counts what holds jobs back or changes their order, beside their own ends.
        self.version = 0

    def get(self, id: int) -> Job:
        """Find a job, or raise UnknownJob."""
        job = self.jobs.get(id)
        if job is None:
            raise UnknownJob(f"there is no job {id}", id=id)
        return job

    # --- structure -----------------------------------------------------------------------

    @staticmethod
    def check_can_hold(parent: Job) -> None:
        """Raise NotAGroup if `parent` has run or is running, and so cannot get children."""
        if parent.group is None and (parent.state not in QUEUED or parent.start_time):
            raise NotAGroup(
                f"job {parent.id} has run or is running; it cannot become a group", id=parent.id
            )

    def attach(self, parent: Job, job: Job) -> None:
        """Put a job, or a whole tree, under `parent`, which becomes a group if it is none."""
        if parent.group is None:
            self.make_group(parent)
        group = parent.group
        assert group is not None
        group.children[job.id] = job
        job.parent = parent
        self._count(job, 1)
        settle(job) if job.group is None else reopen(job)

    def detach(self, job: Job) -> None:
        """Take a job and what is below it out of its parent."""
        parent = job.parent
        assert parent is not None and parent.group is not None
        self.links_version += 1
        self.version += 1
        leave(job) if job.group is None else close(job)
        self._count(job, -1)
        del parent.group.children[job.id]
        job.parent = None

    def graft(self, source: Job, target: Job) -> None:
        """Move all children of `source`, a group that stands nowhere, under `target`, cheaply."""
        if target.group is None:
            self.make_group(target)
        assert source.group is not None
        source.parent = target
        self._count(source, 1)
        source.parent = None
        group = target.group
        assert group is not None
        group.working += source.group.working
        group.errors += source.group.errors
        group.finished += source.group.finished
        graft(source.group, target)

    def make_group(self, job: Job) -> None:
        """Turn a job that has not run into a group of nothing."""
        self.version += 1
        leave(job)
        parent = job.parent
        if parent is not None:
            self._count(job, -1)
        job.group = Group()
        job.run_done = 0
        job.progress = job.local_progress = None
        job.state = group_state(job)
        if parent is not None:
            self._count(job, 1)
        self.changes.edited_jobs[job.id] = job

    def make_job(self, group: Job) -> None:
        """Turn a group of nothing back into a job that runs its command."""
        assert group.group is not None and not group.group.children
        self._count(group, -1)
        group.group = None
        group.progress = None
        group.state = PENDING if group.unmet else WAITING
        self._count(group, 1)
        settle(group)
        self.changes.edited_jobs[group.id] = group

    def _count(self, job: Job, sign: int) -> None:
        """Add what `job` stands for to all groups above it, or take it away (sign -1)."""
        parent = job.parent
        assert parent is not None and parent.group is not None
        own = 1 if job.dependencies else 0
        inner = job.group
        if inner is None:
            state = job.state
            counts = (1, int(state == WORKING), int(state == ERROR), int(state == FINISHED))
            started, links = 1 if job.start_time else 0, own
            parent.group.working += sign * counts[1]
            parent.group.errors += sign * counts[2]
            parent.group.finished += sign * counts[3]
        else:
            counts = (inner.total, inner.total_working, inner.total_errors, inner.total_finished)
            started, links = inner.started, own + inner.links
        total, working, errors, finished = (sign * count for count in counts)
        node: Job | None = parent
        while node is not None:
            group = node.group
            assert group is not None
            group.total += total
            group.total_working += working
            group.total_errors += errors
            group.total_finished += finished
            group.links += sign * links
            node.duration += sign * job.duration
            self._note_start(node, sign * started, job.start_time)
            self._derive(node)
            node = node.parent

    def _note_start(self, node: Job, started: int, start_time: float) -> None:
        group = node.group
        assert group is not None
        group.started += started
        if not group.started:
            node.start_time = node.duration = 0.0
        elif started > 0 and (not node.start_time or start_time < node.start_time):
            node.start_time = start_time

    # --- states --------------------------------------------------------------------------

    def move(
        self, job: Job, move: Move, *, start: float | None = None, duration: float | None = None
    ) -> None:
        """Change the state of a job that is not a group, its times, and all that follows.

        Raises IllegalMove, and then has changed nothing. Costs O(depth).
        """
        before = job.state
        state = MOVES[move].get(before) or after(before, move)
        job.state = state
        settle(job)
        self.changes.jobs[job.id] = job
        started, longer = 0, 0.0
        if start is not None:
            started = (start > 0) - (job.start_time > 0)
            job.start_time = start
        if duration is not None:
            longer = duration - job.duration
            job.duration = duration
        working = (state == WORKING) - (before == WORKING)
        errors = (state == ERROR) - (before == ERROR)
        finished = (state == FINISHED) - (before == FINISHED)
        if working or errors or finished or started or longer:
            self._climb(job, working, errors, finished, started, longer)
        if finished:
            self._note_finished(job, finished)

    def _climb(
        self, job: Job, working: int, errors: int, finished: int, started: int, longer: float
    ) -> None:
        node = job.parent
        assert node is not None
        group = node.group
        assert group is not None
        group.working += working
        group.errors += errors
        group.finished += finished
        while True:
            group.total_working += working
            group.total_errors += errors
            group.total_finished += finished
            node.duration += longer
            if started:
                self._note_start(node, started, job.start_time)
            self._derive(node)
            node = node.parent
            if node is None:
                return
            group = node.group
            assert group is not None

    def _derive(self, node: Job) -> None:
        """Bring a group's state and progress in line with its counters, and wake its dependents."""
        if not node.id:
            return
        self.changes.jobs[node.id] = node
        group = node.group
        assert group is not None
        node.progress = group.total_finished / group.total if group.total else None
        state = group_state(node)
        before = node.state
        if state != before:
            node.state = state
            if state == FINISHED or before == FINISHED:
                self._note_finished(node, 1 if state == FINISHED else -1)

    def _note_finished(self, job: Job, finished: int) -> None:
        """Tell the dependents of a job that it is finished (1), or no longer (-1).

        A dependent only turns from PENDING to WAITING or back, which never changes whether
        anything is FINISHED: so this is where a ripple ends.
        """
        if finished > 0 and job.parent is self.root:
            self.just_finished.add(job.id)
        if job.dependents:
            for dependent in job.dependents.values():
                self._set_unmet(dependent, dependent.unmet - finished)

    def _set_unmet(self, job: Job, unmet: int) -> None:
        self.version += unmet > job.unmet
        if bool(unmet) == bool(job.unmet):
            job.unmet = unmet
        elif job.group is not None:
            close(job)
            job.unmet = unmet
            self._derive(job)
            reopen(job)
        else:
            job.unmet = unmet
            if job.state in QUEUED:
                self.move(job, "hold" if unmet else "free")

    def requeue(self, job: Job, move: Move, *, start: float | None = None) -> None:
        """Move a job to WAITING, or to PENDING if it has an unfinished dependency."""
        self.move(job, move, start=start, duration=0.0)
        if job.unmet:
            self.move(job, "hold")

    def set_paused(self, job: Job, paused: bool) -> None:
        """Set or lift a job's or a group's own pause."""
        if job.paused == paused:
            return
        self.version += 1
        close(job)
        job.paused = paused
        reopen(job) if job.group is not None else settle(job)
        self.changes.jobs[job.id] = job

    # --- dependencies --------------------------------------------------------------------

    def set_dependencies(self, job: Job, dependencies: Sequence[Job]) -> None:
        """Replace what a job depends on; the caller has looked for cycles."""
        for dependency in job.dependencies:
            self._unlink(dependency, job)
        before = bool(job.dependencies)
        job.dependencies = tuple(dict.fromkeys(dependencies))
        for dependency in job.dependencies:
            if dependency.dependents is None:
                dependency.dependents = {}
            dependency.dependents[job.id] = job
        self._count_links(job, bool(job.dependencies) - before)
        self._set_unmet(job, sum(d.state != FINISHED for d in job.dependencies))
        self.changes.dependencies[job.id] = job

    def release_dependents(self, job: Job) -> None:
        """Free those who depend on a job that is about to go."""
        for dependent in list((job.dependents or {}).values()):
            dependent.dependencies = tuple(d for d in dependent.dependencies if d is not job)
            if not dependent.dependencies:
                self._count_links(dependent, -1)
            self.changes.dependencies[dependent.id] = dependent
            if job.state != FINISHED:
                self._set_unmet(dependent, dependent.unmet - 1)
        job.dependents = None

    @staticmethod
    def _unlink(dependency: Job, job: Job) -> None:
        assert dependency.dependents is not None
        dependency.dependents.pop(job.id, None)
        if not dependency.dependents:
            dependency.dependents = None

    @staticmethod
    def _count_links(job: Job, links: int) -> None:
        node = job.parent if links else None
        while node is not None:
            assert node.group is not None
            node.group.links += links
            node = node.parent

    def forget(self, job: Job) -> None:
        """Take a job and everything below it out of memory; what depended on it is free."""
        gone = list(subtree(job))
        self.detach(job)
        for one in gone:
            for dependency in one.dependencies:
                self._unlink(dependency, one)
            one.dependencies = ()
        for one in gone:
            self.release_dependents(one)
            del self.jobs[one.id]

    def drop(self, nodes: Sequence[Job]) -> None:
        """Take a finished tree, its top first, out of memory; the database keeps it."""
        top = nodes[0]
        parent = top.parent
        self.detach(top)
        top.parent = parent  # its row may still be on the way to the database
        for node in nodes:
            for dependency in node.dependencies:
                self._unlink(dependency, node)
            del self.jobs[node.id]


def ancestors(job: Job) -> Iterable[Job]:
    """Give the groups above a job, the nearest first, without the root."""
    node = job.parent
    while node is not None and node.id:
        yield node
        node = node.parent
