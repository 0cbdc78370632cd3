"""The workers and their runs: picking, heartbeats, ends, silence and time limits."""

from __future__ import annotations

from heapq import heappop, heappush

from coalition.core.affinity import CALL, Line, Words, called, own_lines, parse_lines
from coalition.core.ahead import may_begin
from coalition.core.changes import Changes
from coalition.core.endings import Endings
from coalition.core.model import Job, Run, Worker
from coalition.core.ready import pick
from coalition.core.retrying import may_retry
from coalition.core.states import (
    ERROR,
    FINISHED,
    LOST,
    STOPPED,
    TERMINATED,
    TIMEOUT,
    WAITING,
    WORKING,
    RunState,
    WorkerState,
)
from coalition.errors import Refused, UnknownWorker


class Crew(Endings):
    """The part of the farm that works: who is there, and who runs what."""

    def __init__(self, changes: Changes, worker_timeout: float) -> None:
        """Start without jobs and workers; a worker silent for `worker_timeout` seconds is lost."""
        super().__init__(changes, worker_timeout)
        self.workers: dict[str, Worker] = {}
        self.runs: dict[int, Run] = {}  # those that go on
        self._deadlines: list[tuple[float, int]] = []  # heap of (time, run number)
        self._no_loss_before = 0.0  # 0: nobody counts on a longer timeout any more

    # --- workers come, speak and go ---------------------------------------------------------

    def worker(self, name: str) -> Worker:
        """Find a worker, or raise UnknownWorker."""
        worker = self.workers.get(name)
        if worker is None:
            raise UnknownWorker(f"there is no worker {name!r}", name=name)
        return worker

    def on_contact(
        self, name: str, now: float, ip: str = "", node: str = "", session: str = ""
    ) -> Worker:
        """A worker speaks: it is alive, and made known if it is new."""
        worker = self.workers.get(name)
        if worker is None:
            if not name:
                raise Refused("a worker needs a name")
            worker = self.workers[name] = Worker(name, now)
            worker.node = node
            worker.lines = parse_lines("", leased=bool(node))
            self.inherit(worker)
            self.changes.deleted_workers.pop(name, None)
            self.changes.workers[name] = worker
        worker.ping_time = now
        if worker.session != session and worker.run is not None:
            worker.seen_run = worker.run.id  # the node's life before this one may have had it
        if (worker.ip, worker.node, worker.session) != (ip, node, session):
            worker.ip, worker.node, worker.session = ip, node, session
            worker.lines = parse_lines(worker.affinity, leased=bool(node))
            self.changes.workers[name] = worker
        if worker.state in (TIMEOUT, "STARTING", TERMINATED):
            self._set_state(worker, WORKING if worker.run else WAITING)
        return worker

    def may_be_busy(self, worker: Worker, now: float) -> bool:
        """Say whether a worker may still do what it was given, although it is silent."""
        silent = now >= self._no_loss_before and now - worker.ping_time >= self.worker_timeout
        return not silent and bool(worker.run or worker.endings or worker.ahead)

    def on_announce(self, worker: Worker, affinity: str) -> None:
        """A worker says what it can do; it counts where nobody has said anything else."""
        if affinity and not worker.affinity:
            self._set_affinity(worker, affinity)

    def on_host(
        self, worker: Worker, host: str, os: str, cores: int, memory: int, version: str
    ) -> None:
        """A node says what computer it is on: `memory` in MB, `version` of its worker.py."""
        worker.tags = frozenset({CALL + worker.name, CALL + host} - {CALL})
        told = (host, os, cores, memory, version)
        if told != (worker.host, worker.os, worker.cores, worker.memory, worker.version):
            worker.host, worker.os, worker.cores, worker.memory, worker.version = told
            self.changes.workers[worker.name] = worker

    def on_leave(self, worker: Worker) -> None:
        """A worker without a run says that it is leaving: it is not a lost one.

        One that was drained stays without jobs should it come back, but need not leave again.
        """
        self.on_rest(worker)
        if worker.run is None and not worker.ahead:
            worker.draining = False
            self._set_state(worker, TERMINATED)

    def _set_state(self, worker: Worker, state: WorkerState) -> None:
        if worker.state != state:
            worker.state = state
            self.changes.workers[worker.name] = worker

    def _set_affinity(self, worker: Worker, affinity: str) -> None:
        self.return_node(worker.node)
        worker.affinity = affinity
        worker.lines = parse_lines(affinity, leased=bool(worker.node))
        self.changes.workers[worker.name] = worker

    # --- a run's life -----------------------------------------------------------------------

    def on_pick(self, worker: Worker, now: float) -> Run | None:
        """An idle worker wants a job: give it the run that it should begin, if there is one."""
        if worker.run is not None:
            raise Refused(f"worker {worker.name!r} has a job", name=worker.name)
        self.on_rest(worker)
        job = pick(self.tree.root, self._lines(worker)) if worker.active else None
        if job is None:
            return None
        run = self.new_run(job, worker, now)
        self._begin(run)
        return run

    def called(self) -> list[Words]:
        """Give the words of workers and computers that ready jobs ask for by name."""
        assert self.tree.root.group is not None
        return called(self.tree.root.group.queues)

    def _lines(self, worker: Worker) -> tuple[Line, ...]:
        wanted = any(not words.isdisjoint(worker.tags) for words in self.called())
        return own_lines(worker.lines, worker.tags) if wanted else worker.lines

    def on_begin(self, run: Run, worker: Worker, now: float, last: int = 0) -> bool:
        """A run that was handed ahead has begun on a worker; False if it must not go on.

        Then its job stays kept from others until the node says that the run is gone. What the
        worker was given itself, with a number above the `last` that it has heard of, it has not
        received: that is taken back.
        """
        given = worker.run
        if given is not None and given.id > last and worker.seen_run != given.id:
            self._take_back(given, STOPPED, now)
        if worker.run is not None or not may_begin(run):
            self.on_recall(run)
            return False
        for ending in list(worker.endings.values()):
            if ending.id <= last:
                self.on_gone(ending)
        self.on_begun(run, worker, now)
        return True

    def on_begun(self, run: Run, worker: Worker, now: float) -> None:
        """A run that was handed ahead has begun on an idle worker."""
        self.let_go(run)
        run.worker, run.start, run.state = worker, now, WORKING
        self.changes.begun_runs[run.id] = run
        self._begin(run)

    def _begin(self, run: Run) -> None:
        job, worker = run.job, run.worker
        self.tree.move(job, "pick", start=run.start, duration=0.0)
        job.worker = worker.name
        job.progress, job.local_progress = 0.0, None
        job.run = worker.run = self.runs[run.id] = run
        worker.last_job = job.id
        worker.state = WORKING
        self.changes.workers[worker.name] = worker
        if job.timeout:
            heappush(self._deadlines, (run.start + job.timeout, run.id))

    def step_aside(self, worker: Worker) -> Run | None:
        """Let a worker's earlier run be noted: give the one that it has now, for step_back()."""
        run, worker.run = worker.run, None
        return run

    def step_back(self, worker: Worker, run: Run | None) -> None:
        """The worker has the run again that it had before step_aside()."""
        if run is not None:
            worker.run = run
            worker.state = WORKING
            worker.last_job = run.job_id

    def on_seen(self, worker: Worker, run_id: int) -> bool:
        """A worker says that it executes a run: say whether it should go on."""
        run = worker.run
        if run is None or run.id != run_id:
            return False
        worker.seen_run = run_id
        return True

    def on_idle(self, worker: Worker, now: float, last: int = 0) -> Run | None:
        """A worker says that it has no run: give the one it was sent and has not received.

        Had it been heard to have that run before, then the run is lost, and its job waits again.
        So it is if its number is not above the highest that the worker ever had, `last`: the worker
        would take it for a repetition.
        """
        self.on_rest(worker)
        run = worker.run
        if run is not None and (worker.seen_run == run.id or run.id <= last):
            self._take_back(run, LOST, now)
            return None
        return run

    def on_end(
        self, worker: Worker, run_id: int, code: int, now: float, seconds: float = 0.0
    ) -> bool:
        """A run has ended with an exit code; False if it is not that worker's run any more.

        It took `seconds`, if its node has measured that: after an outage of the server it is less
        than what has passed here.
        """
        run = worker.run
        if run is None or run.id != run_id:
            return False
        job = run.job
        job.run_done += 1
        self._close(run, FINISHED if code == 0 else ERROR, now, code)
        run.duration = seconds or run.duration
        self._count_end(worker, code == 0)
        if code == 0:
            job.progress = 1.0
            self.tree.move(job, "finish", duration=run.duration)
            self.tree.set_paused(job, False)  # it was over before its node heard of the pause
        else:
            self._failed(job, run.duration)
        return True

    def on_give_back(self, worker: Worker, run_id: int, now: float) -> bool:
        """The node had to end a run itself: its job waits again, and the try does not count."""
        run = worker.run
        if run is None or run.id != run_id:
            return False
        self._take_back(run, STOPPED, now)
        self.on_gone(run)
        return True

    def on_progress(self, run: Run, progress: float | None, local: float | None) -> None:
        """A run's log told how far it is: parts of 1, None for what it did not tell."""
        job = run.job
        if run.id not in self.runs:
            return
        if progress is not None and progress != job.progress:
            job.progress = progress
            self.changes.jobs[job.id] = job
        if local is not None and local != job.local_progress:
            job.local_progress = local
            self.changes.jobs[job.id] = job

    def on_tick(self, now: float) -> None:
        """Time passes: end what took too long, and give up on workers that are silent."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= now:
            run = self.runs.get(heappop(deadlines)[1])
            if run is None or not run.job.timeout:
                continue
            due = run.start + run.job.timeout
            if due > now:
                heappush(deadlines, (due, run.id))
            else:
                self._timed_out(run, now)
        if now < self._no_loss_before:
            return
        if self._no_loss_before:
            self._no_loss_before = 0.0
            self.changes.timeout = self.worker_timeout
        for worker in self.workers.values():
            if now - worker.ping_time > self.worker_timeout and worker.state in (WAITING, WORKING):
                self._lost(worker, now)
        self.forget_deleted(now)

    def on_standstill(self, seconds: float, now: float) -> None:
        """The server itself stood still: nobody was silent in a time when nobody could be heard."""
        for worker in (*self.workers.values(), *self.deleted.values()):
            worker.ping_time = min(now, worker.ping_time + seconds)

    def on_beginning(self, now: float, last_timeout: float = 0.0) -> None:
        """The server has begun: every worker that it knows gets a full timeout to report.

        Exclusive runs count on the `last_timeout` that their nodes were told, if that was longer:
        until it is over it stays noted, or a server that is started meanwhile would not know.
        """
        self._no_loss_before = now + last_timeout if last_timeout > self.worker_timeout else 0.0
        for worker in (*self.workers.values(), *self.deleted.values()):
            worker.ping_time = now

    def watch_deadline(self, job: Job) -> None:
        """A job's time limit was edited: look at its run when that is over."""
        if job.run is not None and job.timeout:
            heappush(self._deadlines, (job.run.start + job.timeout, job.run.id))

    def _timed_out(self, run: Run, now: float) -> None:
        job = run.job
        job.run_done += 1
        self.revoke(run)
        self._close(run, ERROR, now, None)
        self._count_end(run.worker, False)
        self._failed(job, run.duration)

    def _lost(self, worker: Worker, now: float) -> None:
        if worker.run is not None:
            self._take_back(worker.run, LOST, now)
        self.rest_all(worker)
        worker.error += 1
        self._set_state(worker, TIMEOUT)

    def _failed(self, job: Job, duration: float) -> None:
        if may_retry(job.run_done, job.retry):
            self.tree.requeue(job, "give back")
        else:
            self.tree.move(job, "fail", duration=duration)

    def _count_end(self, worker: Worker, good: bool) -> None:
        if good:
            worker.finished += 1
        else:
            worker.error += 1
        worker.state = WAITING
        self.changes.workers[worker.name] = worker

    def _close(self, run: Run, state: RunState, now: float, code: int | None) -> None:
        """End the run itself; what becomes of its job is the caller's."""
        run.state = state
        run.duration = max(0.0, now - run.start)
        run.code = code
        del self.runs[run.id]
        run.job.run = run.worker.run = None
        self.changes.finished_runs[run.id] = run

    def _take_back(self, run: Run, state: RunState, now: float) -> None:
        """End a run in a way that does not count as a try: its job waits again."""
        worker = run.worker
        if state == STOPPED:
            self.revoke(run)
        self._close(run, state, now, None)
        self._set_state(worker, WAITING)
        self.tree.requeue(run.job, "give back")

    # --- orders about workers ---------------------------------------------------------------

    def on_edit_workers(self, edits: dict[str, dict[str, object]], now: float) -> None:
        """Set `affinity` (lines) or `active` of workers by name."""
        workers = {name: self.worker(name) for name in edits}
        for name, edit in edits.items():
            if "affinity" in edit:
                self._set_affinity(workers[name], str(edit["affinity"]))
            if "active" in edit:
                self._set_active(workers[name], bool(edit["active"]), now)

    def on_start_workers(self, names: list[str], now: float) -> None:
        """Let workers take jobs again."""
        for worker in self._known(names):
            self._set_active(worker, True, now)

    def on_pause_workers(self, names: list[str], now: float) -> None:
        """Let workers take no more jobs; what they run goes on."""
        for worker in self._known(names):
            self._note_active(worker, False)

    def on_drain_workers(self, names: list[str], now: float) -> None:
        """Let workers take no more jobs, and leave when what they run is done."""
        for worker in self._known(names):
            self._note_active(worker, False, draining=True)

    def on_stop_workers(self, names: list[str], now: float) -> None:
        """Let workers take no more jobs, and end what they run; these tries do not count."""
        for worker in self._known(names):
            self._set_active(worker, False, now)

    def _known(self, names: list[str]) -> list[Worker]:
        return [self.worker(name) for name in dict.fromkeys(names)]

    def _set_active(self, worker: Worker, active: bool, now: float) -> None:
        self._note_active(worker, active)
        if not active:
            self.recall_node(worker.node)
            if worker.run is not None:
                self._take_back(worker.run, STOPPED, now)

    def _note_active(self, worker: Worker, active: bool, *, draining: bool = False) -> None:
        if (worker.active, worker.draining) != (active, draining):
            worker.active, worker.draining = active, draining
            self.return_node(worker.node)
            self.changes.workers[worker.name] = worker

    def on_delete_workers(self, names: list[str], now: float) -> None:
        """Forget workers; what they run is given back, and free once it is ended."""
        for worker in self._known(names):
            if worker.run is not None:
                self._take_back(worker.run, STOPPED, now)
            self.part(worker)
            if self.workers.pop(worker.name, None):
                self.changes.workers.pop(worker.name, None)
                self.changes.deleted_workers[worker.name] = None
