"""Running one command: its start, its output, its end and that of everything it started."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import psutil
from twisted.internet.defer import Deferred

from coalition.worker.command import Command, CommandError, Mark
from coalition.worker.reactor import Reactor
from coalition.worker.tree import Tree, adopt_orphans, end_tree, reap_orphans
from coalition.worker.watch import OnOutput, watch_exit, watch_output

NO_DIRECTORY = 1
UNKNOWN = 127
NOT_STARTED = 126
"""Exit codes of commands that never ran; the last two are what shells use."""

UMASK = 0o002
"""Files of a job can be written by the group, as in 4.0: other users' jobs work on with them."""

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

        Raises CommandError when it cannot be started.
        """
        readable, writable = os.pipe()
        try:
            popen = _spawn(command, writable)
        except BaseException:
            os.close(readable)
            raise
        finally:
            os.close(writable)
        self._started.add(popen.pid)
        tree = Tree.of_child(popen.pid, mark)
        return Process(self._reactor, popen, readable, tree, on_output)

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
        if process.ending is None and process.tree.may_have_more(
            self._started, adopting=self._adopting
        ):
            self.end(process)
        if process.ending is not None:
            await process.ending
        process.output.drain()
        process.output.close()
        return code

    def end(self, process: Process) -> None:
        """End a command and all it started; `finish` comes back when that is done."""
        if process.ending is None:
            process.ending = Deferred.fromCoroutine(self._end_tree(process.tree))

    async def _end_tree(self, tree: Tree) -> None:
        try:
            await end_tree(self._reactor, tree)
        except (psutil.Error, OSError):
            log.exception("cannot find what process %d has started", tree.pid)
        reap_orphans(self._started)

    async def end_leftover(self, pid: int, started: float, mark: Mark) -> None:
        """End what an earlier life of this node left running.

        `started` is what `Tree.started` was then; a process that got its number later is safe.
        """
        await self._end_tree(Tree.of_record(pid, started, mark))


class Process:
    """A command that was started."""

    def __init__(
        self, reactor: Reactor, popen: subprocess.Popen[bytes], fd: int, tree: Tree, on: OnOutput
    ) -> None:
        """Watch the process and `fd`, the reading end of its output."""
        self.pid = popen.pid
        self.tree = tree
        self.output = watch_output(reactor, fd, on)
        self.exited = watch_exit(reactor, popen)
        self.ending: Deferred[None] | None = None


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
