"""The runs of a node, for real: their processes, their output and what the outbox keeps of them."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterable, Mapping

from twisted.internet.base import DelayedCall

from coalition import wire
from coalition.worker.command.arrivals import Arrivals
from coalition.worker.command.command import NOT_STARTED, Command, CommandError, Mark, Way, prepare
from coalition.worker.command.lookup import Owners
from coalition.worker.command.owner import Owner, UnfitUser
from coalition.worker.command.scratch import Scratch
from coalition.worker.node.actions import Action, Begin, Drop, EndTree, Extend, Forget, Save
from coalition.worker.node.machine import Machine
from coalition.worker.outbox.outbox import Outbox, Record
from coalition.worker.process import Exit, Processes, boottime
from coalition.worker.process.tree import Trace
from coalition.worker.reactor import Reactor, in_background, in_thread
from coalition.worker.shortage import Shortage

LAPSED = (
    "The server was out of reach for too long: this exclusive run was ended, for another node may "
    "begin it again."
)

BEYOND = (
    "this node cannot surely end what runs as another user, so no exclusive job may run here; the "
    "log of its worker.py says what helps"
)

CUT_OFF = "The worker was cut off while this ran."
ENDED = "What was left of it was ended."

KILLED = -9
"""Exit code of a run that was killed with its keeper: that of SIGKILL, which Windows has no name
for."""

KEEPER_KILLED = (
    "ERROR: The worker's keeper was killed while this ran, and what was left of it was ended. The "
    "command may have killed that itself, or have taken all of the memory. The last of its output "
    "may be missing."
)

SAVE_AGAIN = 5.0
"""Seconds until ends that the disk did not take are given to it again: it is seldom emptied
sooner."""

SHORT = 1.0
"""Seconds of a run that is not worth a line in the node's own log, if all went well."""

log = logging.getLogger(__name__)


class Runs:
    """Carries out the machine's actions and tells the machine what came of them."""

    def __init__(
        self,
        reactor: Reactor,
        machine: Machine,
        outbox: Outbox,
        scratch: Scratch,
        *,
        server: str,
        environ: Mapping[str, str],
        way: Way,
        owners: Owners,
        mark: str,
    ) -> None:
        """Have none; `server` is the URL that jobs are told, `environ` the worker's environment.

        `mark` is this node's alone on this computer, in this and in other lives.
        """
        self.changed: Callable[[], None] = lambda: None
        self.maxlog = wire.MAXLOG
        self._reactor = reactor
        self._machine = machine
        self._outbox = outbox
        self._scratch = scratch
        self._processes = Processes(reactor, self, environ, mark)
        self._server = server
        self._environ = environ
        self._way = way
        self._names_user = way.names_user
        self._arrivals = Arrivals(
            owners, begin=self._start, refuse=self._refuse, on_turn=self._on_arrivals
        )
        self._folders: dict[int, str] = {}
        self._held: set[int] = set()
        self._unsaved: list[int] = []
        self._soon = False  # one of them is to be told at once
        self._save_timer: DelayedCall | None = None
        self._saving = False
        self._unkept: str | None = None  # why the disk has not taken all of them
        self._again: DelayedCall | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing runs, and all that has ended is safe on the disk."""
        return not (self._folders or self._unsaved or self._saving or self._unkept is not None)

    def do(self, actions: Iterable[Action]) -> None:
        """Carry out actions, in order, each whatever became of the one before."""
        self._do(actions)
        self._outbox.flush()  # what a run is must be on record before it is begun
        self._processes.send()
        self._save_soon()

    def _do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            try:
                self._carry_out(action)
            except Exception:
                # The machine takes them all for done and will not ask again.
                log.exception("not done: %s", action)

    def _carry_out(self, action: Action) -> None:
        match action:
            case Begin(start, lease):
                self._begin(start, lease)
            case Save(run, code, again, seconds, soon):
                self._save(run, code, again=again, seconds=seconds, soon=soon)
            case Forget(run):
                self._outbox.forget(run)
            case EndTree(run) | Drop(run) if self._arrivals.drop(run):
                self.on_dropped(run)
            case EndTree(run):
                self._processes.end(run)
            case Drop(run):
                self._processes.drop(run)
            case Extend(lease):
                deadline = self._boottime(lease)
                self._arrivals.lease(deadline)
                self._processes.lease(deadline)

    def _boottime(self, at: float) -> float:
        """Return a time of the machine's clock by the one that the keepers look at."""
        return boottime() + at - self._reactor.seconds()

    # --- an earlier life ---------------------------------------------------------------------

    async def recover(self, others: Iterable[Outbox] = (), *, copied: bool = False) -> None:
        """Take over what an earlier life of this node left in the outbox.

        A command that still runs is ended: nobody has read its output, nobody would see it end.
        Those in the outboxes of `others`, for other servers, are ended too, and stay there. Where
        the folder is `copied` they may be at work for the first one's node, and are left.
        """
        records = self._outbox.records()
        cut_off = [
            (outbox, record)
            for outbox in [self._outbox, *others]
            for record in outbox.records()
            if record.code is None
        ]
        told: list[list[str]] = [[] for _ in cut_off]
        if not copied:
            remarks = await self._processes.end_leftovers([_trace(record) for _, record in cut_off])
            told = [[ENDED, *(f"WARNING: {remark}" for remark in left)] for left in remarks]
        for (outbox, record), lines in zip(cut_off, told, strict=True):
            self._note_cut_off(outbox, record, lines)
        await self._keep_ends()
        for record in records:
            size = self._outbox.size(record.run)
            ago = max(0.0, time.time() - record.ended_at)
            self._machine.on_recovered(
                record.run,
                record.worker,
                size,
                record.code or 0,
                again=record.again,
                ended_at=self._reactor.seconds() - ago,
            )

    def _note_cut_off(self, outbox: Outbox, record: Record, lines: list[str]) -> None:
        for line in [CUT_OFF, *lines]:
            outbox.say(record.run, line)
        record.code, record.again, record.ended_at = -signal.SIGTERM, True, time.time()
        outbox.end(record.run, record.code, True, 0.0, record.ended_at)
        log.warning("run %d was cut off and is to be done again", record.run)

    async def prepare(self) -> None:
        """Get ready to start commands at once."""
        await self._processes.prepare(self._machine.workers)

    async def close(self) -> None:
        """End whatever still runs."""
        await self._processes.close()
        for timer in (self._again, self._save_timer):
            if timer is not None:
                timer.cancel()
        self._again = self._save_timer = None

    # --- a run begins ------------------------------------------------------------------------

    def _begin(self, start: wire.Start, lease: float | None) -> None:
        self._outbox.begin(Record(start.run, start.job, start.worker, self._server), self.maxlog)
        until = None if lease is None else self._boottime(lease)
        if until is not None and self._way.beyond:
            self.on_failed(start.run, CommandError(BEYOND, NOT_STARTED))
        elif self._names_user:
            self._arrivals.add(start, until)
        else:
            self._start(start, until, None)

    def _start(self, start: wire.Start, until: float | None, owner: Owner | None) -> None:
        try:
            command = self._command(start, owner)
        except OSError as error:
            self.on_failed(start.run, Shortage(f"there is no scratch directory: {error}"))
        except Exception as error:
            self._refuse(start.run, error)
        else:
            self._processes.start(start.worker, start.run, command, until)

    def _refuse(self, run: int, error: BaseException) -> None:
        if isinstance(error, UnfitUser):
            error = CommandError(str(error), NOT_STARTED)
        if not isinstance(error, CommandError | Shortage):
            # Not given back: with a mistake of ours that it brings to light, it would go round for
            # ever.
            log.error("run %d cannot be started", run, exc_info=error)
            error = CommandError(str(error), NOT_STARTED)
        self.on_failed(run, error)

    def _on_arrivals(self) -> None:
        self.on_turn()
        self._processes.send()

    def _command(self, start: wire.Start, owner: Owner | None) -> Command:
        mark = Mark(start.run, start.worker, self._server)
        folder = self._folders[start.run] = self._scratch.make(start.run, owner)
        command = prepare(start, mark, self._environ, self._way, folder, owner)
        for remark in command.remarks:
            self._say(start.run, f"WARNING: {remark}")
        return command

    def _say(self, run: int, text: str) -> None:
        self._machine.on_output(run, self._outbox.say(run, text))

    # --- what becomes of it, told by the processes --------------------------------------------

    def on_began(self, run: int, pid: int, started: float) -> None:
        """Note the first process of a run that is not over at once."""
        log.info("run %d has process %d", run, pid)
        self._outbox.running(run, pid, started)
        self._machine.on_began(run)

    def on_output(self, run: int, output: bytes) -> None:
        """Keep what a run has written; hold its command up if the server cannot follow."""
        self._machine.on_output(run, self._outbox.append(run, output))
        if self._outbox.is_behind(run) and not self._machine.talk.away:
            self._held.add(run)
            self._machine.talk.held_up = True
            self._processes.hold(run)

    def on_acknowledged(self, logs: Mapping[int, int]) -> None:
        """Forget what the server has, and let commands write again that were held up."""
        for run, upto in logs.items():
            self._outbox.acknowledged(run, upto)
        self.let_go()

    def let_go(self) -> None:
        """Let commands write on that were held up; all of them while no server is there."""
        for run in list(self._held):
            if self._machine.talk.away or self._outbox.has_caught_up(run):
                self._held.discard(run)
                self._processes.go(run)
        self._machine.talk.held_up = bool(self._held)

    def on_ended(self, run: int, exit: Exit) -> None:
        """Note a run's end."""
        if not exit.by_order:
            self._machine.on_over(run)
        for remark in exit.remarks:
            self._say(run, f"WARNING: {remark}")
        if exit.lapsed:
            self._say(run, LAPSED)
            self._machine.on_again(run)
        if exit.code or exit.seconds > SHORT:
            log.info("run %d ends with %d after %.1f s", run, exit.code, exit.seconds)
        self._ended(run, exit.code, exit.seconds, exit.clearing)

    def on_failed(self, run: int, error: CommandError | Shortage) -> None:
        """Note that a run cannot be started.

        What the job has no part in gives it back: as an error it would empty the queue.
        """
        if isinstance(error, CommandError):
            self._say(run, f"ERROR: {error}")
            self._ended(run, error.exit_code)
            return
        log.error("run %d is given back: %s", run, error)
        self._clean_up(run)
        self._say(run, f"WARNING: {error}. The job waits for another try.")
        self._do(self._machine.on_refused(run, self._reactor.seconds()))

    def on_dropped(self, run: int) -> None:
        """Note that a run was not begun."""
        self._clean_up(run)
        self._do(self._machine.on_dropped(run, self._reactor.seconds()))

    def on_lost(self, run: int) -> None:
        """Note that what a run had was ended together with its keeper."""
        self._clean_up(run)
        self._say(run, "WARNING: The worker's keeper was killed. The job waits for another try.")
        # After a pause: it may be the job that kills it.
        self._do(self._machine.on_refused(run, self._reactor.seconds()))

    def on_killed(self, run: int, remarks: list[str]) -> None:
        """Note that a run was ended together with its keeper, which it may have killed itself.

        A failed try: given back, a job that always does so would go round for ever.
        """
        self._clean_up(run)
        self._say(run, KEEPER_KILLED)
        for remark in remarks:
            self._say(run, f"WARNING: {remark}")
        log.info("run %d ends with %d, as its keeper was killed", run, KILLED)
        self._do(self._machine.on_killed(run, KILLED, self._reactor.seconds()))

    def on_turn(self) -> None:
        """Look, once for all that was told at the same time, at what follows from it."""
        self._outbox.flush()
        self._save_soon()
        self.changed()

    def _ended(self, run: int, code: int, seconds: float = 0.0, clearing: float = 0.0) -> None:
        self._clean_up(run)
        self._do(self._machine.on_exit(run, code, self._reactor.seconds(), seconds, clearing))

    def _clean_up(self, run: int) -> None:
        folder = self._folders.pop(run, None)
        if folder is not None:
            self._scratch.remove(folder)
        self._held.discard(run)
        self._machine.talk.held_up = bool(self._held)

    # --- ends are made durable ---------------------------------------------------------------

    def _save(self, run: int, code: int, *, again: bool, seconds: float, soon: bool) -> None:
        self._machine.on_output(run, self._outbox.end(run, code, again, seconds, time.time()))
        self._unsaved.append(run)
        self._soon = self._soon or soon

    def _save_soon(self) -> None:
        """Save what has ended: at once if a worker waits for more, else when it is to be told."""
        if not self._unsaved or self._saving:
            return
        if self._save_timer is not None:
            if not self._soon:
                return
            self._save_timer.cancel()
        wait = 0.0 if self._soon else self._machine.talk.next_wave - self._reactor.seconds()
        self._save_timer = self._reactor.callLater(max(0.0, wait), self._begin_to_save)

    def _begin_to_save(self) -> None:
        self._save_timer = None
        self._saving, self._soon = True, False
        in_background(self._save_all())

    async def _save_all(self) -> None:
        """Save as a batch: what ends while the disk is busy is in the next one."""
        batch, self._unsaved = self._unsaved, []
        await self._keep_ends()
        for run in batch:
            self._machine.on_saved(run)
        self._saving = False
        self._save_soon()
        self.changed()

    async def _keep_ends(self) -> None:
        try:
            self._outbox.flush()
            await in_thread(self._reactor, self._outbox.sync)
            self._unkept = None
        except Exception as error:
            # Reported all the same: what is known only in memory is better than nothing. It may be
            # more than an OSError: a system out of processes starts no thread either.
            if str(error) != self._unkept:
                log.error("the ends of runs are not in the outbox: %s", error)
            self._unkept = str(error)
        if self._unkept is not None and self._again is None:
            self._again = self._reactor.callLater(SAVE_AGAIN, self._keep_again)

    def _keep_again(self) -> None:
        self._again = None
        if not self._saving and self._save_timer is None:
            self._begin_to_save()


def _trace(record: Record) -> Trace:
    return Trace(Mark(record.run, record.worker, record.server), record.pid, record.started)
