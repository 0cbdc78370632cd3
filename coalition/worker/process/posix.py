"""The commands of a node, each worker's kept by a small process of its own (see `keeper`)."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import psutil
from twisted.internet.base import DelayedCall

from coalition.worker.command.command import Command, CommandError
from coalition.worker.process.cgroup import Cgroups
from coalition.worker.process.ending import GRACE
from coalition.worker.process.keeper.messages import boottime
from coalition.worker.process.keeper.orphans import adopt_orphans
from coalition.worker.process.keeper.unended import FORCED, unended
from coalition.worker.process.line import Line, outlast
from coalition.worker.process.plain import encoded, mark_of, plain
from coalition.worker.process.remains import Keepers, Remains
from coalition.worker.process.slot import RUNNING_LOOK, Slot
from coalition.worker.process.tree import Trace, start_time
from coalition.worker.process.watch import Exit, Watcher, explained
from coalition.worker.reactor import Reactor, in_background, sleep
from coalition.worker.shortage import Shortage

if TYPE_CHECKING:
    from coalition.worker.process.keeper.messages import Message

ADOPT = True
"""Have orphans come back, where the system can do that; without, they are found by their marks."""

CLOSING = 15.0
"""Seconds in which a keeper that is asked to end does so: it has two to end what it keeps, and ten
to see what cannot be ended."""

LEASE_WAIT = 1.0
"""Seconds between two looks at the leases: the reactor does not count those that this computer
slept."""

LOOK = 0.01
"""Seconds between two looks at keepers that are to end."""

log = logging.getLogger(__name__)


class Processes:
    """The commands that this node has started, in order for each worker.

    There is one of these in a process. It takes every child that comes to this process later for an
    orphan of a command whose keeper was killed.
    """

    def __init__(
        self, reactor: Reactor, watcher: Watcher, environ: Mapping[str, str], name: str
    ) -> None:
        """Have none yet; `environ` is what commands inherit.

        `name` is no other node's on this computer: what has it from an earlier life is ended.
        """
        self._reactor = reactor
        self._watcher = watcher
        self._environ = dict(environ)
        self._directory = os.getcwd()
        self._cgroups = Cgroups(name)
        self._adopting = ADOPT and adopt_orphans()
        self._remains = Remains(reactor, self._keepers)
        self._lines: list[Line] = []
        self._slots: dict[str, Slot] = {}
        self._slot_of: dict[int, Slot] = {}
        self._changed: set[Slot] = set()
        self._look: DelayedCall | None = None
        self._closing = False
        self._searches = 0
        self._told: dict[str, Callable[..., None]] = {
            "ready": self._on_ready,
            "began": self._on_began,
            "output": self._on_output,
            "ended": self._on_ended,
            "failed": self._on_failed,
            "dropped": self._on_dropped,
            "here": lambda *_: None,  # the line has noted that something was said
        }

    async def prepare(self, workers: Iterable[str]) -> None:
        """Get ready to start commands at once; end what is left of an earlier life."""
        await self._cgroups.end_old(self._reactor)
        await outlast(self._reactor, self._cgroups.prefix)
        for worker in workers:
            slot = self._slot(worker)
            try:
                self._open(slot)
            except OSError as error:
                log.warning("%s has no keeper yet: %s", worker, error)

    def start(self, worker: str, run: int, command: Command, lease: float | None = None) -> None:
        """Start a command when those before it on this worker have ended.

        It ends itself when the time of `boottime` is `lease`.
        """
        slot = self._slot(worker)
        try:
            told = plain(command, self._directory)
        except UnicodeEncodeError as error:
            self._reactor.callLater(0, self._fail, [run], explained(command, "", 0, str(error)))
            return
        slot.start(run, command, told, lease)
        self._slot_of[run] = slot
        self._changed.add(slot)
        if lease is not None:
            self._look_at_keepers()

    def send(self) -> None:
        """Have all that was asked for done now, and not at the reactor's next turn."""
        changed, self._changed = self._changed, set()
        for slot in changed:
            self._flush(slot)

    def end(self, run: int, grace: float = GRACE) -> None:
        """End a run and all it started, by force after `grace` seconds; drop it if it waits."""
        if slot := self._slot_of.get(run):
            self._tell(slot, ("end", run, grace))

    def drop(self, run: int) -> None:
        """Take a run out of its worker's queue, if it has not begun."""
        self._say(run, "drop")

    def hold(self, run: int) -> None:
        """Read nothing that a run writes for a while, so that it has to wait."""
        self._say(run, "hold")

    def go(self, run: int) -> None:
        """Read again what a run writes."""
        self._say(run, "go")

    def lease(self, deadline: float) -> None:
        """Let all runs that have a lease go on until `deadline`, a time of `boottime`."""
        for slot in self._slots.values():
            if slot.runs:
                slot.extend(deadline)
                self._tell(slot, ("lease", deadline))
        self._look_at_keepers()

    async def end_leftovers(self, traces: Sequence[Trace]) -> list[list[str]]:
        """End what an earlier life of this node left running; say for each what cannot be ended.

        `started` is what `Watcher.on_began` was told then; a process that got its number later is
        safe.
        """
        return await self._remains.end_trees(traces, boottime() + GRACE)

    async def close(self) -> None:
        """End all that is left, the keepers too; the watcher is told what becomes of it."""
        self._closing = True
        lines = [slot.line for slot in self._slots.values() if slot.line is not None]
        for line in lines:
            line.leave()
        await self._wait(lambda: self._searches or any(line.lives for line in lines), CLOSING)
        if any(line.lives for line in lines):
            log.warning("a keeper does not end, and is killed")
            await self._bury(*lines)
        if self._adopting:
            await self._remains.end_orphans(boottime() + GRACE)
        self._cgroups.remove()

    async def _wait(self, what: Callable[[], object], patience: float) -> None:
        """Come back when that is not true any more, or after some seconds."""
        deadline = self._reactor.seconds() + patience
        while what() and self._reactor.seconds() < deadline:
            await sleep(self._reactor, LOOK)

    def _look_at_keepers(self) -> None:
        """See what keepers owe, and which leases are over, now and when that is due again."""
        if self._look is not None and self._look.active():
            self._look.cancel()
        pause = RUNNING_LOOK
        for slot in self._slots.values():
            slot.expect()
            for lease in slot.leases.values():
                left = lease - boottime()
                pause = min(pause, LEASE_WAIT, left if left > 0 else LEASE_WAIT)
        if not self._closing:
            self._look = self._reactor.callLater(pause, self._look_at_keepers)

    # --- keepers -----------------------------------------------------------------------------

    def _slot(self, worker: str) -> Slot:
        slot = self._slots.get(worker)
        if slot is None:
            slot = Slot(worker, self._cgroups.make(len(self._slots) + 1))
            self._slots[worker] = slot
        return slot

    def _open(self, slot: Slot) -> Line:
        if slot.line is None:
            slot.ready = False
            slot.line = Line(
                self._reactor,
                self._environ,
                slot.cgroup,
                self._cgroups.prefix,
                adopt=ADOPT,
                on_messages=partial(self._on_messages, slot),
                on_closed=partial(self._on_closed, slot),
            )
            self._lines.append(slot.line)
            slot.line.say([("environment", encoded(self._environ))])
            if self._look is None:
                self._look_at_keepers()
        return slot.line

    def _say(self, run: int, kind: str, *more: object) -> None:
        if run in self._slot_of:
            self._tell(self._slot_of[run], (kind, run, *more))

    def _tell(self, slot: Slot, message: Message) -> None:
        slot.tell(message)
        if not self._changed:
            self._reactor.callLater(0, self.send)
        self._changed.add(slot)

    def _flush(self, slot: Slot) -> None:
        if not slot.unsaid or slot.mending or self._closing:
            return
        messages, slot.unsaid = slot.unsaid, []
        try:
            self._open(slot).say(messages)
        except OSError as error:
            reason = f"this computer can start nothing at the moment: {error.strerror}"
            self._reactor.callLater(0, self._fail, self._forget(slot), Shortage(reason))
        if slot.owes:
            slot.expect()

    def _on_messages(self, slot: Slot, messages: list[Message]) -> None:
        for message in messages:
            try:
                self._told[message[0]](slot, *message[1:])
            except Exception:
                # The reactor would close the connection, and take the keeper for killed.
                log.exception("not noted: %s of run %s", *message[:2])
        if slot.worn and slot.is_idle:
            self._replace(slot)
        self._watcher.on_turn()
        self.send()

    def _on_ready(self, slot: Slot, adopting: bool) -> None:
        slot.ready = True
        slot.expect()

    def _on_began(self, slot: Slot, run: int, pid: int) -> None:
        slot.on_began(run)
        self._watcher.on_began(run, pid, start_time(pid))

    def _on_output(self, slot: Slot, run: int, output: bytes) -> None:
        slot.on_began(run)
        self._watcher.on_output(run, output)

    def _on_ended(
        self,
        slot: Slot,
        run: int,
        pid: int,
        output: bytes,
        *told: Any,
    ) -> None:
        lasted = slot.began == run
        command, exit = self._done(slot, run), Exit(*told)
        slot.shortages = 0
        if lasted or exit.code or slot.is_idle:  # short ones in a row are to cost nothing
            slot.inspect()
        for remark in exit.remarks:
            # Nobody reads the log of a run that was taken back.
            log.warning("run %d: %s", run, remark)
        if output:
            self._watcher.on_output(run, output)
        if self._adopting:
            self._watcher.on_ended(run, exit)
        else:
            in_background(self._search(run, command, exit))

    async def _search(self, run: int, command: Command, exit: Exit) -> None:
        self._searches += 1
        began = self._reactor.seconds()
        trace = Trace(mark_of(command))
        (remarks,) = await self._remains.end_trees([trace], boottime() + GRACE)
        clearing = exit.clearing + self._reactor.seconds() - began
        self._searches -= 1
        self._watcher.on_ended(
            run, exit._replace(clearing=clearing, remarks=[*exit.remarks, *remarks])
        )
        self._watcher.on_turn()

    def _on_failed(self, slot: Slot, run: int, number: int, place: str, reason: str) -> None:
        error = explained(self._done(slot, run), place, number, reason)
        if isinstance(error, Shortage):
            slot.on_shortage()
        self._watcher.on_failed(run, error)

    def _on_dropped(self, slot: Slot, run: int) -> None:
        self._done(slot, run)
        self._watcher.on_dropped(run)

    def _done(self, slot: Slot, run: int) -> Command:
        del self._slot_of[run]
        command = slot.done(run)
        if slot.unsaid:
            self._changed.add(slot)
        return command

    def _replace(self, slot: Slot) -> None:
        """Have a fresh keeper for what comes next; this one has nothing to do."""
        log.warning("the keeper of %s is replaced: a job may have changed it", slot.worker)
        slot.renew()
        if slot.line is not None:
            slot.line.dismiss()

    # --- a keeper is gone --------------------------------------------------------------------

    def _on_closed(self, slot: Slot) -> None:
        line, slot.line = slot.line, None
        if line is None or self._closing:
            return
        if line.dismissed:
            in_background(self._mend(slot, line, {}, [], boottime() + GRACE))
            return
        suspects, until = slot.suspects(), slot.until()
        lost = self._forget(slot)
        if slot.ready:
            log.error("the keeper of %s was killed: all that it kept is ended", slot.worker)
            if len(suspects) > 1 and not line.given_up:
                for each in self._slots.values():  # the next try may be with any of them
                    each.beware()
            in_background(self._mend(slot, line, lost, suspects, until))
        else:
            in_background(self._give_back(slot, line, lost))

    def _forget(self, slot: Slot) -> dict[int, Command]:
        lost = slot.forget()
        for run in lost:
            del self._slot_of[run]
        return lost

    async def _give_back(self, slot: Slot, line: Line, lost: Iterable[int]) -> None:
        slot.mending = True
        await self._bury(line)
        slot.mending = False
        code = line.process.returncode
        self._fail(lost, Shortage(f"the keeper of this worker ended at once, with {code}"))
        self._flush(slot)

    def _fail(self, runs: Iterable[int], error: CommandError | Shortage) -> None:
        for run in runs:
            self._watcher.on_failed(run, error)
        self._watcher.on_turn()

    async def _mend(
        self,
        slot: Slot,
        line: Line,
        lost: Mapping[int, Command],
        suspects: list[int],
        until: float,
    ) -> None:
        slot.mending = True
        await self._bury(line)
        remarks: list[str] = []
        if self._adopting:
            kill = partial(self._cgroups.kill, slot.cgroup)
            remarks = await self._remains.end_orphans(until, kill)
        else:
            traces = [Trace(mark_of(command)) for command in lost.values()]
            for said in await self._remains.end_trees(traces, until):
                remarks += said
        slot.mending = False
        for run in lost:
            if run not in suspects:
                self._watcher.on_dropped(run)
            elif len(suspects) > 1 or line.given_up:
                self._watcher.on_lost(run)
            else:
                self._watcher.on_killed(run, remarks)
        self._watcher.on_turn()
        self._flush(slot)

    def _keepers(self) -> Keepers:
        working = {slot.line.process.pid for slot in self._slots.values() if slot.line is not None}
        self._lines = [line for line in self._lines if line.process.returncode is None]
        return Keepers(working, {line.process.pid for line in self._lines})

    async def _bury(self, *lines: Line) -> None:
        """Kill keepers, and come back when they are gone or cannot be killed."""
        for line in lines:
            line.process.kill()
        await self._wait(lambda: any(line.lives for line in lines), FORCED)
        for process in [line.process for line in lines if line.lives]:
            log.warning("%s", unended(process.pid, "keeper", refused=False))
            self._remains.leave(psutil.Process(process.pid))
