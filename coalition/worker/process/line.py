"""The connection to a keeper, which this process starts for it."""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from twisted.internet.base import DelayedCall
from twisted.python.failure import Failure

from coalition.worker.process import keeper
from coalition.worker.process.keeper.messages import pack, unpack
from coalition.worker.process.standing import standing
from coalition.worker.reactor import Clock, Reactor, sleep

if TYPE_CHECKING:
    from coalition.worker.process.keeper.messages import Message

PROGRAM = str(Path(keeper.__path__[0]) / "__main__.py")

OUTLASTING = 15.0
"""Seconds that keepers of an earlier life have: they give commands two, and ten by force."""

LOOK = 0.05
"""Seconds between two looks at them."""

CHUNK = 256 * 1024
"""Bytes read at once: what a socket holds, as a rule."""

SILENCES = 2
"""Questions in a row without an answer until a keeper is taken for one that hangs: while it had the
first one, the computer may have slept, or this process have been stopped."""

log = logging.getLogger(__name__)


class Line:
    """A keeper that runs, and the connection to it."""

    def __init__(
        self,
        reactor: Reactor,
        environ: Mapping[str, str],
        cgroup: str,
        node: str,
        *,
        adopt: bool,
        on_messages: Callable[[list[Message]], None],
        on_closed: Callable[[], None],
    ) -> None:
        """Start a keeper with this environment; raises OSError. By `node`, `outlast` finds it.

        `on_closed` is called once it is gone, after all that it said.
        """
        self._reactor = reactor
        self._on_messages = on_messages
        self._on_closed = on_closed
        self._heard = bytearray()
        self._unsent = b""
        self._look: DelayedCall | None = None
        self._pause = 0.0
        self._silences = 0
        """Questions since it has said something."""
        self._questions = 0
        self.given_up = False
        """Whether the keeper hung, and was killed for that."""
        self.dismissed = False
        """Whether it was killed to have a fresh one."""
        self._socket, theirs = socket.socketpair()
        try:
            self.process = _start(theirs.fileno(), environ, cgroup, node, adopt=adopt)
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()
        self._standing = standing(self.process.pid)
        self._socket.setblocking(False)
        reactor.addReader(self)

    def say(self, messages: list[Message]) -> None:
        """Send messages; they are lost if the keeper is."""
        idle = not self._unsent
        self._unsent += pack(messages)
        if idle:
            self.doWrite()
            if self._unsent:
                self._reactor.addWriter(self)

    @property
    def lives(self) -> bool:
        """Whether the keeper has not ended."""
        return self.process.poll() is None

    @property
    def is_as_started(self) -> bool:
        """Whether its commands still get what those before them got; it takes 10 us to know."""
        return standing(self.process.pid) in (self._standing, ())

    def dismiss(self) -> None:
        """Kill the keeper, which has nothing to do, to have a fresh one."""
        self.dismissed = True
        self.process.kill()

    def leave(self) -> None:
        """Have the keeper end all that it has, and itself; what it still says is heard."""
        self.relax()
        if self._socket.fileno() >= 0:
            self._socket.shutdown(socket.SHUT_WR)

    def expect(self, pause: float) -> None:
        """Ask the keeper every `pause` seconds whether it is there, and kill one that hangs.

        It is always there within milliseconds, whatever its command does, but for one that stops
        it: then it goes on after its first silence.
        """
        sooner = self._look is None or pause < self._pause
        self._pause = pause
        if sooner:
            self.relax()
            self._silences = 0
            self._ask()

    def relax(self) -> None:
        """Ask no more."""
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _ask(self) -> None:
        self._look = self._reactor.callLater(self._pause, self._judge)
        self._questions += 1
        self._silences += 1
        self.say([("ask", self._questions)])

    def _judge(self) -> None:
        self._look = None
        if self._silences < SILENCES:
            if self._silences and sys.platform != "win32":
                self.process.send_signal(signal.SIGCONT)
            self._ask()
            return
        log.error("the keeper with process %d hangs", self.process.pid)
        self.given_up = True
        self.process.kill()
        self._close()

    def fileno(self) -> int:
        """Return the descriptor, -1 once it is closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """Return what the reactor calls it in its errors."""
        return "keeper"

    def doRead(self) -> None:
        """Hear what the keeper says; called by the reactor."""
        try:
            data = self._socket.recv(CHUNK)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._close()
            return
        self._silences = 0
        self._heard += data
        if messages := unpack(self._heard):
            self._on_messages(messages)

    def doWrite(self) -> None:
        """Send what has to be sent; called by the reactor."""
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._unsent = b""  # the keeper is gone, as doRead will find
        if not self._unsent:
            self._reactor.removeWriter(self)

    def connectionLost(self, reason: Failure) -> None:
        """Close; called by the reactor."""
        self._close()

    def _close(self) -> None:
        if self._socket.fileno() >= 0:
            self.relax()
            self._reactor.removeReader(self)
            self._reactor.removeWriter(self)
            self._socket.close()
            self._on_closed()


async def outlast(clock: Clock, node: str) -> None:
    """Come back when no keeper of an earlier life of a node is left: it still ends commands."""
    deadline = clock.seconds() + OUTLASTING
    while found := _keepers(node):
        if clock.seconds() > deadline:
            for process in found:
                log.warning("a keeper of an earlier life hangs, process %d: killed", process.pid)
                with suppress(psutil.Error):
                    process.kill()
            return
        await sleep(clock, LOOK)


def _keepers(node: str) -> list[psutil.Process]:
    found = psutil.process_iter(["cmdline"])
    # The interpreter may be another one by now, and the program in another place.
    return [one for one in found if (one.info["cmdline"] or [""])[-1] == node]


def _start(
    control: int, environ: Mapping[str, str], cgroup: str, node: str, *, adopt: bool
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", PROGRAM, str(control), cgroup, str(int(adopt)), node],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[control],
        env=environ,
        start_new_session=True,
    )
