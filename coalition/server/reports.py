"""What a report of a node says, brought into the farm, and what follows from it for the node."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from coalition import wire
from coalition.core.ahead import may_count
from coalition.core.farm import Farm
from coalition.core.model import Run, Worker
from coalition.server.joblog import JobLogs

CLOCK_SET = 86400.0
"""Seconds that a run may have taken beyond what has passed here: between two lives of the server
somebody may have set the computer's clock."""

Chunks = dict[int, list[wire.Chunk]]
"""Pieces of logs by run."""

Told = tuple[float | None, float | None]
"""Progress and local progress, where a log has told them."""


class Taken(NamedTuple):
    """What a report tells of the node's workers."""

    idle: list[Worker]
    """Those that have nothing to do."""
    given_back: bool
    """Something that was handed ahead has waited there for too long."""


class Reports:
    """Takes in reports, each as one step: nothing else happens in the middle of one."""

    def __init__(self, farm: Farm, logs: JobLogs) -> None:
        """Bring what is said to a farm and its logs."""
        self._farm = farm
        self._logs = logs

    def take(
        self,
        report: wire.Report,
        host: wire.Host | None,
        orders: wire.Orders,
        now: float,
        ip: str,
    ) -> Taken:
        """Take in a report of a node on `host`.

        Runs go by their order on the node: what was handed ahead begins before its log and its end
        count, and after the end of the run that its worker had before.
        """
        self._greet(report, host, now, ip)
        self._logs.try_again()
        chunks: Chunks = {}
        for chunk in report.logs:
            chunks.setdefault(chunk.run, []).append(chunk)
        # Behind an end that cannot be taken yet, all that its worker did later has to wait, too.
        stalled: set[str] = set()
        for end in report.ends:
            if end.worker in stalled or not self._take_end(report, end, chunks, orders, now):
                stalled.add(end.worker)
                chunks.pop(end.run, None)
        workers = [slot for slot in report.workers if slot.name not in stalled]
        for slot in workers:
            handed = self._farm.ahead.get(slot.run)
            if handed is not None and handed.worker.node == report.node:
                self._farm.on_begin(handed, self._farm.workers[slot.name], now, slot.last)
        for run_id, pieces in chunks.items():
            self._take_log(run_id, pieces, report.node, orders)
        given_back = self._look_at_ahead(report, stalled, orders)
        idle = self._take_slots(report, workers, orders, now)
        # To say it once more would be an answer at once, each time until they are gone.
        orders.kill = [run for run in orders.kill if run not in report.ending]
        return Taken(idle, given_back)

    def _greet(self, report: wire.Report, host: wire.Host | None, now: float, ip: str) -> None:
        farm = self._farm
        highest = max((max(slot.last, slot.run) for slot in report.workers), default=0)
        farm.on_numbers(max(highest, report.last))
        load = report.load
        for slot in report.workers:
            worker = farm.on_contact(slot.name, now, ip, report.node, report.session)
            farm.on_announce(worker, slot.affinity)
            if load is not None:
                worker.cpu = msgspec.json.encode(load.cpu).decode()
                worker.free_memory = load.free_memory
                worker.total_memory = load.total_memory
            if host is not None and (report.host is not None or not worker.version):
                farm.on_host(worker, host.hostname, host.os, host.cores, host.memory, host.version)

    # --- runs -----------------------------------------------------------------------------

    def _take_end(
        self, report: wire.Report, end: wire.End, chunks: Chunks, orders: wire.Orders, now: float
    ) -> bool:
        """Take an end, but not of a run of whose log something is missing: it comes again."""
        farm = self._farm
        handed, worker = farm.ahead.get(end.run), farm.workers.get(end.worker)
        if handed is not None and handed.worker.node == report.node:
            if self._logs.trouble is not None:
                return False
            if worker is None or worker.node != report.node:
                farm.on_release(handed)
            elif not self._take_unasked(handed, worker, end, chunks, orders, now):
                return False
        elif not self._take_log(end.run, chunks.pop(end.run, []), report.node, orders):
            return False
        run = farm.runs.get(end.run)
        if run is not None and run.worker.node == report.node:
            if not self._has_all(run, end, orders):
                return False
            self._note_end(run, end, now)
        orders.ended.append(end.run)
        return True

    def _take_unasked(
        self,
        run: Run,
        worker: Worker,
        end: wire.End,
        chunks: Chunks,
        orders: wire.Orders,
        now: float,
    ) -> bool:
        """Take the log, the beginning and the end of a run that was handed ahead, all or none.

        Its worker may have another by now, or have been given one that it has not received, and
        cannot have both: so if something of the log is missing, the run has not begun here yet.
        """
        farm = self._farm
        if not may_count(run):
            farm.on_release(run)  # it is over all the same
            return True
        # Not 0, whatever its node says: that is the start of what has not begun.
        farm.on_place(run, worker, max(run.start, _ended(end, now) - end.seconds, 1.0))
        whole, told = self._keep(run, chunks.pop(run.id, []), orders)
        whole = whole and self._has_all(run, end, orders)
        if whole:
            other = farm.step_aside(worker)
            farm.on_begun(run, worker, run.start)
            self._note_progress(run, told)
            self._note_end(run, end, now)
            farm.step_back(worker, other)
        return whole

    def _note_end(self, run: Run, end: wire.End, now: float) -> None:
        ended = max(run.start, _ended(end, now))
        seconds = min(end.seconds, max(0.0, now - run.start) + CLOCK_SET)
        if end.again:
            self._farm.on_give_back(run.worker, end.run, ended)
            self._farm.revoked.pop(end.run, None)
        else:
            self._farm.on_end(run.worker, end.run, end.code, ended, seconds)

    def _take_log(
        self, run_id: int, pieces: list[wire.Chunk], node: str, orders: wire.Orders
    ) -> bool:
        """Take pieces of a run's log; say whether all that they hold has arrived."""
        run, handed = self._farm.runs.get(run_id), self._farm.ahead.get(run_id)
        if handed is not None and handed.worker.node == node:
            orders.logs[run_id] = 0  # it has begun, and its turn to be told has not come
            return False
        if run is None or run.worker.node != node:
            for piece in pieces:
                orders.logs[run_id] = piece.end  # nobody wants it
            return True
        whole, told = self._keep(run, pieces, orders)
        self._note_progress(run, told)
        return whole

    def _keep(
        self, run: Run, pieces: list[wire.Chunk], orders: wire.Orders
    ) -> tuple[bool, list[Told]]:
        """Write pieces of a run's log; say whether all of it has arrived, and what progress."""
        whole, told = True, []
        for piece in pieces:
            have, progress, local = self._logs.append(run, piece.offset, piece.data)
            orders.logs[run.id] = have
            whole = have >= piece.end
            told.append((progress, local))
        return whole, told

    def _has_all(self, run: Run, end: wire.End, orders: wire.Orders) -> bool:
        """Say whether all of the log of a run that is over has arrived; ask for what has not."""
        if not end.size or orders.logs.get(run.id, 0) >= end.size:
            return True
        have = self._logs.size(run)
        if have is None:
            return False
        orders.logs[run.id] = have
        return have >= end.size

    def _note_progress(self, run: Run, told: list[Told]) -> None:
        for progress, local in told:
            self._farm.on_progress(run, progress, local)

    def _look_at_ahead(self, report: wire.Report, stalled: set[str], orders: wire.Orders) -> bool:
        """Compare what was handed ahead to a node with what it says that it has of it.

        What it does not have has a number that it knows of, and is free; or its start was lost or
        is still on the way, and is sent once more. What it should not have, it is to end. Say
        whether it has given something back that it might have begun.
        """
        farm, given_back = self._farm, False
        held = set(report.ahead)
        busy = {slot.run for slot in report.workers}
        busy |= {end.run for end in report.ends if end.worker in stalled}
        workers = [farm.workers[slot.name] for slot in report.workers]
        for worker in workers:
            for run in list(worker.ahead.values()):
                if run.id in busy:
                    continue  # it was not to begin: it is ended like a run that nobody knows
                here = run.id in held
                held.discard(run.id)
                if not here and (run.id <= report.last or report.leaving):
                    given_back = given_back or not (run.recalled or run.returning)
                    farm.on_release(run)
                elif run.recalled or (run.returning and not here):
                    orders.kill.append(run.id)
                elif run.returning:
                    orders.drop.append(run.id)
                elif not here:
                    orders.ahead.append(wire.Ahead(alike(workers, worker), [start_order(run)]))
        orders.kill += [number for number in held if not self._is_its_own(number, report.node)]
        return given_back

    def _is_its_own(self, number: int, node: str) -> bool:
        """Say whether a run is a node's, whose turn to be told has only not come."""
        run = self._farm.runs.get(number)
        return run is not None and run.worker.node == node

    # --- workers ---------------------------------------------------------------------------

    def _take_slots(
        self, report: wire.Report, slots: list[wire.Slot], orders: wire.Orders, now: float
    ) -> list[Worker]:
        """Say what each worker should do; give those that have nothing to do."""
        ended = {end.run for end in report.ends}
        idle: list[Worker] = []
        for slot in slots:
            worker = self._farm.workers[slot.name]
            unseen = self._take_endings(report, worker, slot, orders)
            if slot.run:
                self._take_busy(worker, slot.run, slot.run in ended, orders)
            elif unseen:
                continue
            elif run := self._take_idle(worker, slot, report, now):
                orders.start.append(start_order(run))
            elif not report.leaving and not slot.resting:
                idle.append(worker)
        return idle

    def _take_endings(
        self, report: wire.Report, worker: Worker, slot: wire.Slot, orders: wire.Orders
    ) -> bool:
        """Note which runs that were taken back are gone; say whether the node may not know of one.

        The start of such a one may still be on the way, sent with an earlier answer: the node is
        told to end it until it says that it will not begin it. One that stands behind another, of
        which the node shows that it is the worker's, is not gone either.
        """
        unseen = False
        for run in list(worker.endings.values()):
            known = run.id <= max(slot.last, slot.run) or worker.seen_run == run.id
            if not known and run.id not in report.unknown:
                unseen = True
                orders.kill.append(run.id)
            elif slot.run != run.id and not (run.id in report.ahead or run.id in report.ending):
                self._farm.on_gone(run)
        return unseen

    def _take_busy(self, worker: Worker, run_id: int, ended: bool, orders: wire.Orders) -> None:
        farm = self._farm
        if not farm.on_seen(worker, run_id) and not ended:
            orders.kill.append(run_id)
            farm.revoked.pop(run_id, None)

    def _take_idle(
        self, worker: Worker, slot: wire.Slot, report: wire.Report, now: float
    ) -> Run | None:
        farm = self._farm
        run = farm.on_idle(worker, now, slot.last)
        if run is None and report.leaving:
            farm.on_leave(worker)
        elif run is None and not slot.resting:
            run = farm.on_pick(worker, now)
        return run


def _ended(end: wire.End, now: float) -> float:
    """Give when a run was over by itself; what it had left was ended later."""
    return now - end.ago - end.clearing


def alike(workers: list[Worker], worker: Worker) -> list[str]:
    """Give the names of those of a node's workers that may run what this one of them may."""
    return [one.name for one in workers if one.active and one.lines == worker.lines]


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
        exclusive=job.exclusive,
        scratch=job.scratch,
    )
