"""What a node needs of its reactor, and how to wait on it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.threads import deferToThreadPool

P = ParamSpec("P")
Result = TypeVar("Result")


log = logging.getLogger(__name__)


class Clock(Protocol):
    """Time that only grows, in seconds, and calls at a time to come."""

    def seconds(self) -> float:
        """Return the time."""

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> DelayedCall:
        """Call `callable` after `delay` seconds."""


class Reactor(Clock, Protocol):
    """A clock that also watches file descriptors and takes calls from threads."""

    def addReader(self, reader: Any) -> None:
        """Call `reader.doRead` whenever there is something to read."""

    def removeReader(self, reader: Any) -> None:
        """Stop it."""

    def addWriter(self, writer: Any) -> None:
        """Call `writer.doWrite` whenever something can be written."""

    def removeWriter(self, writer: Any) -> None:
        """Stop it."""

    def callFromThread(
        self, callable: Callable[..., object], *args: object, **kwargs: object
    ) -> None:
        """Call `callable` in the reactor's thread; may be called in any."""

    def listenUDP(self, port: int, protocol: DatagramProtocol) -> Any:
        """Open a UDP port, any free one for 0."""

    def getThreadPool(self) -> Any:
        """Return the pool for calls that block."""


async def sleep(clock: Clock, seconds: float) -> None:
    """Come back after some seconds."""
    over: Deferred[None] = Deferred()
    clock.callLater(max(0.0, seconds), over.callback, None)
    await over


def in_thread(
    reactor: Reactor, work: Callable[P, Result], *args: P.args, **kwargs: P.kwargs
) -> Deferred[Result]:
    """Return what `work` returns, which may block: it is done in a thread."""
    return deferToThreadPool(cast(Any, reactor), reactor.getThreadPool(), work, *args, **kwargs)


def in_background(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that nobody waits for; an error that it does not handle goes to the log."""
    Deferred.fromCoroutine(work).addErrback(
        lambda failure: log.error("this should not happen", exc_info=failure.value)
    )
