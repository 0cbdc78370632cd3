"""The way to the server: a report goes out, orders come back."""

from __future__ import annotations

import contextlib
import logging
from typing import Any, cast

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.web.client import Agent, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers

from coalition import wire
from coalition.errors import Refused, ServerUnreachable, TooLarge
from coalition.worker.reactor import Reactor

CONNECT_TIME = 10.0
"""Seconds for a connection to be made."""

log = logging.getLogger(__name__)


class Link:
    """Connections to one server that are kept open, so that a report costs one round trip."""

    def __init__(self, reactor: Reactor, url: str, version: str) -> None:
        """Connect to nothing yet; `url` is the server's base URL."""
        self._reactor = reactor
        self._url = f"{url}{wire.NODE_PATH}".encode("ascii")
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._agent = Agent(reactor, connectTimeout=CONNECT_TIME, pool=self._pool)
        self._headers = Headers(
            {"Content-Type": ["application/json"], "User-Agent": [f"coalition-worker/{version}"]}
        )

    def send(self, report: wire.Report, patience: float) -> Deferred[wire.Orders]:
        """Return the server's answer to a report.

        It may take `patience` seconds beyond the wait that the report agrees to.
        Fails with ServerUnreachable when none comes in time, or none that a server would give; with
        Refused when the server does not take the report.
        """
        answer = Deferred.fromCoroutine(self._exchange(report))
        clock = cast(Any, self._reactor)
        return answer.addTimeout(report.wait + patience, clock, onTimeoutCancel=_give_up)

    def close(self) -> Deferred[None]:
        """Close the connections."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed

    async def _exchange(self, report: wire.Report) -> wire.Orders:
        body = msgspec.json.encode(report)
        producer: Any = _Body(body)
        log.debug("report: %.2000s", body)
        try:
            response = await self._agent.request(b"POST", self._url, self._headers, producer)
            answer = await readBody(response)
        except Exception as error:
            # There are many ways for an answer not to come, and no use in telling them apart.
            raise ServerUnreachable(f"the server does not answer: {_reason(error)}") from error
        log.debug("answer: %d %.2000s", response.code, answer)
        return _orders(response.code, answer)


def _reason(error: Exception) -> str:
    """Say what happened below the errors that only wrap others."""
    while reasons := getattr(error, "reasons", None):
        error = reasons[0].value
    return str(error)


def _orders(status: int, answer: bytes) -> wire.Orders:
    if 400 <= status < 500:
        message, detail = answer[:200].decode("utf-8", "replace"), {}
        with contextlib.suppress(msgspec.DecodeError):
            told = msgspec.json.decode(answer, type=wire.ErrorAnswer).error
            message, detail = told.message, told.detail
        kind = TooLarge if status == 413 else Refused
        error = kind(f"the server does not take the report: {status} {message}")
        error.detail = detail
        raise error
    if status != 200:
        raise ServerUnreachable(f"the server answers with an error: {status}")
    try:
        return msgspec.json.decode(answer, type=wire.Orders)
    except msgspec.DecodeError as error:
        raise ServerUnreachable(f"the answer is not that of a Coalition server: {error}") from error


def _give_up(_result: object, seconds: float) -> wire.Orders:
    raise ServerUnreachable(f"the server has not answered for {seconds:.0f} s")


class _Body:
    """A request's body that is in memory, written at once."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        body, self._body = self._body, b""  # a request that was sent is not collected at once
        consumer.write(body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Do nothing: all was written."""

    def resumeProducing(self) -> None:
        """Do nothing: all was written."""

    def stopProducing(self) -> None:
        """Do nothing: all was written."""
