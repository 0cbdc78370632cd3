"""The farm: every order and event about jobs, one method each.

All methods are synchronous and take the time as `now`, in seconds since the epoch. One that raises
has changed nothing. What did change is noted in `changes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from coalition.core import ready
from coalition.core.affinity import parse_words, requirement
from coalition.core.changes import Changes
from coalition.core.crew import Crew
from coalition.core.cycles import Plan, refuse_cycles
from coalition.core.invariants import check_jobs, check_runs
from coalition.core.loading import Loaded, load
from coalition.core.model import Job
from coalition.core.states import DECLARE, ERROR, FINAL, FINISHED, RESERVED, STOPPED
from coalition.core.submission import Submission
from coalition.core.tree import ancestors, leaves, subtree
from coalition.errors import Cycle, IllegalMove, Refused, UnknownDependency, UnknownParent

QUIET = 60.0
"""Seconds a finished tree stays in memory: long enough for a client to look and reset."""

PLAIN_FIELDS = frozenset(
    {"title", "dir", "environment", "timeout", "retry", "url", "user"}
    | {"progress_pattern", "globalprogress", "scratch"}
)
"""Fields of a job whose change has no consequence in the tree."""

RUN_FIELDS = frozenset(
    {"command", "dir", "environment", "user", "timeout", "scratch"}
    | {"affinity", "exclusive", "parent", "dependencies"}
)
"""Fields that say what a run does, or where and when it may: one that began before these were
changed is not what is wanted."""

Edit = Mapping[str, Any]
"""New values by field: those of a Job, `parent` as an id, `dependencies` as ids, `paused`.

`start` stands for the order to start the job, see on_start; `state` is FINISHED or ERROR, see
on_declare.
"""


class Farm(Crew):
    """All jobs that have work in them, all workers, all runs that go on."""

    def __init__(self, changes: Changes, worker_timeout: float = 60.0) -> None:
        """Start empty; see Crew."""
        super().__init__(changes, worker_timeout)
        self.next_job = 1
        self._quiet_since: dict[int, float] = {}  # finished top-level jobs, the oldest first
        # Jobs that requests under way will need, and how many: their trees stay in memory.
        self.pins: Counter[int] = Counter()

    def new_id(self) -> int:
        """Give a job id that was never given."""
        id = self.next_job
        self.next_job += 1
        return id

    def load(self, loaded: Loaded) -> None:
        """Take in what the database holds: everything at the start, archived trees later."""
        load(self, loaded)

    def check_invariants(self) -> None:
        """Walk everything and raise AssertionError where anything is not as it must be."""
        check_jobs(self.tree)
        check_runs(self)

    # --- jobs come ------------------------------------------------------------------------

    def on_submit(self, submission: Submission, *, stored: bool = False) -> None:
        """Add the jobs of a submission, all or none.

        A large one has been built beside the farm (Submission.build); its rows may be `stored`
        already, invisible until now. Raises UnknownParent, NotAGroup, UnknownDependency, Cycle.
        """
        tree = self.tree
        submission.check_parents(tree)
        for _ in submission.check_links(tree):
            pass
        if submission.closes:
            tree.links_version += 1
        wanted: dict[Job, list[Job]] = {}
        if submission.stand_ins:  # then its links are made, and have just been found good
            tree.jobs.update((job.id, job) for job in submission.jobs)
            for id, stand_in in submission.stand_ins.items():
                tree.graft(stand_in, tree.get(id) if id else tree.root)
        else:
            wanted = {job: submission.resolved(job, tree) for job in submission.dependencies}
            for job, parent in zip(submission.jobs, submission.parents, strict=True):
                tree.jobs[job.id] = job
                if isinstance(parent, int):
                    parent = tree.get(parent) if parent else tree.root
                tree.attach(parent, job)
        if not stored:
            self.changes.new_jobs.update((job.id, job) for job in submission.jobs)
            self.changes.dependencies.update((job.id, job) for job in submission.dependencies)
        for job, dependencies in wanted.items():
            tree.set_dependencies(job, dependencies)

    # --- jobs are changed -----------------------------------------------------------------

    def on_edit(self, edits: Mapping[int, Edit], now: float) -> None:
        """Change fields of jobs, all or none; see Edit."""
        plan = self._plan(edits)
        for id, edit in edits.items():
            self._check_command(self.tree.get(id), edit)
        self._check_declared(edits, plan)
        self.recall_jobs(edits)
        self.void_jobs(id for id, edit in edits.items() if not RUN_FIELDS.isdisjoint(edit))
        # First all leave, then all arrive: two jobs that change places never stand in each other.
        for id in plan.parents:
            self.tree.detach(self.tree.get(id))
        for id, parent in plan.parents.items():
            self.tree.attach(parent, self.tree.get(id))
        for id, edit in edits.items():
            job = self.tree.get(id)
            self._edit_fields(job, edit)
            if id in plan.dependencies:
                self.tree.links_version += 1
                self.tree.set_dependencies(job, plan.dependencies[id])
            if "paused" in edit:
                self.on_pause([id], now) if edit["paused"] else self.tree.set_paused(job, False)
            if "start" in edit:
                self.on_start([id], now)
            if "state" in edit:
                self.on_declare([id], edit["state"], now)

    def on_set_dependencies(self, id: int, dependencies: Sequence[int]) -> None:
        """Replace what a job depends on."""
        self.on_edit({id: {"dependencies": dependencies}}, 0.0)

    def _plan(self, edits: Mapping[int, Edit]) -> Plan:
        """Read the new parents and dependencies, and refuse what cannot be."""
        dependencies: dict[int, list[Job]] = {}
        parents: dict[int, Job] = {}
        for id, edit in edits.items():
            job = self.tree.get(id)
            if "parent" in edit:
                parent = self._new_parent(edit["parent"])
                if parent is not job.parent:
                    self.tree.check_can_hold(parent)
                    parents[id] = parent
            if "dependencies" in edit:
                dependencies[id] = [self._dependency(wanted) for wanted in edit["dependencies"]]
        for id in parents:
            self._refuse_own_inside(self.tree.get(id), parents)
        changed = [self.tree.get(id) for id in {**parents, **dependencies}]
        plan = Plan(dependencies, parents, changed)
        refuse_cycles(changed, plan)
        return plan

    def _new_parent(self, id: int) -> Job:
        if id == 0:
            return self.tree.root
        parent = self.tree.jobs.get(id)
        if parent is None:
            raise UnknownParent(f"there is no job {id} to be the parent", field="parent")
        return parent

    def _dependency(self, id: int) -> Job:
        dependency = self.tree.jobs.get(id)
        if dependency is None:
            text = f"there is no job {id} to depend on"
            raise UnknownDependency(text, field="dependencies")
        return dependency

    @staticmethod
    def _refuse_own_inside(job: Job, parents: Mapping[int, Job]) -> None:
        seen = set()
        node: Job | None = job
        while node is not None and node.id:
            if node.id in seen:
                raise Cycle(f"job {job.id} cannot be moved into itself or below", jobs=[job.id])
            seen.add(node.id)
            node = parents.get(node.id, node.parent)

    def _check_command(self, job: Job, edit: Edit) -> None:
        has_run = job.group is None and (job.start_time or job.state in FINAL)
        if has_run and edit.get("command") == "":
            raise Refused(f"job {job.id} has run; it needs a command", id=job.id)

    def _check_declared(self, edits: Mapping[int, Edit], plan: Plan) -> None:
        """Refuse to declare the state of what is a group, or is to become one."""
        parents = {parent.id for parent in plan.parents.values()}
        for id, edit in edits.items():
            if "state" in edit and (id in parents or edit.get("command") == ""):
                raise _no_state_of_its_own(id)
            if "state" in edit:
                self._check_leaf(self.tree.get(id))

    @staticmethod
    def _check_leaf(job: Job) -> None:
        if job.group is not None:
            raise _no_state_of_its_own(job.id)

    def _edit_fields(self, job: Job, edit: Edit) -> None:
        for name in PLAIN_FIELDS & edit.keys():
            setattr(job, name, edit[name])
        if "timeout" in edit:
            self.watch_deadline(job)
        if not edit.keys().isdisjoint(("priority", "affinity", "exclusive")):
            self._reorder(job, edit)
        if "command" in edit:
            job.command = edit["command"]
            if job.group is None and not job.command:
                self.tree.make_group(job)
            elif job.group is not None and not job.group.children and job.command:
                self.tree.make_job(job)
        self.changes.edited_jobs[job.id] = job

    def _reorder(self, job: Job, edit: Edit) -> None:
        self.tree.version += 1
        ready.leave(job)
        ready.close(job)
        job.priority = edit.get("priority", job.priority)
        job.affinity = edit.get("affinity", job.affinity)
        job.exclusive = edit.get("exclusive", job.exclusive)
        job.words = requirement(parse_words(job.affinity), exclusive=job.exclusive)
        ready.reopen(job) if job.group is not None else ready.settle(job)

    # --- orders ---------------------------------------------------------------------------

    def _jobs(self, ids: Iterable[int]) -> list[Job]:
        return [self.tree.get(id) for id in dict.fromkeys(ids)]

    def on_reset(self, ids: Iterable[int], now: float) -> None:
        """Make jobs and all below them as if they had never run, and not paused."""
        for job in self._jobs(ids):
            for node in subtree(job):
                if node.group is not None:
                    self.tree.set_paused(node, False)
                else:
                    self._reset(node, now)

    def on_reset_errors(self, ids: Iterable[int], now: float) -> None:
        """Reset those of the jobs, and of the jobs below them, that are in ERROR."""
        for job in self._jobs(ids):
            for leaf in leaves(job):
                if leaf.state == ERROR:
                    self._reset(leaf, now)

    def _call_off(self, job: Job, now: float) -> None:
        """End what a job runs; neither that nor what was handed ahead of it counts."""
        if job.run is not None:
            self._take_back(job.run, STOPPED, now)
        if job.claim is not None and job.claim.state == RESERVED:
            self.on_void(job.claim)

    def _reset(self, job: Job, now: float) -> None:
        self._call_off(job, now)
        if job.start_time:
            self.changes.cleared_logs[job.id] = None
        job.run_done = 0
        job.worker = ""
        job.progress = job.local_progress = None
        job.paused = False
        self.tree.requeue(job, "reset", start=0.0)

    def on_start(self, ids: Iterable[int], now: float) -> None:
        """Lift a pause; a job that is FINISHED or in ERROR runs again."""
        for job in self._jobs(ids):
            self.tree.set_paused(job, False)
            if job.group is None and job.state in FINAL:
                job.run_done = 0
                job.progress = job.local_progress = None
                self.tree.requeue(job, "reset")

    def on_declare(self, ids: Iterable[int], state: str, now: float) -> None:
        """Set jobs FINISHED or ERROR by hand, which no pause survives and which is no try.

        What runs is ended. Raises IllegalMove for a group.
        """
        jobs = self._jobs(ids)
        for job in jobs:
            self._check_leaf(job)
        for job in jobs:
            run = job.run
            self._call_off(job, now)
            self.tree.set_paused(job, False)
            if state == FINISHED:
                job.progress = 1.0
            self.tree.move(job, DECLARE[state], duration=run.duration if run else None)

    def on_pause(self, ids: Iterable[int], now: float) -> None:
        """Hold jobs, and groups with all below them; what runs is ended and will run again."""
        jobs = self._jobs(ids)
        for job in jobs:
            self.tree.set_paused(job, True)
        paused = set(map(id, jobs))
        for run in list(self.runs.values()):
            above = [run.job, *ancestors(run.job)]
            if not paused.isdisjoint(map(id, above)):
                self._take_back(run, STOPPED, now)

    def on_delete(self, ids: Iterable[int], now: float) -> None:
        """Remove jobs and all below them, logs included; what depended on them is free."""
        for job in self._jobs(ids):
            if job.id not in self.tree.jobs:
                continue  # it was below one that is gone already
            gone = list(subtree(job))
            for one in gone:
                if one.run is not None:
                    self._take_back(one.run, STOPPED, now)
                if one.claim is not None:
                    self.drop_claim(one.claim)
            self.tree.forget(job)
            for one in gone:
                self._note_deleted(one.id)
                if one.group is None and one.start_time:
                    self.changes.cleared_logs[one.id] = None

    def _note_deleted(self, id: int) -> None:
        changes = self.changes
        for noted in (changes.new_jobs, changes.edited_jobs, changes.jobs, changes.dependencies):
            noted.pop(id, None)
        changes.deleted_jobs[id] = None

    def on_name_affinities(self, names: Mapping[int, str]) -> None:
        """Write the list of known affinity words, by number."""
        self.changes.affinities.update(names)

    # --- finished trees leave memory ------------------------------------------------------

    def on_tick(self, now: float) -> None:
        """Time passes: see Crew; and trees that have long been finished leave memory."""
        super().on_tick(now)
        quiet = self._quiet_since
        for id in self.tree.just_finished:
            quiet.pop(id, None)
            quiet[id] = now
        self.tree.just_finished.clear()
        while quiet:
            id, since = next(iter(quiet.items()))
            if now - since < QUIET:
                return
            del quiet[id]
            job = self.tree.root.group.children.get(id) if self.tree.root.group else None
            if job is not None and job.state == FINISHED and not self._archive(job):
                quiet[id] = now

    def _archive(self, root: Job) -> bool:
        """Drop a finished tree from memory, unless something outside of it depends on it."""
        nodes = list(subtree(root))
        inside = {node.id for node in nodes}
        if any(node.claim is not None for node in nodes):
            return False  # loaded again, it would not know of the process that may still run
        if self.pins and any(id in self.pins for id in inside):
            return False
        if any(not inside.issuperset(node.dependents) for node in nodes if node.dependents):
            return False
        self.tree.drop(nodes)
        return True


def _no_state_of_its_own(id: int) -> IllegalMove:
    return IllegalMove(f"job {id} is a group; its state comes from what is below it", id=id)
