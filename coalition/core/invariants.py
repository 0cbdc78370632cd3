"""What must be true of the farm at any time, checked against a plain recount."""

from __future__ import annotations

from math import isclose
from typing import TYPE_CHECKING

from coalition.core.affinity import Words, join
from coalition.core.cycles import Plan, refuse_cycles
from coalition.core.model import Job, Run
from coalition.core.ready import Queue, is_open
from coalition.core.states import ERROR, FINISHED, PENDING, QUEUED, WAITING, WORKING
from coalition.core.tree import Tree, group_state
from coalition.errors import Cycle

if TYPE_CHECKING:
    from coalition.core.crew import Crew


def check_jobs(tree: Tree) -> None:
    """Check structure, counters, states, dependencies, cycles and the ready index."""
    order = _top_down(tree)
    assert len(order) == len(tree.jobs) + 1, "a job stands nowhere in the tree, or twice"
    inner: dict[int, set[Words]] = {}  # requirements of the ready jobs below each group
    for job in reversed(order):
        if job.group is None:
            _check_leaf(job)
        else:
            _check_counters(job)
            inner[id(job)] = _check_queues(job, inner)
        if job.id:
            _check_dependencies(job)
    try:
        refuse_cycles([job for job in order if job.dependencies], Plan({}, {}, ()))
    except Cycle as cycle:
        raise AssertionError(str(cycle)) from cycle


def check_runs(crew: Crew) -> None:
    """Check that every WORKING job has exactly one worker that has it, and the other way round."""
    working = [j for j in crew.tree.jobs.values() if j.group is None and j.state == WORKING]
    assert len(working) == len(crew.runs), "WORKING jobs and runs differ"
    for job in working:
        run = job.run
        assert run is not None and crew.runs[run.id] is run, f"job {job.id} has no run"
        assert run.job is job and run.worker.run is run, f"run {run.id} is not its worker's"
        assert crew.workers[run.worker.name] is run.worker, f"run {run.id} of a stranger"
    for job in crew.tree.jobs.values():
        claim = job.claim
        held = claim is None or _waits_for(claim)
        assert held, f"job {job.id} waits for nobody"
    for run in crew.ahead.values():
        assert run.worker.ahead.get(run.id) is run, f"run {run.id} is nobody's"
        assert run.job.claim is run, f"run {run.id} has a job that does not know it"
        may_count = run.job.group is not None or run.job.state in QUEUED
        assert may_count or run.void, f"run {run.id} could count for a job that is over"
        known = (crew.workers.get(run.worker.name), crew.deleted.get(run.worker.name))
        assert run.worker in known, f"run {run.id} of a stranger"
    everybody = (*crew.workers.values(), *crew.deleted.values())
    handed = sum(len(worker.ahead) for worker in everybody)
    assert handed == len(crew.ahead), "runs handed ahead and what workers have of them differ"
    for worker in crew.workers.values():
        if worker.run is None:
            assert worker.state != WORKING, f"worker {worker.name} works on nothing"
        else:
            assert worker.run.job.run is worker.run, f"worker {worker.name} has another's run"


def _waits_for(claim: Run) -> bool:
    return claim is (claim.worker.endings | claim.worker.ahead).get(claim.id)


def _top_down(tree: Tree) -> list[Job]:
    order, stack = [], [tree.root]
    while stack:
        job = stack.pop()
        order.append(job)
        assert len(order) <= len(tree.jobs) + 1, "the tree has a loop"
        if job.group is not None:
            for id, child in job.group.children.items():
                assert child.id == id and tree.jobs.get(id) is child, f"job {id} is not known"
                assert child.parent is job, f"job {id} does not know its parent"
                stack.append(child)
    return order


def _check_leaf(job: Job) -> None:
    ready = job.state == WAITING and not job.paused and job.claim is None
    assert (job.queue is not None) == ready, f"job {job.id} ready {ready}, listed otherwise"
    if job.queue is not None:
        assert job.queue.words == job.words, f"job {job.id} stands in the queue of other words"
    assert (job.run is not None) == (job.state == WORKING), f"job {job.id} and its run disagree"


def _check_counters(node: Job) -> None:
    group = node.group
    assert group is not None
    children = list(group.children.values())
    plain = [child for child in children if child.group is None]
    groups = [child.group for child in children if child.group is not None]
    direct = {state: sum(c.state == state for c in plain) for state in (WORKING, ERROR, FINISHED)}
    count = [group.working, group.errors, group.finished, group.total, group.total_working]
    count += [group.total_errors, group.total_finished, group.started, group.links]
    started = sum(c.start_time > 0 for c in plain) + sum(g.started for g in groups)
    links = sum(bool(c.dependencies) for c in children) + sum(g.links for g in groups)
    recount = [direct[WORKING], direct[ERROR], direct[FINISHED]]
    recount += [len(plain) + sum(g.total for g in groups)]
    recount += [direct[WORKING] + sum(g.total_working for g in groups)]
    recount += [direct[ERROR] + sum(g.total_errors for g in groups)]
    recount += [direct[FINISHED] + sum(g.total_finished for g in groups), started, links]
    assert count == recount, f"counters of {node.id}: {count}, recounted {recount}"
    duration = sum(child.duration for child in children)
    assert isclose(node.duration, duration, abs_tol=1e-3), f"duration of {node.id}"
    assert (node.start_time > 0) == (started > 0), f"start of {node.id}"
    if node.id:
        assert node.state == group_state(node), f"state of group {node.id}"
    assert node.queue is None and node.run is None, f"group {node.id} is treated as a job"


def _check_queues(node: Job, inner: dict[int, set[Words]]) -> set[Words]:
    """Compare a group's queues with a scan of its children."""
    group = node.group
    assert group is not None
    wanted: dict[Words, list[Job]] = {}
    for child in group.children.values():
        if child.queue is not None:
            wanted.setdefault(child.words, []).append(child)
        elif child.group is not None and is_open(child):
            for words in {join(words, child.words) for words in inner[id(child)]}:
                wanted.setdefault(words, []).append(child)
        else:
            listed = child.group.listed if child.group is not None else {}
            assert not listed, f"group {child.id} is shut and listed"
    assert set(group.queues) == set(wanted), f"requirements of group {node.id}"
    for words, queue in group.queues.items():
        _check_queue(queue, wanted[words])
    return set(wanted)


def _check_queue(queue: Queue, wanted: list[Job]) -> None:
    assert queue.live == len(wanted), f"queue {set(queue.words)}: {queue.live} of {len(wanted)}"
    entries = {(key, id) for key, level in queue.levels.items() for id in level}
    for job in wanted:
        assert (-job.priority, job.id) in entries, f"job {job.id} is missing in its queue"
        assert queue.holds(job, -job.priority), f"job {job.id} is not held by its queue"
    assert queue.size == sum(map(len, queue.levels.values())), "size of a queue"
    best = min(wanted, key=lambda job: (-job.priority, job.id))
    assert queue.first() is best, f"first of a queue is not job {best.id}"


def _check_dependencies(job: Job) -> None:
    unmet = sum(dependency.state != FINISHED for dependency in job.dependencies)
    assert job.unmet == unmet, f"job {job.id}: {job.unmet} unmet, recounted {unmet}"
    if job.group is None:
        assert (job.state == PENDING) <= (unmet > 0), f"job {job.id} is PENDING for nothing"
        assert not (job.state == WAITING and unmet), f"job {job.id} should be PENDING"
    for dependency in job.dependencies:
        dependents = dependency.dependents or {}
        assert dependents.get(job.id) is job, f"job {dependency.id} does not know job {job.id}"
    for dependent in (job.dependents or {}).values():
        assert job in dependent.dependencies, f"job {dependent.id} does not depend on {job.id}"
