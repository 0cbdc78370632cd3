"""How the reactor learns of a process's output and of its end, on each kind of system.

Where pipes and processes can be watched as descriptors, no thread is needed; elsewhere a thread of
its own waits for each.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from subprocess import Popen
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from coalition.worker.reactor import Reactor

CHUNK = 64 * 1024
"""Bytes read at once: what a pipe holds."""

OnOutput = Callable[[bytes], None]


class Output(Protocol):
    """The reading end of a pipe."""

    def drain(self) -> None:
        """Read what is in the pipe now, without waiting for more."""

    def close(self) -> None:
        """Read no more."""


class WatchedPipe:
    """A pipe that the reactor reads."""

    def __init__(self, reactor: Reactor, fd: int, on_output: OnOutput) -> None:
        """Begin to read `fd`, which belongs to this object from now on."""
        self._reactor = reactor
        self._fd = fd
        self._on_output = on_output
        if sys.platform != "win32":
            os.set_blocking(fd, False)
        reactor.addReader(self)

    def fileno(self) -> int:
        """Return the descriptor, -1 once it is closed."""
        return self._fd

    def logPrefix(self) -> str:
        """Return what the reactor calls it in its errors."""
        return "output"

    def doRead(self) -> None:
        """Read once; called by the reactor."""
        self._read()

    def connectionLost(self, reason: Failure) -> None:
        """Close: every writer is gone; called by the reactor."""
        self.close()

    def drain(self) -> None:
        """Read what is in the pipe now, without waiting for more."""
        # What fits in a pipe at once: a writer that is faster than we are is not followed for ever.
        left = 1024 * 1024
        while left > 0 and (read := self._read()):
            left -= read

    def close(self) -> None:
        """Read no more."""
        if self._fd >= 0:
            self._reactor.removeReader(self)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> int:
        if self._fd < 0:
            return 0
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return 0
        if data:
            self._on_output(data)
        else:
            self.close()
        return len(data)


class ThreadedPipe:
    """A pipe that a thread reads, for systems whose reactor cannot."""

    def __init__(self, reactor: Reactor, fd: int, on_output: OnOutput) -> None:
        """Begin to read `fd`, which belongs to this object from now on."""
        self._reactor = reactor
        self._fd = fd
        self._on_output = on_output
        self._closed = False
        self._lock = threading.Lock()
        self._waiting: list[bytes] = []
        self._taken = threading.Condition(self._lock)
        threading.Thread(target=self._work, name="output", daemon=True).start()

    def drain(self) -> None:
        """Read what is in the pipe now, without waiting for more."""
        self._take()

    def close(self) -> None:
        """Read no more."""
        self._take()
        with self._taken:
            self._closed = True
            self._taken.notify_all()

    def _work(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._fd, CHUNK):
                with self._taken:
                    self._waiting.append(data)
                    self._reactor.callFromThread(self._take)
                    # One piece at a time, or a flood would gather in memory.
                    self._taken.wait_for(lambda: self._closed or not self._waiting)
                    if self._closed:
                        break
        os.close(self._fd)

    def _take(self) -> None:
        with self._taken:
            pieces, self._waiting = self._waiting, []
            self._taken.notify_all()
        for piece in pieces:
            if not self._closed:
                self._on_output(piece)


class PidDescriptor:
    """A process as a descriptor (Linux), readable when the process has ended."""

    def __init__(self, reactor: Reactor, process: Popen[bytes], ended: Deferred[int]) -> None:
        """Fire `ended` with the exit code of `process`."""
        self._reactor = reactor
        self._process = process
        self._ended = ended
        self._fd = _pidfd_open(process.pid)
        try:
            reactor.addReader(self)
        except BaseException:
            os.close(self._fd)
            raise

    def fileno(self) -> int:
        """Return the descriptor, -1 once it is closed."""
        return self._fd

    def logPrefix(self) -> str:
        """Return what the reactor calls it in its errors."""
        return "process"

    def doRead(self) -> None:
        """Collect the exit code; called by the reactor."""
        code = self._process.poll()
        if code is not None and self._fd >= 0:
            self._reactor.removeReader(self)
            os.close(self._fd)
            self._fd = -1
            self._ended.callback(code)

    def connectionLost(self, reason: Failure) -> None:
        """Collect the exit code; called by the reactor."""
        self.doRead()


def _pidfd_open(pid: int) -> int:
    if sys.platform == "linux":
        return os.pidfd_open(pid)
    raise OSError("this system has no descriptors of processes")


def wait_in_thread(reactor: Reactor, process: Popen[bytes], ended: Deferred[int]) -> None:
    """Fire `ended` with the exit code of `process`, by a thread that waits for it."""

    def work() -> None:
        reactor.callFromThread(ended.callback, process.wait())

    threading.Thread(target=work, name="exit", daemon=True).start()


def watch_output(reactor: Reactor, fd: int, on_output: OnOutput) -> Output:
    """Feed `on_output` with what comes out of the pipe `fd`, in the way this system can."""
    if sys.platform == "win32":
        return ThreadedPipe(reactor, fd, on_output)
    else:
        return WatchedPipe(reactor, fd, on_output)


def watch_exit(reactor: Reactor, process: Popen[bytes]) -> Deferred[int]:
    """Return the exit code to come, in the way this system can."""
    ended: Deferred[int] = Deferred()
    try:
        PidDescriptor(reactor, process, ended)
    except OSError:
        # No pidfd here, a kernel before 5.3, a sandbox that forbids it, or no descriptor left.
        wait_in_thread(reactor, process, ended)
    return ended
