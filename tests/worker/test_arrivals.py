"""A run waits until its user is known, and nobody else waits for that."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from coalition import wire
from coalition.worker.command import lookup
from coalition.worker.command.arrivals import Arrivals
from coalition.worker.command.command import Way
from coalition.worker.command.lookup import Owners
from coalition.worker.command.scratch import Scratch
from coalition.worker.process.keeper.messages import boottime
from coalition.worker.runs import Runs
from tests.worker.directory import Directory
from tests.worker.machines import new_machine
from tests.worker.outboxes import opened
from tests.worker.real import in_reactor

# --- the order -----------------------------------------------------------------------------------


class Line(Arrivals):
    """Arrivals, and what becomes of them."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self.events: list[tuple[Any, ...]] = []
        super().__init__(
            directory.owners(),
            begin=lambda start, lease, owner: self.events.append(
                ("begin", start.run, owner and owner.name, lease)
            ),
            refuse=lambda run, error: self.events.append(("refuse", run, str(error))),
            on_turn=lambda: self.events.append(("turn",)),
        )

    def come(self, run: int, user: str, worker: str = "node", lease: float | None = None) -> None:
        self._directory.be_slow(user)
        self.add(wire.Start(worker, run, run, "true", user=user), lease)

    def tell(self, user: str) -> list[tuple[Any, ...]]:
        """Have it known who a user is; return what came of that."""
        self.events.clear()
        self._directory.tell(user)
        self._directory.next_call()
        return list(self.events)


def test_runs_of_a_worker_begin_in_order_whoever_is_known_first(directory: Directory) -> None:
    line = Line(directory)
    line.come(1, "ann")
    line.come(2, "bob")
    line.come(3, "cid", worker="other")
    assert line.tell("bob") == [("turn",)]
    assert line.tell("cid") == [("begin", 3, "cid", None), ("turn",)]
    assert line.tell("ann") == [("begin", 1, "ann", None), ("begin", 2, "bob", None), ("turn",)]


def test_a_run_whose_user_is_known_begins_at_once(directory: Directory) -> None:
    line = Line(directory)
    line.come(1, "ann")
    line.tell("ann")
    line.add(wire.Start("node", 2, 2, "true", user="ann"), None)
    assert line.events[-1] == ("begin", 2, "ann", None)


def test_a_run_whose_user_is_unfit_holds_up_nobody(directory: Directory) -> None:
    directory.unknown.add("ann")
    line = Line(directory)
    line.come(1, "ann")
    line.come(2, "bob")
    line.tell("bob")
    events = line.tell("ann")
    assert events == [("refuse", 1, "no ann"), ("begin", 2, "bob", None), ("turn",)]


def test_a_dropped_run_never_begins_and_lets_the_next_one_go(directory: Directory) -> None:
    line = Line(directory)
    line.come(1, "ann")
    line.come(2, "bob")
    line.tell("bob")
    line.events.clear()
    assert line.drop(1)
    assert line.events == [("begin", 2, "bob", None)]
    assert (line.drop(1), line.drop(2), line.drop(3)) == (False, False, False)
    assert line.tell("ann") == [("turn",)]


def test_leases_that_are_not_over_are_moved(directory: Directory) -> None:
    line = Line(directory)
    now = boottime()
    line.come(1, "ann", lease=now + 100)
    line.come(2, "bob", lease=now - 1)
    line.come(3, "cid")
    line.lease(now + 200)
    leases = [line.tell(user)[0][3] for user in ("ann", "bob", "cid")]
    assert leases == [now + 200, now - 1, None]


# --- on a node -----------------------------------------------------------------------------------


class Node:
    """A node without a server: what that would answer is said by the test."""

    def __init__(self, reactor: Any, folder: Path, directory: Directory, outbox: Any) -> None:
        self._reactor = reactor
        self.machine = new_machine("w1", "w2")
        self.ends: dict[int, tuple[int, bool]] = {}
        self._awaited: list[tuple[Callable[[], object], Deferred[None]]] = []
        self.runs = Runs(
            reactor,
            self.machine,
            outbox,
            Scratch(folder / "scratch", other_users=True, in_thread=lambda work: work()),
            server="http://farm:19211",
            environ=os.environ,
            way=Way("env RUNS_AS=__user__ sh -c 'cd __dir__; __cmd__'"),
            owners=Owners(reactor, directory.look_up),
            mark=f"test of {os.getpid()}",
        )
        self.runs.changed = self._look

    def say(self, orders: wire.Orders) -> wire.Report:
        """Send a report, and take these orders for its answer."""
        now = self._reactor.seconds()
        plan = self.machine.build_report(now)
        self.ends |= {end.run: (end.code, end.again) for end in plan.report.ends}
        orders.ended = [end.run for end in plan.report.ends]
        self.runs.do(self.machine.on_orders(plan.number, orders, now))
        return plan.report

    def give(self, run: int, worker: str, user: str, command: str = "exit 3") -> None:
        start = wire.Start(worker, run, run + 1000, command, dir="/", user=user)
        self.say(wire.Orders(start=[start]))

    def held(self) -> list[int]:
        return [slot.run for slot in self.say(wire.Orders()).workers]

    async def until(self, what: Callable[[], object]) -> None:
        seen: Deferred[None] = Deferred()
        self._awaited.append((what, seen))
        self._look()
        await seen

    def _look(self) -> None:
        self.say(wire.Orders())
        due = [one for one in self._awaited if one[0]()]
        self._awaited = [one for one in self._awaited if one not in due]
        for _, seen in due:
            seen.callback(None)


def on_node(
    folder: Path, directory: Directory, work: Callable[[Node], Coroutine[Any, Any, None]]
) -> None:
    async def live(reactor: Any) -> None:
        with closing(opened(folder / "outbox")) as outbox:
            node = Node(reactor, folder, directory, outbox)
            await node.runs.prepare()
            try:
                await work(node)
            finally:
                directory.tell()
                await node.runs.close()

    in_reactor(live)


def test_a_slow_look_up_delays_no_other_worker(tmp_path: Path, directory: Directory) -> None:
    async def work(node: Node) -> None:
        directory.be_slow("slow")
        node.give(1, "w1", "slow")
        node.give(2, "w2", "ann")
        await node.until(lambda: 2 in node.ends)
        node.give(3, "w2", "ann", "exit 4")
        await node.until(lambda: 3 in node.ends)
        assert node.ends == {2: (3, False), 3: (4, False)}
        assert node.held() == [1, 0]
        directory.tell()
        await node.until(lambda: 1 in node.ends)
        assert node.ends[1] == (3, False)

    on_node(tmp_path, directory, work)


def test_a_run_that_is_ended_during_its_look_up_is_gone(
    tmp_path: Path, directory: Directory
) -> None:
    async def work(node: Node) -> None:
        directory.be_slow("slow")
        node.give(1, "w1", "slow", f"touch {tmp_path}/ran")
        assert node.held() == [1, 0]
        node.say(wire.Orders(kill=[1]))
        assert node.held() == [0, 0]
        directory.tell()
        node.give(2, "w1", "slow")
        await node.until(lambda: 2 in node.ends)
        assert node.ends == {2: (3, False)}
        assert not (tmp_path / "ran").exists()

    on_node(tmp_path, directory, work)


def test_a_run_that_is_dropped_during_its_look_up_is_gone(
    tmp_path: Path, directory: Directory
) -> None:
    async def work(node: Node) -> None:
        directory.be_slow("slow")
        node.give(1, "w1", "slow")
        node.say(wire.Orders(drop=[1]))
        assert (node.held(), node.ends) == ([0, 0], {})

    on_node(tmp_path, directory, work)


def test_a_run_of_an_unfit_user_is_an_error(tmp_path: Path, directory: Directory) -> None:
    async def work(node: Node) -> None:
        directory.unknown.add("unfit")
        node.give(1, "w1", "unfit")
        await node.until(lambda: 1 in node.ends)
        assert node.ends == {1: (126, False)}

    on_node(tmp_path, directory, work)


def test_a_run_whose_look_up_hangs_is_given_back(
    tmp_path: Path, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "LONGEST", 0.01)

    async def work(node: Node) -> None:
        directory.be_slow("slow")
        node.give(1, "w1", "slow")
        await node.until(lambda: 1 in node.ends)
        assert node.ends == {1: (0, True)}

    on_node(tmp_path, directory, work)
