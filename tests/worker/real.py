"""Real reactors, real processes and the real worker.py, for tests."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import psutil
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.python.failure import Failure

from coalition.worker.outbox.outbox import Outbox

ROOT = Path(__file__).parents[2]

PATIENCE = 20.0
"""Seconds until a test gives up what it waits for."""

Result = TypeVar("Result")


def in_reactor(work: Callable[[Any], Coroutine[Any, Any, Result]]) -> Result:
    """Run `work(reactor)` in a reactor of its own and return its result."""
    reactor: Any = EPollReactor()
    outcome: list[Any] = []

    def done(result: Any) -> None:
        outcome.append(result)
        reactor.stop()

    def begin() -> None:
        Deferred.fromCoroutine(work(reactor)).addTimeout(PATIENCE, reactor).addBoth(done)

    reactor.callWhenRunning(begin)
    reactor.run(installSignalHandlers=False)
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    result: Result = outcome[0]
    return result


def eventually(what: Callable[[], object]) -> Any:
    """Wait until `what` gives something true, and return that."""
    deadline = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return found


@contextmanager
def descriptors_left(count: int, pid: int = 0) -> Iterator[None]:
    """Let a process, this one for 0, open no more than `count` files until the block is left.

    With 0 it can not even use what it closes.
    """
    folder = Path(f"/proc/{pid or 'self'}/fd")
    # The listing's own descriptor is gone when it is looked for.
    used = {int(path.name) for path in list(folder.iterdir()) if path.is_symlink()}
    free = [number for number in range(len(used) + count + 1) if number not in used]
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[count] if count else 3, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@contextmanager
def file_size_limit(size: int, pid: int) -> Iterator[None]:
    """Let a process write no file beyond a size, until the block is left."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def running_with(text: str) -> list[psutil.Process]:
    """Return the living processes in whose command line a text stands."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and text in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


class Node:
    """A worker.py that runs."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self.folder = folder

    @property
    def log(self) -> str:
        path = self.folder / "worker.log"
        return path.read_text("utf-8") if path.exists() else ""

    @property
    def outbox(self) -> set[int]:
        """The runs in the outbox, as a node that starts now would find them."""
        with TemporaryDirectory() as copy:
            for path in self.folder.glob("outbox-*/*/*"):
                with suppress(FileNotFoundError):
                    shutil.copy(path, copy)
            with closing(Outbox(Path(copy), 2**30, 1)) as outbox:
                return {record.run for record in outbox.records()}

    @property
    def outbox_size(self) -> int:
        """The bytes on disk of the outbox."""
        return sum(path.stat().st_size for path in self.folder.glob("outbox-*/*/*"))

    @property
    def peak_memory(self) -> int:
        """The most bytes of memory the node has had so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def leave(self) -> int:
        """Ask it to end, and return its exit code."""
        self.interrupt()
        return self.exit_code()

    def exit_code(self) -> int:
        return self.process.wait(PATIENCE)


@contextmanager
def running_node(folder: Path, *arguments: str, ini: str = "") -> Iterator[Node]:
    """Run worker.py with its files in `folder` until the block is left."""
    settings = folder / "coalition.ini"
    settings.write_text(f"[worker]\nsleep=0.1\nname=node\n{ini}", "utf-8")
    command = [sys.executable, str(ROOT / "worker.py"), "--config", str(settings), *arguments]
    with (folder / "printed").open("wb") as printed:
        process = subprocess.Popen(command, cwd=folder, stdout=printed, stderr=printed)
    node = Node(process, folder)
    try:
        yield node
    except BaseException:
        print((folder / "printed").read_text("utf-8"), node.log)
        raise
    finally:
        # What it leaves, its keepers end: they go when all of that is gone.
        left = psutil.Process(process.pid).children() if process.poll() is None else []
        process.kill()
        process.wait()
        psutil.wait_procs(left, PATIENCE)
