"""Protocol 1: what the workers of Coalition 4.0 say, each for itself."""

from __future__ import annotations

import logging

from coalition import wire
from coalition.core.farm import Farm
from coalition.core.model import Worker
from coalition.server.joblog import JobLogs
from coalition.server.nodes import Nodes
from coalition.server.reports import start_order

Load = tuple[str, int, int]
"""A text such as "[12]" (percent per processor), free and total memory in MB."""

log = logging.getLogger(__name__)


class Protocol1:
    """Takes in what such workers say, each as one step.

    One with the name of a worker that speaks by protocol 2 gets nothing: as often as the two spoke
    by turns, each would lose what it runs.
    """

    def __init__(self, farm: Farm, logs: JobLogs, nodes: Nodes) -> None:
        """Bring what is said to a farm and its logs."""
        self._farm = farm
        self._logs = logs
        self._nodes = nodes
        self._turned_away = ("", "")

    def pick(self, name: str, ip: str, load: Load, now: float) -> wire.Start | None:
        """A worker wants a job. What it had is not running any more."""
        worker = self._contact(name, ip, load, now)
        if worker is None:
            return None
        if worker.run is not None:
            self._farm.on_give_back(worker, worker.run.id, now)
        run = self._farm.on_pick(worker, now)
        return None if run is None else start_order(run)

    def heartbeat(
        self, name: str, ip: str, load: Load, job: int, written: bytes, now: float
    ) -> bool:
        """A worker executes a job and sends what it wrote; False: end it."""
        worker = self._contact(name, ip, load, now)
        run = None if worker is None else worker.run
        if run is None or run.job_id != job:
            return False
        if written:
            _, progress, local = self._logs.append(run, None, written)
            self._farm.on_progress(run, progress, local)
        return True

    def end(self, name: str, ip: str, job: int, code: int, now: float) -> None:
        """A worker's job has ended; one that is not its job changes nothing."""
        worker = self._contact(name, ip, None, now)
        if worker is None:
            return
        if worker.run is not None and worker.run.job_id == job:
            self._farm.on_end(worker, worker.run.id, code, now)
        elif any(run.job_id == job for run in worker.endings.values()):
            self._farm.on_rest(worker)

    def _contact(self, name: str, ip: str, load: Load | None, now: float) -> Worker | None:
        known = self._farm.workers.get(name)
        if known is not None and known.node and self._nodes.at_work(known, now):
            self._turn_away(name, ip, known.ip)
            return None
        worker = self._farm.on_contact(name, now, ip)
        if load is not None:
            worker.cpu, worker.free_memory, worker.total_memory = load
        return worker

    def _turn_away(self, name: str, ip: str, other: str) -> None:
        if (name, ip) != self._turned_away:
            self._turned_away = (name, ip)
            log.warning("%s gives itself for worker %r, which is at work at %s", ip, name, other)
