"""Runs that were taken from their workers: it takes a moment until their processes are dead.

Until the worker says so, or is silent for too long, nobody else gets the job: two of its processes
would write the same files. That outlasts the server, and the worker's being deleted.
"""

from __future__ import annotations

from coalition.core.ahead import Ahead
from coalition.core.changes import Changes
from coalition.core.model import Run, Worker
from coalition.core.ready import settle
from coalition.core.states import RESERVED


class Endings(Ahead):
    """The part of the farm that is being ended."""

    def __init__(self, changes: Changes, worker_timeout: float) -> None:
        """Start with nothing; a worker silent for `worker_timeout` seconds is lost."""
        super().__init__(changes)
        self.worker_timeout = worker_timeout
        self.deleted: dict[str, Worker] = {}
        """Workers that were deleted, which may still have something to end."""

    def revoke(self, run: Run) -> None:
        """Have a worker end a run, and keep its job from others until that is done."""
        self.revoked[run.id] = run.worker
        run.worker.endings[run.id] = run.job.claim = run
        self.changes.endings[run.id] = run

    def on_gone(self, run: Run) -> None:
        """Nothing is left of a run that was taken from its worker: its job may go to another."""
        del run.worker.endings[run.id]
        self.changes.endings[run.id] = None
        job = run.job
        job.claim = None
        if job.id in self.tree.jobs and job.group is None:
            settle(job)

    def on_rest(self, worker: Worker) -> None:
        """Nothing is left of what was taken from a worker."""
        for run in list(worker.endings.values()):
            self.on_gone(run)

    def drop_claim(self, claim: Run) -> None:
        """Let go of a run that keeps a job from others; its node is told to end it."""
        if claim.state == RESERVED:
            self.revoked[claim.id] = claim.worker
            self.on_release(claim)
        else:
            self.on_gone(claim)

    def rest_all(self, worker: Worker) -> None:
        """Nobody waits any more for the word of a worker, on what it had or was handed ahead."""
        self.on_rest(worker)
        for run in list(worker.ahead.values()):
            self.drop_claim(run)

    # --- workers that were deleted ------------------------------------------------------------

    def part(self, worker: Worker) -> None:
        """Keep a worker that is being deleted, until it has ended what it may still have."""
        if worker.name in self.deleted:
            self.rest_all(self.deleted.pop(worker.name))  # of another node
        for run in worker.ahead.values():
            self.on_recall(run)
            self.changes.endings[run.id] = run  # it says of which node the worker was
        if worker.endings or worker.ahead:
            self.deleted[worker.name] = worker

    def inherit(self, worker: Worker) -> None:
        """A worker is new, or has come back after it was deleted: it ends what is left of that."""
        before = self.deleted.get(worker.name)
        if before is None or before.node not in ("", worker.node):
            return
        del self.deleted[worker.name]
        worker.seen_run, worker.endings, worker.ahead = (
            before.seen_run, before.endings, before.ahead,
        )  # fmt: skip
        for run in (*worker.endings.values(), *worker.ahead.values()):
            run.worker = worker

    def forget_deleted(self, now: float) -> None:
        """Give up on deleted workers that have been silent for too long, or have no more to end."""
        for name, worker in list(self.deleted.items()):
            if now - worker.ping_time > self.worker_timeout:
                self.rest_all(worker)
            if not worker.endings and not worker.ahead:
                del self.deleted[name]
