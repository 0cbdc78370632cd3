"""The commands of a node, each worker's kept by a small process of its own (see `keeper`)."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import psutil

from coalition.worker.cgroup import Cgroups
from coalition.worker.command import Command, CommandError, Mark
from coalition.worker.keeper.orphans import adopt_orphans
from coalition.worker.line import Line
from coalition.worker.reactor import Reactor, in_background, sleep
from coalition.worker.shortage import Shortage, is_shortage
from coalition.worker.tree import GRACE, Find, Tree, end_all, orphans, reap_orphans, start_time
from coalition.worker.watch import Watcher, explained

if TYPE_CHECKING:
    from coalition.worker.keeper.messages import Message

ADOPT = True
"""Have orphans come back, where the system can do that; without, they are found by their marks."""

END_AGAIN = 1.0
"""Seconds until processes are searched for again that this computer was too short to search for."""

CLOSING = 10.0
"""Seconds in which a keeper that is asked to end does so; they have two for what they keep."""

LOOK = 0.01
"""Seconds between two looks at keepers that are to end."""

ENCODING, ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()

log = logging.getLogger(__name__)


class Slot:
    """A worker, and what its keeper has to do."""

    def __init__(self, worker: str, cgroup: str) -> None:
        """Have no keeper yet."""
        self.worker = worker
        self.cgroup = cgroup
        self.line: Line | None = None
        self.ready = False
        self.mending = False
        """Its keeper was killed, and what that kept is being ended."""
        self.runs: dict[int, Command] = {}
        """What the keeper was given and has not ended, in that order."""
        self.began: int | None = None
        """The run of which the keeper has said that it runs."""
        self.unsaid: list[Message] = []


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
        self._others = {child.pid for child in psutil.Process().children()}
        self._slots: dict[str, Slot] = {}
        self._slot_of: dict[int, Slot] = {}
        self._changed: set[Slot] = set()
        self._closing = False
        self._searches = 0
        self._told: dict[str, Callable[..., None]] = {
            "ready": self._on_ready,
            "began": self._on_began,
            "output": self._on_output,
            "ended": self._on_ended,
            "failed": self._on_failed,
            "dropped": self._on_dropped,
        }

    async def prepare(self, workers: Iterable[str]) -> None:
        """Get ready to start commands at once; end what is left of an earlier life."""
        await self._cgroups.end_old(self._reactor)
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
            plain = self._plain(command)
        except UnicodeEncodeError as error:
            self._reactor.callLater(0, self._fail, [run], explained(command, "", 0, str(error)))
            return
        slot.runs[run] = command
        self._slot_of[run] = slot
        slot.unsaid.append(("start", run, *plain, lease))
        self._changed.add(slot)

    def _plain(self, command: Command) -> tuple[object, ...]:
        """Return a command as a keeper is told of it: what differs from its own environment."""
        ours, theirs = self._environ, command.environment
        changed = dict(theirs.items() - ours.items())
        removed = [_bytes(name) for name in ours.keys() - theirs.keys()]
        words = command.arguments if isinstance(command.arguments, list) else [command.arguments]
        directory = os.path.join(self._directory, command.directory or "")
        user = command.user
        return (
            [_bytes(word) for word in words],
            _encoded(changed),
            removed,
            _bytes(directory),
            None if user is None else (user.uid, user.gid, tuple(user.groups)),
        )

    def send(self) -> None:
        """Have all that was asked for done now, and not at the reactor's next turn."""
        changed, self._changed = self._changed, set()
        for slot in changed:
            self._flush(slot)

    def end(self, run: int, grace: float = GRACE) -> None:
        """End a run and all it started, by force after `grace` seconds; drop it if it waits."""
        self._say(run, "end", grace)

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
                self._tell(slot, ("lease", deadline))

    async def end_leftover(self, pid: int, started: float, mark: Mark) -> None:
        """End what an earlier life of this node left running.

        `started` is what `Watcher.on_began` was told then; a process that got its number later is
        safe.
        """
        await self._end(Tree(pid, started, mark).find)

    async def close(self) -> None:
        """End all that is left, the keepers too; the watcher is told what becomes of it."""
        self._closing = True
        lines = [slot.line for slot in self._slots.values() if slot.line is not None]
        for line in lines:
            line.leave()
        deadline = self._reactor.seconds() + CLOSING
        while self._searches or any(line.process.poll() is None for line in lines):
            if self._reactor.seconds() > deadline:
                log.warning("a keeper does not end, and is killed")
                for line in lines:
                    line.process.kill()
                deadline += CLOSING
            await sleep(self._reactor, LOOK)
        if self._adopting:
            await self._end(self._orphans)
        self._cgroups.remove()

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
                adopt=ADOPT,
                on_messages=partial(self._on_messages, slot),
                on_closed=partial(self._on_closed, slot),
            )
            slot.line.say([("environment", _encoded(self._environ))])
        return slot.line

    def _say(self, run: int, kind: str, *more: object) -> None:
        if run in self._slot_of:
            self._tell(self._slot_of[run], (kind, run, *more))

    def _tell(self, slot: Slot, message: Message) -> None:
        slot.unsaid.append(message)
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

    def _on_messages(self, slot: Slot, messages: list[Message]) -> None:
        for message in messages:
            try:
                self._told[message[0]](slot, *message[1:])
            except Exception:
                # The reactor would close the connection, and take the keeper for killed.
                log.exception("not noted: %s of run %s", *message[:2])
        self._watcher.on_turn()
        self.send()

    def _on_ready(self, slot: Slot, adopting: bool) -> None:
        slot.ready = True

    def _on_began(self, slot: Slot, run: int, pid: int) -> None:
        slot.began = run
        self._watcher.on_began(run, pid, start_time(pid))

    def _on_output(self, slot: Slot, run: int, output: bytes) -> None:
        self._watcher.on_output(run, output)

    def _on_ended(
        self,
        slot: Slot,
        run: int,
        pid: int,
        code: int,
        seconds: float,
        output: bytes,
        remarks: list[str],
        lapsed: bool,
    ) -> None:
        command = self._done(slot, run)
        if output:
            self._watcher.on_output(run, output)
        if self._adopting:
            self._watcher.on_ended(run, code, seconds, remarks, lapsed=lapsed)
        else:
            ended = partial(self._watcher.on_ended, run, code, seconds, remarks, lapsed=lapsed)
            in_background(self._search(command, ended))

    async def _search(self, command: Command, ended: Callable[[], None]) -> None:
        self._searches += 1
        await self._end(Tree(0, 0.0, _mark(command)).find)
        self._searches -= 1
        ended()
        self._watcher.on_turn()

    def _on_failed(self, slot: Slot, run: int, number: int, place: str, reason: str) -> None:
        command = self._done(slot, run)
        self._watcher.on_failed(run, explained(command, place, number, reason))

    def _on_dropped(self, slot: Slot, run: int) -> None:
        self._done(slot, run)
        self._watcher.on_dropped(run)

    def _done(self, slot: Slot, run: int) -> Command:
        if slot.began == run:
            slot.began = None
        del self._slot_of[run]
        return slot.runs.pop(run)

    # --- a keeper is gone --------------------------------------------------------------------

    def _on_closed(self, slot: Slot) -> None:
        line, slot.line = slot.line, None
        if line is None or self._closing:
            return
        lost, began, slot.began = self._forget(slot), slot.began, None
        slot.unsaid = []
        if slot.ready:
            log.error("the keeper of %s was killed: all that it kept is ended", slot.worker)
            in_background(self._mend(slot, line, lost, began))
        else:
            line.process.wait()
            code = line.process.returncode
            self._fail(lost, Shortage(f"the keeper of this worker ended at once, with {code}"))

    def _forget(self, slot: Slot) -> dict[int, Command]:
        lost, slot.runs = slot.runs, {}
        for run in lost:
            del self._slot_of[run]
        return lost

    def _fail(self, runs: Iterable[int], error: CommandError | Shortage) -> None:
        for run in runs:
            self._watcher.on_failed(run, error)
        self._watcher.on_turn()

    async def _mend(
        self, slot: Slot, line: Line, lost: Mapping[int, Command], began: int | None
    ) -> None:
        slot.mending = True
        line.process.kill()
        line.process.wait()
        if self._adopting:
            await self._end(self._orphans, partial(self._cgroups.kill, slot.cgroup))
        else:
            for command in lost.values():
                await self._end(Tree(0, 0.0, _mark(command)).find)
        slot.mending = False
        for run in lost:
            # When it is known which one ran, those after it have not begun.
            if began is None or run == began:
                self._watcher.on_lost(run)
            else:
                self._watcher.on_dropped(run)
        self._watcher.on_turn()
        self._flush(slot)

    def _spared(self) -> set[int]:
        lines = (slot.line for slot in self._slots.values())
        return self._others | {line.process.pid for line in lines if line is not None}

    def _orphans(self) -> list[psutil.Process]:
        return orphans(self._spared())

    async def _end(self, find: Find, kill: Callable[[], None] = lambda: None) -> None:
        while True:
            try:
                await end_all(self._reactor, find, kill)
                reap_orphans(self._spared())
                return
            except (psutil.Error, OSError) as error:
                if not is_shortage(error):
                    log.exception("cannot find what is to be ended")
                    return
                log.warning("not all is ended yet: %s", error)
            await sleep(self._reactor, END_AGAIN)


def _encoded(variables: Mapping[str, str]) -> dict[bytes, bytes]:
    return {_bytes(name): _bytes(value) for name, value in variables.items()}


def _bytes(text: str) -> bytes:
    """Do what os.fsencode does to a text, in a third of its time."""
    return text.encode(ENCODING, ERRORS)


def _mark(command: Command) -> Mark:
    names = ("COALITION_RUN", "COALITION_WORKER", "COALITION_SERVER")
    run, worker, server = (command.environment.get(name, "") for name in names)
    return Mark(int(run or 0), worker, server)
