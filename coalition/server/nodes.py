"""Protocol 2: what a node reports for its workers, and the requests of nodes held open for news."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import msgspec
from twisted.internet.defer import Deferred

from coalition import wire
from coalition.core.affinity import Line
from coalition.core.farm import Farm
from coalition.core.model import Run, Worker
from coalition.server.joblog import JobLogs
from coalition.server.slices import Clock, later

log = logging.getLogger(__name__)

FULL_DISK = 1.0
"""Seconds before a node is told that its log was not taken: it sends it again at once."""


class Node:
    """A worker.py process: its held request and the orders that gather for it."""

    __slots__ = ("held", "idle", "number", "orders", "session", "timer")

    def __init__(self) -> None:
        self.session = ""
        self.number = -1
        self.held: Deferred[None] | None = None
        self.timer: object | None = None
        self.orders = wire.Orders()
        self.idle: list[Worker] = []  # those a held request offers


class Nodes:
    """All nodes, and the idle workers whose nodes wait for a job."""

    def __init__(
        self, clock: Clock, farm: Farm, logs: JobLogs, saved: Callable[[], Deferred[None]]
    ) -> None:
        """Serve nodes; `saved` waits until what was decided is durable."""
        self._clock = clock
        self._farm = farm
        self._logs = logs
        self._saved = saved
        self._nodes: dict[str, Node] = {}
        # Idle workers that wait, by their affinity lines: one failed pick speaks for all of a kind.
        self._waiting: dict[tuple[Line, ...], dict[str, Worker]] = {}
        self._looking = False
        # No held request may outlast the silence after which its workers would be lost.
        self.longest_wait = min(wire.LONGEST_WAIT, farm.worker_timeout / 3)

    async def report(self, report: wire.Report, ip: str, now: float) -> wire.Orders:
        """Take in a report, and give its node's orders when there are some or the wait is over."""
        node = self._nodes.setdefault(report.node, Node())
        if node.session == report.session and report.number < node.number:
            return wire.Orders(wait=self.longest_wait)
        node.session, node.number = report.session, report.number
        self._wake(node)
        orders = node.orders = wire.Orders(wait=self.longest_wait)
        self._take_logs(report, orders, now, ip)
        missing = {c.run for c in report.logs if orders.logs[c.run] < c.offset + len(c.data)}
        self._take_ends(report, orders, now, missing)
        idle = self._take_slots(report, orders, now)
        self.look()
        if not (orders.start or orders.kill or orders.ended) and report.wait > 0:
            await self._hold(node, idle, min(report.wait, self.longest_wait))
        if orders.start or orders.kill or orders.ended:
            await self._saved()
        elif missing and self._logs.trouble is not None:
            await later(self._clock, FULL_DISK)
        return orders

    def drop(self, report: wire.Report) -> None:
        """A node has hung up while its request was held."""
        node = self._nodes.get(report.node)
        if node is not None and node.session == report.session and node.number == report.number:
            self._wake(node)

    # --- what a report says ---------------------------------------------------------------

    def _take_logs(self, report: wire.Report, orders: wire.Orders, now: float, ip: str) -> None:
        farm = self._farm
        farm.on_numbers(max((max(slot.last, slot.run) for slot in report.workers), default=0))
        for slot in report.workers:
            worker = farm.on_contact(slot.name, now, ip, report.node)
            farm.on_announce(worker, slot.affinity)
            if report.load is not None:
                worker.cpu = msgspec.json.encode(report.load.cpu).decode()
                worker.free_memory = report.load.free_memory
                worker.total_memory = report.load.total_memory
            if report.host is not None:
                worker.host = report.host.hostname
        for chunk in report.logs:
            run = farm.runs.get(chunk.run)
            if run is None or run.worker.node != report.node:
                orders.logs[chunk.run] = chunk.offset + len(chunk.data)  # nobody wants it
                continue
            have, progress, local = self._logs.append(run, chunk.offset, chunk.data)
            orders.logs[chunk.run] = have
            farm.on_progress(run, progress, local)

    def _take_ends(
        self, report: wire.Report, orders: wire.Orders, now: float, missing: set[int]
    ) -> None:
        """Take the ends, but for runs of whose log something is `missing`: they come again."""
        farm = self._farm
        for end in report.ends:
            if end.run in missing:
                continue
            run = farm.runs.get(end.run)
            if run is not None and run.worker.node == report.node:
                if end.again:
                    farm.on_give_back(run.worker, end.run, now)
                    farm.revoked.pop(end.run, None)
                else:
                    farm.on_end(run.worker, end.run, end.code, now)
            orders.ended.append(end.run)

    def _take_slots(self, report: wire.Report, orders: wire.Orders, now: float) -> list[Worker]:
        """Say what each worker should do; give those that have nothing to do."""
        farm = self._farm
        ended = {end.run for end in report.ends}
        idle: list[Worker] = []
        for slot in report.workers:
            worker = farm.workers[slot.name]
            if slot.run:
                if worker.ending is not None and worker.ending.id != slot.run:
                    farm.on_rest(worker)
                if not farm.on_seen(worker, slot.run) and slot.run not in ended:
                    orders.kill.append(slot.run)
                    farm.revoked.pop(slot.run, None)
                continue
            unseen = self._unseen(worker, slot)
            if unseen:
                orders.kill.append(unseen)
                continue
            run = farm.on_idle(worker, now, slot.last)
            if run is None and report.leaving:
                farm.on_leave(worker)
            elif run is None:
                run = farm.on_pick(worker, now)
            if run is not None:
                orders.start.append(start_order(run))
            elif not report.leaving:
                idle.append(worker)
        return idle

    @staticmethod
    def _unseen(worker: Worker, slot: wire.Slot) -> int:
        """Give the run that was taken back before its worker had it, 0 if there is none.

        Its start may still be on the way, sent with an earlier answer: the node is told once to end
        it, and only what it says after that means that it has nothing.
        """
        ending = worker.ending
        if ending is None or slot.last >= ending.id or worker.seen_run == ending.id:
            return 0
        worker.seen_run = ending.id
        return ending.id

    # --- held requests --------------------------------------------------------------------

    async def _hold(self, node: Node, idle: list[Worker], wait: float) -> None:
        held: Deferred[None] = Deferred()
        node.held = held
        node.idle = idle
        for worker in idle:
            self._waiting.setdefault(worker.lines, {})[worker.name] = worker
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
        woken: dict[str, Node] = {}
        revoked, farm.revoked = farm.revoked, {}
        for run_id, worker in revoked.items():
            node = self._nodes.get(worker.node)
            if node is not None and node.held is not None:
                node.orders.kill.append(run_id)
                woken[worker.node] = node
        now = self._clock.seconds()
        for lines in list(self._waiting):
            self._hand_out(list(self._waiting[lines].values()), now, woken)
        for node in woken.values():
            self._wake(node)

    def _hand_out(self, alike: Iterable[Worker], now: float, woken: dict[str, Node]) -> None:
        for worker in alike:
            if not worker.active or worker.run is not None:
                continue
            run = self._farm.on_pick(worker, now)
            if run is None:
                return
            node = self._nodes[worker.node]
            node.orders.start.append(start_order(run))
            woken[worker.node] = node

    def refresh(self, names: Iterable[str]) -> None:
        """Workers were edited, started or deleted: their nodes ask again."""
        for name in names:
            worker = self._farm.workers.get(name)
            for node in [self._nodes.get(worker.node)] if worker is not None else self._holding():
                if node is not None:
                    self._wake(node)

    def _holding(self) -> list[Node]:
        return [node for node in self._nodes.values() if node.held is not None]

    def release_all(self) -> None:
        """Answer every held request: the server is about to stop."""
        for node in self._holding():
            self._wake(node)


def start_order(run: Run) -> wire.Start:
    """Say what a node has to execute."""
    job = run.job
    return wire.Start(
        worker=run.worker.name,
        run=run.id,
        job=job.id,
        command=job.command,
        dir=job.dir,
        user=job.user,
        environment=job.environment,
    )
