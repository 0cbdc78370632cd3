"""Two nodes, the server's own parts, and a network between them that loses, delays and reorders.

Only processes and time are played; reports are small, so that logs need several. Whatever happens,
no job has two processes at a time, no end counts twice, and everything is done in the end, with all
of its log.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import ensureDeferred, succeed

from coalition import wire
from coalition.core.changes import Changes
from coalition.core.farm import Farm
from coalition.core.model import Job
from coalition.core.states import FINISHED
from coalition.core.submission import Submission
from coalition.server.joblog import JobLogs
from coalition.server.nodes import Nodes
from coalition.worker.node import held
from coalition.worker.node import run as runs
from coalition.worker.node.actions import Action, Begin, Drop, EndTree, Forget, Plan, Save
from coalition.worker.node.machine import Machine
from tests.server.builders import Turns

INDEX = st.integers(0, 10**6)

LAST_RUN = re.compile(rb"\* RUN (\d+) on [^\n]*\n((?:\d{8}\n)*)\* RUN \1 FINISHED [^\n]*code 0\n\Z")


def output(run: int) -> bytes:
    """Return what a run writes: nothing, a line, or more than goes into a report."""
    return b"%08d\n" % run * (run % 4)


class Play:
    """A node whose processes are played: of each worker's queue the first one runs."""

    def __init__(self, name: str, workers: int) -> None:
        names = [f"{name}{number}" for number in range(workers)]
        self.machine = Machine(name, names, sleep=2, random=Random(name))
        self.queues: dict[str, list[int]] = {one: [] for one in names}
        self.jobs: dict[int, int] = {}
        self.dying: set[int] = set()
        self.completed: Counter[int] = Counter()
        self.unsaved: list[int] = []
        self.sent: list[Plan] = []
        self.answers: list[tuple[int, wire.Orders]] = []

    def alive(self) -> list[int]:
        return [queue[0] for queue in self.queues.values() if queue]

    def do(self, actions: list[Action], now: float) -> None:
        for action in actions:
            match action:
                case Begin(start):
                    self.jobs[start.run] = start.job
                    self.queues[start.worker].append(start.run)
                case EndTree(run) | Drop(run):
                    self._end(run, now, kill=isinstance(action, EndTree))
                case Save(run):
                    self.unsaved.append(run)
                case Forget():
                    pass

    def _end(self, run: int, now: float, *, kill: bool) -> None:
        for queue in self.queues.values():
            if run in queue[1:]:
                queue.remove(run)
                self.do(self.machine.on_dropped(run, now), now)
            elif run in queue and kill:
                self.dying.add(run)

    def finish(self, run: int, code: int, now: float, seconds: float) -> None:
        for queue in self.queues.values():
            if run in queue:
                queue.remove(run)
        if code == 0 and run not in self.dying:
            self.completed[self.jobs[run]] += 1
        self.dying.discard(run)
        self.machine.on_output(run, len(output(run)))
        self.do(self.machine.on_exit(run, code, now, seconds), now)


class Network(RuleBasedStateMachine):
    """See the module."""

    users = True

    def __init__(self) -> None:
        super().__init__()
        self.small = pytest.MonkeyPatch()
        self.small.setattr(runs, "RUN_LIMIT", 16)
        self.small.setattr(held, "REPORT_LIMIT", 40)
        self.clock = Turns()
        self.clock.advance(1_000_000)
        self.folder = tempfile.TemporaryDirectory()
        self.farm = Farm(Changes(), 1e9)
        self.logs = JobLogs(Path(self.folder.name))
        self.nodes = Nodes(self.clock, self.farm, self.logs, self.durable)  # type: ignore[arg-type]
        self.plays = [Play("a", 2), Play("b", 1)]
        self.succeeded: Counter[int] = Counter()
        self.submit(5, 1000)
        self.talk(0, [0, 0, 0])
        self.talk(1, [0])

    def durable(self) -> Any:
        self.logs.on_committed(self.farm.changes.take())
        return succeed(None)

    @property
    def now(self) -> float:
        return self.clock.seconds()

    # --- users ----------------------------------------------------------------------------------

    @rule(count=st.integers(1, 12), priority=st.sampled_from([1000, 1000, 2000]))
    def submit(self, count: int, priority: int) -> None:
        submission = Submission()
        for _ in range(count):
            job = Job(self.farm.new_id(), command="true", priority=priority, retry=10**6)
            submission.add(job, 0, [])
        self.farm.on_submit(submission)
        self.nodes.look()

    @rule(index=INDEX, what=st.sampled_from(["pause", "start", "edit", "reset"]))
    @precondition(lambda self: self.farm.tree.jobs)
    def order(self, index: int, what: str) -> None:
        if not self.users:
            return
        id = [*self.farm.tree.jobs][index % len(self.farm.tree.jobs)]
        if what == "edit":
            self.farm.on_edit({id: {"title": "new"}}, self.now)
        elif what != "reset" or self.farm.tree.jobs[id].state != FINISHED:
            getattr(self.farm, f"on_{what}")([id], self.now)
        self.nodes.look()

    @rule(name=st.sampled_from(["a0", "b0"]), what=st.sampled_from(["stop", "pause", "start"]))
    def order_worker(self, name: str, what: str) -> None:
        if name in self.farm.workers and self.users:
            getattr(self.farm, f"on_{what}_workers")([name], self.now)
            self.nodes.refresh([name])

    @rule(name=st.sampled_from(["a0", "a1", "b0"]))
    @precondition(lambda self: self.users)
    def delete_worker(self, name: str) -> None:
        if name in self.farm.workers:
            self.farm.on_delete_workers([name], self.now)
            self.nodes.refresh([name])
            self.nodes.look()

    @rule(index=INDEX)
    @precondition(lambda self: self.users and self.farm.runs)
    def take_too_long(self, index: int) -> None:
        going = list(self.farm.runs.values())
        run = going[index % len(going)]
        run.job.timeout = 0.001
        self.farm.watch_deadline(run.job)
        self.clock.advance(0.01)
        self.farm.on_tick(self.now)
        run.job.timeout = 0
        self.nodes.look()

    # --- processes ------------------------------------------------------------------------------

    @rule(play=st.integers(0, 1), index=INDEX, code=st.sampled_from([0, 0, 0, 1]))
    def end(self, play: int, index: int, code: int) -> None:
        node = self.plays[play]
        if alive := node.alive():
            run = alive[index % len(alive)]
            if run in node.dying:
                code = -15
            self.clock.advance(0.002)
            node.finish(run, code, self.now, 0.002)

    @rule(play=st.integers(0, 1), index=INDEX)
    def refuse(self, play: int, index: int) -> None:
        """The computer cannot start a command at the moment."""
        node = self.plays[play]
        if alive := node.alive():
            run = alive[index % len(alive)]
            for queue in node.queues.values():
                if run in queue:
                    queue.remove(run)
            node.dying.discard(run)
            node.do(node.machine.on_refused(run, self.now), self.now)

    @rule(play=st.integers(0, 1))
    def save(self, play: int) -> None:
        node = self.plays[play]
        while node.unsaved:
            node.machine.on_saved(node.unsaved.pop(0))

    @rule(play=st.integers(0, 1), seconds=st.sampled_from([0.001, 0.3]))
    def wait(self, play: int, seconds: float) -> None:
        self.clock.advance(seconds)
        self.plays[play].do(self.plays[play].machine.give_back(self.now), self.now)

    # --- the network ----------------------------------------------------------------------------

    @rule(play=st.integers(0, 1))
    def send(self, play: int) -> None:
        node = self.plays[play]
        due = node.machine.due(self.now)
        if due is not None:
            self.clock.advance(max(0.0, due - self.now))
            plan = node.machine.build_report(self.now)
            plan.report.logs = [
                wire.Chunk(cut.run, cut.offset, output(cut.run)[cut.offset :][: cut.length])
                for cut in plan.cuts
            ]
            node.sent.append(plan)

    def serve(self, node: Play, plan: Plan, *, answered: bool) -> None:
        """Have the server take a report; its answer comes when the server gives it."""

        def done(orders: wire.Orders) -> None:
            if answered:
                node.answers.append((plan.number, orders))
            else:
                node.machine.on_lost(plan.number, self.now)

        before = self.farm.runs.keys() | self.farm.ahead.keys()
        ensureDeferred(self.nodes.report(plan.report, "ip", self.now)).addCallback(done)
        over = before - (self.farm.runs.keys() | self.farm.ahead.keys())
        for end in plan.report.ends:
            if end.run in over and end.code == 0 and not end.again:
                self.succeeded[end.run] += 1
                assert self.succeeded[end.run] == 1
        self.clock.advance(0.001)

    @rule(play=st.integers(0, 1), quick=st.lists(INDEX, max_size=2))
    def talk(self, play: int, quick: list[int]) -> None:
        """A part of a session in which the network works."""
        for index in [*quick, -1]:
            self.send(play)
            node = self.plays[play]
            while node.sent:
                self.serve(node, node.sent.pop(0), answered=True)
            while node.answers:
                self.answer(play, 0)
            if index >= 0:
                self.end(play, index, 0)
                self.save(play)

    @rule(play=st.integers(0, 1), index=INDEX, answered=st.sampled_from([True, True, False]))
    def arrive(self, play: int, index: int, answered: bool) -> None:
        node = self.plays[play]
        if node.sent:
            self.serve(node, node.sent.pop(index % len(node.sent)), answered=answered)

    @rule(play=st.integers(0, 1))
    def lose(self, play: int) -> None:
        node = self.plays[play]
        if node.sent:
            node.machine.on_lost(node.sent.pop(0).number, self.now)

    @rule(play=st.integers(0, 1), index=INDEX)
    def answer(self, play: int, index: int) -> None:
        node = self.plays[play]
        if node.answers:
            number, orders = node.answers.pop(index % len(node.answers))
            node.do(node.machine.on_orders(number, orders, self.now), self.now)

    # --- what is always so ------------------------------------------------------------------------

    @invariant()
    def no_job_has_two_processes(self) -> None:
        alive = Counter(node.jobs[run] for node in self.plays for run in node.alive())
        assert not alive or max(alive.values()) == 1

    @invariant()
    def the_farm_is_consistent(self) -> None:
        self.farm.check_invariants()

    def teardown(self) -> None:
        """When users rest and the network works, everything is done."""
        self.farm.on_start_workers(list(self.farm.workers), self.now)
        self.farm.on_start(
            [job.id for job in self.farm.tree.jobs.values() if job.state != FINISHED], self.now
        )
        self.nodes.refresh(list(self.farm.workers))
        self.nodes.look()
        for _ in range(4000):
            for play, node in enumerate(self.plays):
                node.do(node.machine.give_back(self.now), self.now)
                for run in list(node.alive()):
                    code = -15 if run in node.dying else 0
                    node.finish(run, code, self.now, 0.002)
                self.save(play)
                self.send(play)
                while node.sent:
                    self.serve(node, node.sent.pop(0), answered=True)
                while node.answers:
                    self.answer(play, 0)
            self.clock.advance(0.02)
            self.no_job_has_two_processes()
            if all(job.state == FINISHED for job in self.farm.tree.jobs.values()):
                break
        states = {job.id: job.state for job in self.farm.tree.jobs.values()}
        assert set(states.values()) <= {FINISHED}, states
        for id in states:
            last = LAST_RUN.search(Path(self.logs.path(id)).read_bytes())
            assert last is not None and last[2] == output(int(last[1]))
        self.folder.cleanup()
        self.small.undo()


class Quiet(Network):
    """Without users who interfere, a job is never done twice."""

    users = False

    def teardown(self) -> None:
        super().teardown()
        completed = self.plays[0].completed + self.plays[1].completed
        assert set(completed.values()) <= {1}, completed


TestQuiet = Quiet.TestCase
TestQuiet.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestNetwork = Network.TestCase
TestNetwork.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
