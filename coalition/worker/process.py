"""Running one command: its start, its output, its end and that of everything it started."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys

import psutil
from twisted.internet.defer import Deferred

from coalition.worker.command import Command, CommandError, Mark
from coalition.worker.reactor import Reactor, sleep
from coalition.worker.shortage import Shortage, is_shortage
from coalition.worker.tree import Tree, adopt_orphans, end_tree, reap_orphans
from coalition.worker.watch import OnOutput, Output, watch_exit, watch_output

NO_DIRECTORY = 1
UNKNOWN = 127
NOT_STARTED = 126
"""Exit codes of commands that never ran; the last two are what shells use."""

UMASK = 0o002
"""Files of a job can be written by the group, as in 4.0: other users' jobs work on with them."""

SPARE = 16
"""Descriptors that must be free before a command is started: five serve the start itself, and what
is left of them the run's output, the search for what it started, and the way to the server."""

END_AGAIN = 1.0
"""Seconds until processes are searched for again that this computer was too short to search for."""

log = logging.getLogger(__name__)


class Processes:
    """The commands that this node has started; there is one of these in a process.

    It reaps every child that it did not start itself, taking it for an orphan of a command.
    """

    def __init__(self, reactor: Reactor) -> None:
        """Have none yet; orphans of the ones to come are adopted, where the system can do that."""
        self._reactor = reactor
        self._adopting = adopt_orphans()
        self._started: set[int] = set()

    def start(self, command: Command, mark: Mark | None, on_output: OnOutput) -> Process:
        """Start a command; its output, stdout and stderr as they come, goes to `on_output`.

        Raises CommandError when it cannot be started, Shortage when no command could be.
        """
        try:
            return self._start(command, mark, on_output)
        except (OSError, MemoryError, RuntimeError) as error:
            # The RuntimeError is Python's word for a thread that the system does not start.
            reason = error.strerror if isinstance(error, OSError) else error
            raise Shortage(f"this computer can start nothing at the moment: {reason}") from error

    def _start(self, command: Command, mark: Mark | None, on_output: OnOutput) -> Process:
        # The output first: what fails before there is a process needs no process ended.
        output, writable = self._open_output(on_output)
        try:
            _require_spare(writable)
            return self._watched(_spawn(command, writable), mark, output)
        except BaseException:
            output.close()
            raise
        finally:
            os.close(writable)

    def _open_output(self, on_output: OnOutput) -> tuple[Output, int]:
        readable, writable = os.pipe()
        try:
            return watch_output(self._reactor, readable, on_output), writable
        except BaseException:
            os.close(readable)
            os.close(writable)
            raise

    def _watched(
        self, popen: subprocess.Popen[bytes], mark: Mark | None, output: Output
    ) -> Process:
        self._started.add(popen.pid)
        try:
            tree = Tree.of_child(popen.pid, mark)
            return Process(popen.pid, tree, output, watch_exit(self._reactor, popen))
        except BaseException:
            self._started.discard(popen.pid)
            _kill(popen)
            raise

    async def wait(self, process: Process) -> int:
        """Wait for a command's end, whatever it left behind, and return its exit code.

        The code is negative for a signal.
        """
        code = await process.exited
        self._started.discard(process.pid)
        return code

    async def finish(self, process: Process) -> int:
        """Wait for a command's end and end what it left behind; return its exit code as `wait`.

        All output was fed to `on_output` when this comes back.
        """
        code = await self.wait(process)
        process.output.drain()
        if process.ending is None and self._may_have_more(process):
            self.end(process)
        if process.ending is not None:
            await process.ending
        process.output.drain()
        process.output.close()
        return code

    def _may_have_more(self, process: Process) -> bool:
        try:
            return process.tree.may_have_more(self._started, adopting=self._adopting)
        except (psutil.Error, OSError):
            # The long search waits until this computer is able to search.
            return True

    def end(self, process: Process) -> None:
        """End a command and all it started; `finish` comes back when that is done."""
        if process.ending is None:
            process.ending = Deferred.fromCoroutine(self._end_tree(process.tree))

    async def _end_tree(self, tree: Tree) -> None:
        while True:
            try:
                await end_tree(self._reactor, tree)
                reap_orphans(self._started)
                return
            except (psutil.Error, OSError) as error:
                if not is_shortage(error):
                    log.exception("cannot find what process %d has started", tree.pid)
                    return
                log.warning("process %d is not ended yet: %s", tree.pid, error)
            await sleep(self._reactor, END_AGAIN)

    async def end_leftover(self, pid: int, started: float, mark: Mark) -> None:
        """End what an earlier life of this node left running.

        `started` is what `Tree.started` was then; a process that got its number later is safe.
        """
        await self._end_tree(Tree.of_record(pid, started, mark))


class Process:
    """A command that was started."""

    def __init__(self, pid: int, tree: Tree, output: Output, exited: Deferred[int]) -> None:
        """Describe a process that is watched; `exited` fires with its exit code."""
        self.pid = pid
        self.tree = tree
        self.output = output
        self.exited = exited
        self.ending: Deferred[None] | None = None


def _require_spare(fd: int) -> None:
    """Raise OSError unless SPARE descriptors are free; `fd` is any open one."""
    taken: list[int] = []
    try:
        for _ in range(SPARE):
            taken.append(os.dup(fd))
    finally:
        for one in taken:
            os.close(one)


def _kill(popen: subprocess.Popen[bytes]) -> None:
    """Kill a command that was started in this instant; it is reaped like an orphan."""
    if sys.platform == "win32":
        popen.kill()
    else:
        # So young, it has nothing outside its group yet; and its pid is its own: nobody reaped it.
        with contextlib.suppress(OSError):
            os.killpg(popen.pid, signal.SIGKILL)


def _spawn(command: Command, output: int) -> subprocess.Popen[bytes]:
    try:
        if sys.platform == "win32":
            return subprocess.Popen(
                command.arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=command.directory,
                env=command.environment,
                creationflags=subprocess.CREATE_NEW_PROCESS_GROUP,
            )
        else:
            # No preexec_fn, no user or group: they would turn vfork into a fork of all our memory.
            return subprocess.Popen(
                command.arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=command.directory,
                env=command.environment,
                start_new_session=True,
                umask=UMASK,
            )
    except (OSError, ValueError) as error:
        if is_shortage(error):
            raise
        raise _explained(command, error) from error


def _explained(command: Command, error: OSError | ValueError) -> CommandError:
    directory = command.directory
    if directory is not None and not os.path.isdir(directory):
        return CommandError(f"there is no directory {directory}", NO_DIRECTORY)
    if not isinstance(error, OSError):
        return CommandError(f"the command cannot be started: {error}", NOT_STARTED)
    if directory is not None and error.filename == directory:
        return CommandError(
            f"cannot go to the directory {directory}: {error.strerror}", NO_DIRECTORY
        )
    program = command.arguments if isinstance(command.arguments, str) else command.arguments[0]
    code = UNKNOWN if isinstance(error, FileNotFoundError) else NOT_STARTED
    return CommandError(f"cannot start {program}: {error.strerror}", code)
