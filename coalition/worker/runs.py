"""The runs of a node, for real: their processes, their output and what the outbox keeps of them."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from twisted.internet.defer import Deferred, gatherResults

from coalition import wire
from coalition.worker.actions import Action, Begin, EndTree, Forget, Save
from coalition.worker.command import CommandError, Mark, prepare
from coalition.worker.machine import Machine
from coalition.worker.outbox import Outbox, Record
from coalition.worker.process import NOT_STARTED, Process, Processes
from coalition.worker.reactor import Reactor, in_background, in_thread
from coalition.worker.shortage import Shortage

log = logging.getLogger(__name__)


class Runs:
    """Carries out the machine's actions and tells the machine what came of them."""

    def __init__(
        self,
        reactor: Reactor,
        machine: Machine,
        outbox: Outbox,
        processes: Processes,
        *,
        server: str,
        environ: Mapping[str, str],
        runcommand: str,
    ) -> None:
        """Have none; `server` is the URL that jobs are told, `environ` the worker's environment."""
        self.changed: Callable[[], None] = lambda: None
        self._reactor = reactor
        self._machine = machine
        self._outbox = outbox
        self._processes = processes
        self._server = server
        self._environ = environ
        self._runcommand = runcommand
        self._records: dict[int, Record] = {}
        self._running: dict[int, Process] = {}
        self._unsaved: list[Record] = []
        self._saving: set[int] = set()
        self._forgotten: set[int] = set()

    def do(self, actions: Iterable[Action]) -> None:
        """Carry out actions, in order, each whatever became of the one before."""
        for action in actions:
            try:
                self._carry_out(action)
            except Exception:
                # The machine takes them all for done and will not ask again.
                log.exception("not done: %s", action)

    def _carry_out(self, action: Action) -> None:
        match action:
            case Begin(start):
                self._begin(start)
            case EndTree(run):
                if run in self._running:
                    self._processes.end(self._running[run])
            case Save(end):
                self._save(end)
            case Forget(run):
                self._forget(run)

    async def recover(self) -> None:
        """Take over what an earlier life of this node left in the outbox.

        A command that still runs is ended: nobody has read its output, nobody would see it end.
        """
        records = self._outbox.records()
        await gatherResults(
            [Deferred.fromCoroutine(self._end_leftover(record)) for record in records],
            consumeErrors=True,
        )
        for record in records:
            end = wire.End(record.run, record.code or 0, record.again)
            self._records[record.run] = record
            self._machine.on_recovered(
                record.run, record.worker, self._outbox.size(record.run), end
            )

    async def _end_leftover(self, record: Record) -> None:
        if record.code is not None:
            return
        mark = Mark(record.run, record.worker, record.server)
        await self._processes.end_leftover(record.pid, record.started, mark)
        self._outbox.say(
            record.run, "The worker was cut off while this ran. What was left of it was ended."
        )
        self._outbox.ended(record.run)
        record.code = -signal.SIGTERM
        record.again = True
        await self._keep_ends([record])
        log.warning("run %d was cut off and is to be done again", record.run)

    # --- a run begins ------------------------------------------------------------------------

    def _begin(self, start: wire.Start) -> None:
        mark = Mark(start.run, start.worker, self._server)
        record = Record(start.run, start.job, start.worker, self._server)
        self._records[start.run] = record
        try:
            self._outbox.put(record)
            process = self._start(start, mark)
        except CommandError as error:
            self._fail(start.run, error, error.exit_code)
            return
        except (Shortage, OSError) as error:
            self._give_back(start.run, error)
            return
        except Exception as error:
            # Not given back: with a mistake of ours that it brings to light, it would go round for
            # ever.
            log.exception("run %d cannot be started", start.run)
            self._fail(start.run, error, NOT_STARTED)
            return
        log.info("run %d on %s begins: job %d", start.run, start.worker, start.job)
        record.pid, record.started = process.pid, process.tree.started
        self._keep(record)
        self._running[start.run] = process
        in_background(self._finish(start.run, process))

    def _fail(self, run: int, error: Exception, code: int) -> None:
        self._say(run, f"ERROR: {error}")
        self._ended(run, code)

    def _give_back(self, run: int, error: Exception) -> None:
        """Refuse a run that the job has no part in: as an error it would empty the queue."""
        log.error("run %d is given back: %s", run, error)
        self._say(run, f"WARNING: {error}. The job waits for another try.")
        self._outbox.ended(run)
        self.do(self._machine.on_refused(run, self._reactor.seconds()))
        self.changed()

    def _start(self, start: wire.Start, mark: Mark) -> Process:
        command = prepare(start, mark, self._environ, self._runcommand)
        for remark in command.remarks:
            self._say(start.run, f"WARNING: {remark}")
        return self._processes.start(command, mark, partial(self._on_output, start.run))

    def _keep(self, record: Record) -> None:
        try:
            self._outbox.put(record)
        except OSError as error:
            # It runs already: only after a crash of this node would the record be missed.
            log.error("run %d is not in the outbox: %s", record.run, error)

    def _say(self, run: int, text: str) -> None:
        self._machine.on_output(run, self._outbox.say(run, text))

    def _on_output(self, run: int, output: bytes) -> None:
        self._machine.on_output(run, self._outbox.append(run, output))
        self.changed()

    # --- a run ends --------------------------------------------------------------------------

    async def _finish(self, run: int, process: Process) -> None:
        try:
            code = await self._processes.finish(process)
        except Exception:
            # A worker that waits for ever for a lost run is worse than a run without its code.
            log.exception("run %d: its end was not seen", run)
            code = -signal.SIGTERM
        del self._running[run]
        self._ended(run, code)

    def _ended(self, run: int, code: int) -> None:
        log.info("run %d ends with %d", run, code)
        self._outbox.ended(run)
        self.do(self._machine.on_exit(run, code, self._reactor.seconds()))
        self.changed()

    def _save(self, end: wire.End) -> None:
        record = self._records[end.run]
        record.code, record.again = end.code, end.again
        self._unsaved.append(record)
        if not self._saving:
            in_background(self._save_all())

    async def _save_all(self) -> None:
        """Save in batches: what ends while the disk is busy shares the next wait for it."""
        while self._unsaved:
            batch, self._unsaved = self._unsaved, []
            self._saving = {record.run for record in batch}
            await self._keep_ends(batch)
            saved, self._saving = self._saving, set()
            for run in saved:
                if run in self._forgotten:
                    self._forget(run)
                else:
                    self._machine.on_saved(run)
            self.changed()

    async def _keep_ends(self, records: list[Record]) -> None:
        try:
            await in_thread(self._reactor, self._outbox.put_ends, records)
        except Exception as error:
            # Reported all the same: what is known only in memory is better than nothing. It may be
            # more than an OSError: a system out of processes starts no thread either.
            log.error("%d ended runs are not in the outbox: %s", len(records), error)

    def _forget(self, run: int) -> None:
        if run in self._saving:
            self._forgotten.add(run)
            return
        self._forgotten.discard(run)
        self._unsaved = [record for record in self._unsaved if record.run != run]
        self._records.pop(run, None)
        self._outbox.forget(run)
