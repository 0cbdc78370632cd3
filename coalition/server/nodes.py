"""Protocol 2: the nodes, whose requests are held open until there is news for them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from twisted.internet.defer import Deferred

from coalition import wire
from coalition.core.affinity import Line
from coalition.core.farm import Farm
from coalition.core.model import Worker
from coalition.core.states import TERMINATED
from coalition.errors import BadRequest, NameTaken, OtherFarm
from coalition.server.joblog import JobLogs
from coalition.server.node import SILENCE, Node
from coalition.server.reports import Reports, alike, start_order
from coalition.server.slices import Clock

log = logging.getLogger(__name__)

FULL_DISK = 1.0
"""Seconds before a node is told that its log was not taken: it sends it again at once."""

RETURN = 10.0
"""Seconds in which the nodes that a server knew have spoken again after it was started: they try at
least every ten."""


class Nodes:
    """All nodes, and the idle workers whose nodes wait for a job."""

    def __init__(
        self,
        clock: Clock,
        farm: Farm,
        logs: JobLogs,
        saved: Callable[[], Deferred[None]],
        maxlog: int = wire.MAXLOG,
        identity: str = "",
    ) -> None:
        """Serve nodes; `saved` waits until what was decided is durable.

        `maxlog` and `identity`, that of the farm, are for the nodes.
        """
        self._clock = clock
        self._farm = farm
        self._logs = logs
        self._reports = Reports(farm, logs)
        self._saved = saved
        self._maxlog = maxlog
        self.identity = identity
        back = clock.seconds() + RETURN
        self._nodes: dict[str, Node] = {}
        for worker in farm.workers.values():
            if worker.node and worker.state != TERMINATED:
                node = self._nodes.setdefault(worker.node, Node(back, worker.session))
                # A worker that its node had before may be known by an older one.
                node.sessions.add(worker.session)
        # Idle workers that wait, by their affinity lines: one failed pick speaks for all of a kind.
        self._waiting: dict[tuple[Line, ...], dict[str, Worker]] = {}
        # The same by the words by which a job can call them.
        self._tagged: dict[str, dict[str, Worker]] = {}
        self._looking = False
        # No held request may outlast the silence after which its workers would be lost.
        self.longest_wait = min(wire.LONGEST_WAIT, farm.worker_timeout / 3)

    async def report(self, report: wire.Report, ip: str, now: float) -> wire.Orders:
        """Take in a report, and give its node's orders when there are some or the wait is over."""
        if report.farm not in ("", self.identity):
            raise OtherFarm("these runs are those of another farm", farm=self.identity)
        self._check_names(report, now)
        node = self._nodes.setdefault(report.node, Node(now))
        node.asking += 1
        try:
            return await self._report(node, report, ip, now)
        finally:
            node.asking -= 1
            node.heard = self._clock.seconds()

    async def _report(self, node: Node, report: wire.Report, ip: str, now: float) -> wire.Orders:
        if node.is_overtaken(report):
            return self._new_orders()
        self._wake(node)
        node.note_session(report)
        node.host = report.host or node.host
        orders = node.orders = self._new_orders()
        idle, given_back = self._reports.take(report, node.host, orders, now, ip)
        orders.drain = self._draining(report.workers)
        node.note_pace(report.ends)
        if given_back:
            node.slow_down()
            self._look()  # those who have nothing to do come first
        node.tags = self._tags(report)
        if not report.leaving and not any(worker.active for worker in idle):
            self._hand_ahead(node, report, orders, now)
        self.look()
        wait = self._agreed_wait(report, orders)
        if not _has_news(report, orders) and wait > 0:
            await self._hold(node, idle, wait)
            orders.drain = self._draining(report.workers)
        if _has_news(report, orders):
            await self._saved()
        return orders

    def _agreed_wait(self, report: wire.Report, orders: wire.Orders) -> float:
        """Give for how long to hold a report that brings its node no news."""
        if self._logs.trouble is not None and _is_missing(report, orders):
            return FULL_DISK
        # Why its ends are not taken, a node learns from the answer.
        return 0.0 if report.ends else min(report.wait, self.longest_wait)

    # --- who may speak for a name -------------------------------------------------------------

    def _check_names(self, report: wire.Report, now: float) -> None:
        """Refuse to listen to two computers of one name by turns: each would lose what it runs."""
        if len({slot.name for slot in report.workers}) < len(report.workers):
            raise BadRequest("two workers of the report have the same name", field="workers")
        node = self._nodes.get(report.node)
        same = node is not None and node.is_of(report)
        for slot in report.workers:
            worker = self._farm.workers.get(slot.name)
            if worker is None or (same and worker.node == report.node):
                continue
            if self.at_work(worker, now):
                other = f"another worker {slot.name!r} is at work at {worker.ip}"
                raise NameTaken(
                    f"{other}: give this one a name of its own",
                    name=slot.name,
                    kill=[run for run in _runs_of(report) if run not in self._farm.runs],
                )

    def at_work(self, worker: Worker, now: float) -> bool:
        """Say whether somebody speaks for a worker, or may still do what it was given."""
        if self._farm.may_be_busy(worker, now):
            return True
        if not worker.node:
            return now - worker.ping_time < SILENCE
        node = self._nodes.get(worker.node)
        return node is not None and node.at_work(now)

    def _new_orders(self) -> wire.Orders:
        timeout = self._farm.worker_timeout
        return wire.Orders(
            wait=self.longest_wait, timeout=timeout, maxlog=self._maxlog, farm=self.identity
        )

    def _tags(self, report: wire.Report) -> frozenset[str]:
        workers = self._farm.workers
        return frozenset().union(*(workers[slot.name].tags for slot in report.workers))

    def _draining(self, slots: list[wire.Slot]) -> list[str]:
        workers = (self._farm.workers.get(slot.name) for slot in slots)
        return [worker.name for worker in workers if worker is not None and worker.draining]

    def _hand_ahead(self, node: Node, report: wire.Report, orders: wire.Orders, now: float) -> None:
        """Hand jobs ahead to a node whose workers are busy with short ones."""
        node.called = node.tags & self._called()
        workers = [self._farm.workers[slot.name] for slot in report.workers if not slot.resting]
        # A worker that never asks would not hear of what calls it.
        workers = [worker for worker in workers if worker.tags.isdisjoint(node.called)]
        room = node.ahead(workers, now) - sum(len(worker.ahead) for worker in workers)
        kinds = {worker.lines: worker for worker in workers if worker.active}
        for worker in kinds.values():
            starts: list[wire.Start] = []
            while len(starts) < room // len(kinds):
                run = self._farm.on_reserve(worker, now)
                if run is None:
                    break
                starts.append(start_order(run))
            if starts:
                orders.ahead.append(wire.Ahead(alike(workers, worker), starts))

    def drop(self, report: wire.Report) -> None:
        """A node has hung up while its request was held."""
        node = self._nodes.get(report.node)
        if node is not None and node.session == report.session and node.number == report.number:
            self._wake(node)

    # --- held requests --------------------------------------------------------------------

    async def _hold(self, node: Node, idle: list[Worker], wait: float) -> None:
        held: Deferred[None] = Deferred()
        node.held = held
        node.idle = idle
        for worker in idle:
            self._waiting.setdefault(worker.lines, {})[worker.name] = worker
            for tag in worker.tags:
                self._tagged.setdefault(tag, {})[worker.name] = worker
        timer = self._clock.callLater(wait, self._wake, node)
        await held
        if timer.active():
            timer.cancel()

    def _wake(self, node: Node) -> None:
        """End the wait of a held request, with the orders that have gathered."""
        held, node.held = node.held, None
        if held is None:
            return
        for worker in node.idle:
            self._forget(worker)
        node.idle = []
        held.callback(None)

    def _forget(self, worker: Worker) -> None:
        for tag in worker.tags:
            alike = self._tagged.get(tag, {})
            alike.pop(worker.name, None)
            if not alike:
                self._tagged.pop(tag, None)
        for lines in list(self._waiting):
            alike = self._waiting[lines]
            if alike.pop(worker.name, None) is not None:
                if not alike:
                    del self._waiting[lines]
                return

    def look(self) -> None:
        """Something happened: see, at the end of this turn, whether a held node should know."""
        if not self._looking:
            self._looking = True
            self._clock.callLater(0, self._look)

    def _look(self) -> None:
        self._looking = False
        farm = self._farm
        farm.look_ahead()
        self._clear_the_way()
        woken: dict[str, Node] = {}
        revoked, farm.revoked = farm.revoked, {}
        for run_id, node in self._told(revoked, woken):
            node.orders.kill.append(run_id)
        returned, farm.returned = farm.returned, {}
        for run_id, node in self._told(returned, woken):
            node.orders.drop.append(run_id)
        now = self._clock.seconds()
        self._call_by_name(now, woken)
        for lines in list(self._waiting):
            self._hand_out(list(self._waiting[lines].values()), now, woken)
        for node in woken.values():
            self._wake(node)

    def _told(self, runs: dict[int, Worker], woken: dict[str, Node]) -> Iterator[tuple[int, Node]]:
        """Give the nodes that can be told something of runs now, which they are woken for."""
        for run_id, worker in runs.items():
            node = self._nodes.get(worker.node)
            if node is not None and node.held is not None:
                woken[worker.node] = node
                yield run_id, node

    def _clear_the_way(self) -> None:
        """Call back what was handed ahead to nodes one of whose workers a job now calls by name."""
        tags = self._called()
        for name in {run.worker.node for run in self._farm.ahead.values()} if tags else ():
            node = self._nodes.get(name)
            if node is not None and not tags & node.tags <= node.called:
                node.called = tags & node.tags
                self._farm.return_node(name)

    def _called(self) -> frozenset[str]:
        return frozenset().union(*self._farm.called())

    def _call_by_name(self, now: float, woken: dict[str, Node]) -> None:
        """Give jobs that call workers by their names to these."""
        for words in self._farm.called():
            for tag in words:
                for worker in list(self._tagged.get(tag, {}).values()):
                    self._hand_out([worker], now, woken)

    def _hand_out(self, alike: Iterable[Worker], now: float, woken: dict[str, Node]) -> None:
        for worker in alike:
            node = self._nodes.get(worker.node)
            # One of a node that has asked by protocol 1 meanwhile is that protocol's.
            if node is None or not worker.active or worker.run is not None:
                continue
            run = self._farm.on_pick(worker, now)
            if run is None:
                return
            node.orders.start.append(start_order(run))
            woken[worker.node] = node

    def refresh(self, names: Iterable[str]) -> None:
        """Workers were edited, started or deleted: their nodes ask again."""
        if not self._farm.workers.keys() >= set(names):
            self._forget_nodes()
        for name in names:
            worker = self._farm.workers.get(name)
            for node in [self._nodes.get(worker.node)] if worker is not None else self._holding():
                if node is not None:
                    self._wake(node)

    def _forget_nodes(self) -> None:
        left = {worker.node for worker in self._farm.workers.values()}
        for name in self._nodes.keys() - left:
            if self._nodes[name].held is None:
                del self._nodes[name]

    def _holding(self) -> list[Node]:
        return [node for node in self._nodes.values() if node.held is not None]

    def release_all(self) -> None:
        """Answer every held request: the server is about to stop."""
        for node in self._holding():
            self._wake(node)


def _has_news(report: wire.Report, orders: wire.Orders) -> bool:
    known = {slot.name for slot in report.workers if slot.resting}
    fresh = not known.issuperset(orders.drain)
    started = bool(orders.start or orders.ahead)
    return started or fresh or bool(orders.kill or orders.drop or orders.ended)


def _runs_of(report: wire.Report) -> Iterator[int]:
    yield from (slot.run for slot in report.workers if slot.run)
    yield from report.ahead


def _is_missing(report: wire.Report, orders: wire.Orders) -> bool:
    """Say whether something of the logs or of the ends in a report was not taken."""
    return len(orders.ended) < len(report.ends) or any(
        orders.logs.get(piece.run, 0) < piece.end for piece in report.logs
    )
