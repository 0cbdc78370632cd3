"""The commands of a node on Windows: two threads for each, one for its end, one for its output."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from coalition.worker.command.command import Command, CommandError
from coalition.worker.process.ending import GRACE
from coalition.worker.process.jobobject import Kept, begin
from coalition.worker.process.keeper.messages import boottime
from coalition.worker.process.remains import end_trees
from coalition.worker.process.tree import Trace, start_time
from coalition.worker.process.watch import Exit, Watcher, explained
from coalition.worker.reactor import Reactor, sleep
from coalition.worker.shortage import Shortage

ANNOUNCED = 0.05
"""Seconds after which a run's process is told."""

LAPSED_GRACE = 0.5
"""Seconds between asking and forcing when a lease is over: another node will have the job soon."""

LEASE_WAIT = 1.0
"""Seconds between two looks at a lease: waiting does not count those that the computer slept."""

DRAINED = 5.0
"""Seconds that the output may stay open when all is ended: somebody outside may have it."""

CHUNK = 64 * 1024
"""Bytes read at once."""

LOOK = 0.01
"""Seconds between two looks at what is to end."""

log = logging.getLogger(__name__)


class Run:
    """A command that waits or runs."""

    def __init__(self, worker: str, number: int, command: Command, lease: float | None) -> None:
        """Describe what is to be run."""
        self.worker = worker
        self.number = number
        self.command = command
        self.lease = lease
        self.kept: Kept | None = None
        self.grace: float | None = None
        """How it was to be ended before it had begun."""
        self.lapsed = False
        self.open = threading.Event()
        """Whether more of its output is to be read."""
        self.open.set()
        self.taken = threading.Event()
        """Whether what was read of it has been told."""


class Processes:
    """The commands that this node has started, in order for each worker."""

    def __init__(
        self, reactor: Reactor, watcher: Watcher, environ: Mapping[str, str], name: str
    ) -> None:
        """Have none yet; `environ` is what commands inherit, `name` matters only elsewhere."""
        self._environ = environ
        self._reactor = reactor
        self._watcher = watcher
        self._queues: dict[str, list[Run]] = {}
        self._runs: dict[int, Run] = {}

    async def prepare(self, workers: Iterable[str]) -> None:
        """Do nothing: there is nothing to get ready."""

    def start(self, worker: str, run: int, command: Command, lease: float | None = None) -> None:
        """Start a command when those before it on this worker have ended.

        It ends itself when the time of `boottime` is `lease`.
        """
        self._runs[run] = Run(worker, run, command, lease)
        queue = self._queues.setdefault(worker, [])
        queue.append(self._runs[run])
        if len(queue) == 1:
            self._reactor.callLater(0, self._begin, queue[0])

    def send(self) -> None:
        """Do nothing: all that is asked for is done at once."""

    def end(self, run: int, grace: float = GRACE) -> None:
        """End a run and all it started, by force after `grace` seconds; drop it if it waits."""
        found = self._runs.get(run)
        if found is None or self._dropped(found):
            return
        found.grace = grace
        if found.kept is not None:
            found.kept.ask()
            self._reactor.callLater(grace, found.kept.kill)

    def drop(self, run: int) -> None:
        """Take a run out of its worker's queue, if it has not begun."""
        if run in self._runs:
            self._dropped(self._runs[run])

    def hold(self, run: int) -> None:
        """Read nothing that a run writes for a while, so that it has to wait."""
        if run in self._runs:
            self._runs[run].open.clear()

    def go(self, run: int) -> None:
        """Read again what a run writes."""
        if run in self._runs:
            self._runs[run].open.set()

    def lease(self, deadline: float) -> None:
        """Let all runs whose lease is not over go on until `deadline`, a time of `boottime`."""
        now = boottime()
        for run in self._runs.values():
            if run.lease is not None and run.lease > now:
                run.lease = deadline

    async def end_leftovers(self, traces: Sequence[Trace]) -> list[list[str]]:
        """End what an earlier life of this node left running; say for each what cannot be ended.

        As a rule the system has done it.
        """
        return await end_trees(self._reactor, traces, boottime() + GRACE, set())

    async def close(self) -> None:
        """End all that is left; the watcher is told what becomes of it."""
        for run in list(self._runs.values()):
            self.end(run.number)
        while self._runs:
            await sleep(self._reactor, LOOK)

    # --- in the reactor's thread -------------------------------------------------------------

    def _begin(self, run: Run) -> None:
        if run.number not in self._runs:
            return
        if run.lease is not None and run.lease <= boottime():
            self._over(run, partial(self._watcher.on_dropped, run.number))
            return
        try:
            threading.Thread(target=self._work, args=[run], name="run", daemon=True).start()
        except RuntimeError as error:
            self._failed(run, error)

    def _failed(self, run: Run, error: Exception) -> None:
        self._over(
            run, partial(self._watcher.on_failed, run.number, _explained(run.command, error))
        )

    def _dropped(self, run: Run) -> bool:
        queue = self._queues[run.worker]
        if run is queue[0]:
            return False
        queue.remove(run)
        del self._runs[run.number]
        self._reactor.callLater(0, self._tell, partial(self._watcher.on_dropped, run.number))
        return True

    def _over(self, run: Run, told: Callable[[], None]) -> None:
        del self._runs[run.number]
        queue = self._queues[run.worker]
        queue.remove(run)
        self._tell(told)
        if queue:
            self._begin(queue[0])

    def _tell(self, told: Callable[[], None]) -> None:
        told()
        self._watcher.on_turn()

    def _begun(self, run: Run, kept: Kept) -> None:
        run.kept = kept
        if run.grace is not None:
            self.end(run.number, run.grace)

    def _output(self, run: Run, output: bytes) -> None:
        if run.number in self._runs:
            self._tell(partial(self._watcher.on_output, run.number, output))
        run.taken.set()

    # --- in the threads of a run -------------------------------------------------------------

    def _work(self, run: Run) -> None:
        began = time.monotonic()
        try:
            reader, kept = self._start(run)
        except (OSError, ValueError, MemoryError, RuntimeError) as error:
            self._reactor.callFromThread(self._failed, run, error)
            return
        self._reactor.callFromThread(self._begun, run, kept)
        code = self._wait(run, kept)
        by_order, seconds = run.grace is not None, time.monotonic() - began
        kept.kill()
        run.open.set()
        reader.join(DRAINED)
        exit = Exit(code, seconds, 0.0, run.lapsed, by_order, [])
        self._reactor.callFromThread(self._ended, run, kept, exit)

    def _start(self, run: Run) -> tuple[threading.Thread, Kept]:
        readable, writable = os.pipe()
        reader = threading.Thread(target=self._read, args=[run, readable], name="output")
        reader.daemon = True
        try:
            reader.start()
        except RuntimeError:
            os.close(readable)
            os.close(writable)
            raise
        try:
            return reader, begin(run.command, self._environ, writable)
        finally:
            os.close(writable)

    def _ended(self, run: Run, kept: Kept, exit: Exit) -> None:
        kept.close()
        self._over(run, partial(self._watcher.on_ended, run.number, exit))

    def _wait(self, run: Run, kept: Kept) -> int:
        """Wait for the end; an exclusive run lapses even while the reactor's thread hangs."""
        code = kept.wait(ANNOUNCED)
        if code is None:
            started = start_time(kept.pid)
            told = partial(self._watcher.on_began, run.number, kept.pid, started)
            self._reactor.callFromThread(self._tell, told)
        while code is None:
            left = None if run.lease is None else run.lease - boottime()
            if left is not None and left <= 0:
                run.lapsed, run.lease = True, None
                kept.ask()
                code = kept.wait(LAPSED_GRACE)
                kept.kill()
            else:
                code = kept.wait(None if left is None else min(left, LEASE_WAIT))
        return code

    def _read(self, run: Run, readable: int) -> None:
        try:
            while output := os.read(readable, CHUNK):
                run.taken.clear()
                self._reactor.callFromThread(self._output, run, output)
                # One piece at a time, or a flood would gather in memory.
                run.taken.wait()
                run.open.wait()
        except OSError as error:
            log.error("the output of run %d cannot be read: %s", run.number, error)
        finally:
            os.close(readable)


def _explained(command: Command, error: Exception) -> CommandError | Shortage:
    directory = command.directory
    if isinstance(error, RuntimeError):  # no more threads
        return explained(command, "program", errno.EAGAIN, str(error))
    if directory is not None and not os.path.isdir(directory):
        return explained(command, "directory", errno.ENOENT, "")
    if isinstance(error, MemoryError):
        return explained(command, "program", errno.ENOMEM, os.strerror(errno.ENOMEM))
    reason = error.strerror if isinstance(error, OSError) else None
    number = error.errno if isinstance(error, OSError) else None
    return explained(command, "program", number or 0, reason or str(error))
