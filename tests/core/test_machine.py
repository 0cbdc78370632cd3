"""Any orders and events in any sequence keep the farm right, and pick what a plain list would."""

from __future__ import annotations

from graphlib import TopologicalSorter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from coalition.core.affinity import parse_words
from coalition.core.changes import Changes
from coalition.core.farm import Farm
from coalition.core.model import Job, Worker
from coalition.core.states import ERROR, FINISHED, WAITING
from coalition.core.submission import Submission
from coalition.core.tree import ancestors
from coalition.errors import Refused

WORDS = st.sampled_from(["", "A", "B", "A,B"])
PRIORITIES = st.sampled_from([-(10**30), 0, 1000, 10**30])
INDEX = st.integers(0, 10**6)


def slow_pick(farm: Farm, worker: Worker) -> Job | None:
    """The model: look at every job, sort, take the first."""
    ready = [job for job in farm.tree.jobs.values() if is_ready(job)]
    if not worker.node:
        ready = [job for job in ready if not any(j.exclusive for j in [job, *ancestors(job)])]
    ready.sort(key=order_key)
    for line in worker.affinity.split("\n"):
        for job in ready:
            if requirement(job) and requirement(job) <= parse_words(line):
                return job
    return next((job for job in ready if not requirement(job)), None)


def is_ready(job: Job) -> bool:
    return is_startable(job) and job.claim is None


def is_startable(job: Job) -> bool:
    above = [job, *ancestors(job)]
    held = any(j.paused or any(d.state != FINISHED for d in j.dependencies) for j in above)
    return job.group is None and job.state == WAITING and not held


def comes_before(one: Job, other: Job, worker: Worker) -> bool:
    def key(job: Job) -> tuple[int, list[tuple[int, int]]]:
        lines = worker.affinity.split("\n")
        fits = [n for n, line in enumerate(lines) if requirement(job) <= parse_words(line)]
        return fits[0] if requirement(job) and fits else len(lines), order_key(job)

    return key(one) < key(other)


def requirement(job: Job) -> frozenset[str]:
    return frozenset().union(*(parse_words(j.affinity) for j in [job, *ancestors(job)]))


def order_key(job: Job) -> list[tuple[int, int]]:
    return [(-j.priority, j.id) for j in reversed([job, *ancestors(job)])]


class FarmMachine(RuleBasedStateMachine):
    """Drives a farm as users, workers and time do."""

    def __init__(self) -> None:
        super().__init__()
        self.farm = Farm(Changes(), 60)
        self.now = 1000.0

    @initialize(
        lines=st.lists(st.sampled_from(["", "A", "B", "A,B", "A\nB"]), min_size=3, max_size=3)
    )
    def workers(self, lines: list[str]) -> None:
        for number, affinity in enumerate(lines):
            worker = self.contact(number)
            self.farm.on_announce(worker, affinity)

    def contact(self, number: int) -> Worker:
        """The last worker speaks by protocol 1."""
        node = f"n{number}" if number < 2 else ""
        return self.farm.on_contact(f"w{number}", self.now, node=node)

    def some(self, index: int) -> int:
        ids = [*self.farm.tree.jobs, 0]
        return ids[index % len(ids)]

    def attempt(self, act: Any, *args: Any) -> None:
        """An order may be refused; then nothing has changed, which the invariants see."""
        before = snapshot(self.farm)
        try:
            act(*args)
        except Refused:
            assert snapshot(self.farm) == before

    @rule(
        jobs=st.lists(
            st.tuples(st.booleans(), WORDS, PRIORITIES, INDEX, st.lists(INDEX, max_size=2)),
            min_size=1,
            max_size=4,
        ),
        retry=st.integers(0, 2),
        timeout=st.sampled_from([0, 0, 20]),
        beside=st.booleans(),
        exclusive=st.booleans(),
    )
    def submit(
        self, jobs: list[Any], retry: int, timeout: float, beside: bool, exclusive: bool
    ) -> None:
        submission = Submission()
        made: list[Job] = []
        for is_group, affinity, priority, parent, after in jobs:
            job = Job(
                self.farm.new_id(), command="" if is_group else "x", affinity=affinity,
                words=parse_words(affinity), priority=priority, retry=retry, timeout=timeout,
                exclusive=exclusive,
            )  # fmt: skip
            known: list[Any] = [*made, *self.farm.tree.jobs]
            dependencies = [known[index % len(known)] for index in after] if known else []
            inside = [j for j in made if j.group is not None]
            choices: list[Any] = [*inside, self.some(parent)]
            submission.add(job, choices[parent % len(choices)], dependencies)
            made.append(job)
        self.attempt(self.submit_all, submission, beside)

    def submit_all(self, submission: Submission, beside: bool) -> None:
        try:
            for _ in submission.build(self.farm.tree) if beside else ():
                pass
            self.farm.on_submit(submission)
        except Refused:
            submission.unlink()
            raise

    @rule(number=st.integers(0, 2))
    def pick(self, number: int) -> None:
        worker = self.contact(number)
        if worker.run is None:
            self.farm.on_rest(worker)  # who asks has nothing left
            expected = slow_pick(self.farm, worker) if worker.active else None
            run = self.farm.on_pick(worker, self.now)
            assert (run.job if run else None) is expected

    @rule(number=st.integers(0, 2))
    def hand_ahead(self, number: int) -> None:
        worker = self.contact(number)
        expected = slow_pick(self.farm, worker) if worker.active else None
        run = self.farm.on_reserve(worker, self.now)
        assert (run.job if run else None) is (
            None if expected is None or expected.exclusive else expected
        )

    @precondition(lambda self: self.farm.ahead)
    @rule(index=INDEX, number=st.integers(0, 2))
    def begin(self, index: int, number: int) -> None:
        run = [*self.farm.ahead.values()][index % len(self.farm.ahead)]
        worker = self.contact(number)
        # What it was given itself and has not received is taken back.
        free = worker.run is None or worker.seen_run != worker.run.id
        runs = free and not run.recalled and is_startable(run.job)
        assert self.farm.on_begin(run, worker, self.now) == runs
        assert (worker.run is run) == runs

    @precondition(lambda self: self.farm.ahead)
    @rule(index=INDEX)
    def release(self, index: int) -> None:
        self.farm.on_release([*self.farm.ahead.values()][index % len(self.farm.ahead)])

    @rule()
    def look_ahead(self) -> None:
        """What is handed ahead may begin, and nothing that waits for its worker comes before it."""
        self.farm.look_ahead()
        for run in self.farm.ahead.values():
            best = slow_pick(self.farm, run.worker)
            if not run.recalled:
                assert is_startable(run.job)
                first = best is None or not comes_before(best, run.job, run.worker)
                assert first or run.returning

    @precondition(lambda self: self.farm.runs)
    @rule(index=INDEX, code=st.integers(0, 1))
    def end(self, index: int, code: int) -> None:
        run = [*self.farm.runs.values()][index % len(self.farm.runs)]
        assert self.farm.on_end(run.worker, run.id, code, self.now)
        assert not self.farm.on_end(run.worker, run.id, code, self.now)

    @rule(number=st.integers(0, 2))
    def rest(self, number: int) -> None:
        self.farm.on_rest(self.contact(number))

    @precondition(lambda self: self.farm.runs)
    @rule(index=INDEX)
    def seen(self, index: int) -> None:
        run = [*self.farm.runs.values()][index % len(self.farm.runs)]
        assert self.farm.on_seen(run.worker, run.id)

    @rule(number=st.integers(0, 2), last=st.sampled_from([0, 0, 10]))
    def idle(self, number: int, last: int) -> None:
        worker = self.contact(number)
        self.farm.on_numbers(last)
        offered = self.farm.on_idle(worker, self.now, last)
        assert offered is None or offered.id > last

    @rule(seconds=st.sampled_from([1.0, 25.0, 90.0]), alive=st.sets(st.integers(0, 2)))
    def time_passes(self, seconds: float, alive: set[int]) -> None:
        self.now += seconds
        for number in alive:
            self.contact(number)
        self.farm.on_tick(self.now)

    @rule(index=INDEX, what=st.sampled_from(["reset", "reset_errors", "start", "pause"]))
    def order(self, index: int, what: str) -> None:
        self.attempt(getattr(self.farm, f"on_{what}"), [self.some(index)], self.now)

    @rule(indices=st.lists(INDEX, min_size=1, max_size=2))
    def delete(self, indices: list[int]) -> None:
        self.attempt(self.farm.on_delete, [self.some(index) for index in indices], self.now)

    @rule(index=INDEX, parent=INDEX)
    def move(self, index: int, parent: int) -> None:
        self.attempt(self.farm.on_edit, {self.some(index): {"parent": self.some(parent)}}, self.now)

    @rule(first=INDEX, second=INDEX, parent=INDEX)
    def swap(self, first: int, second: int, parent: int) -> None:
        edits = {
            self.some(first): {"parent": self.some(second)},
            self.some(second): {"parent": self.some(parent)},
        }
        self.attempt(self.farm.on_edit, edits, self.now)

    @rule(index=INDEX, priority=PRIORITIES, affinity=WORDS, exclusive=st.booleans())
    def reorder(self, index: int, priority: int, affinity: str, exclusive: bool) -> None:
        edit = {"priority": priority, "affinity": affinity, "exclusive": exclusive}
        self.attempt(self.farm.on_edit, {self.some(index): edit}, self.now)

    @rule(index=INDEX, command=st.sampled_from(["", "x"]))
    def recommand(self, index: int, command: str) -> None:
        self.attempt(self.farm.on_edit, {self.some(index): {"command": command}}, self.now)

    @rule(index=INDEX, state=st.sampled_from([FINISHED, ERROR]), other=INDEX, parent=INDEX)
    def declare(self, index: int, state: str, other: int, parent: int) -> None:
        job = self.farm.tree.jobs.get(self.some(index))
        edits = {self.some(index): {"state": state}}
        self.attempt(self.farm.on_edit, edits, self.now)
        if job is not None and job.group is None:
            assert (job.state, job.paused, job.run) == (state, False, None)
        moved = {**edits, self.some(other): {"state": state, "parent": self.some(parent)}}
        self.attempt(self.farm.on_edit, moved, self.now)

    @rule(index=INDEX, after=st.lists(INDEX, max_size=3))
    def depend(self, index: int, after: list[int]) -> None:
        wanted = [self.some(one) for one in after]
        self.attempt(self.farm.on_set_dependencies, self.some(index), wanted)

    @rule(
        number=st.integers(0, 2), affinity=st.sampled_from(["", "A", "B\nA"]), active=st.booleans()
    )
    def edit_worker(self, number: int, affinity: str, active: bool) -> None:
        edit: dict[str, object] = {"affinity": affinity, "active": active}
        self.farm.on_edit_workers({f"w{number}": edit}, self.now)

    @rule(number=st.integers(0, 2))
    def delete_worker(self, number: int) -> None:
        """Its node does not know, and speaks on as before."""
        name = f"w{number}"
        old = self.contact(number)
        had = {run.job for run in (old.run, *old.endings.values()) if run is not None}
        self.farm.on_delete_workers([name], self.now)
        new = self.contact(number)
        assert {run.job for run in new.endings.values()} == had

    @invariant()
    def everything_is_consistent(self) -> None:
        self.farm.check_invariants()

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        waits: dict[object, list[object]] = {}
        for job in self.farm.tree.jobs.values():
            above = [("start", j.id) for j in [job.parent] if j is not None and j.id]
            waits["start", job.id] = [*above, *(("end", j.id) for j in job.dependencies)]
            below = job.group.children.values() if job.group is not None else ()
            waits["end", job.id] = [("start", job.id), *(("end", j.id) for j in below)]
        TopologicalSorter(waits).prepare()


def snapshot(farm: Farm) -> list[tuple[object, ...]]:
    return [
        (
            *(j.id, j.parent and j.parent.id, j.state, j.paused, j.priority, j.affinity, j.unmet),
            *(j.group is None, j.command, [d.id for d in j.dependencies], j.run and j.run.id),
        )
        for j in farm.tree.jobs.values()
    ]


TestFarm = FarmMachine.TestCase
TestFarm.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
