"""The way to the server: a report goes out, orders come back."""

from __future__ import annotations

import contextlib
import logging
from typing import Any, NoReturn, Protocol, cast

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.web.client import Agent, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers

from coalition import wire
from coalition.errors import OtherFarm, Refused, ServerUnreachable, TooLarge
from coalition.worker.health import NoServer, ask_for_health
from coalition.worker.reactor import Reactor

CONNECT_TIME = 10.0
"""Seconds for a connection to be made."""

OTHER = "the server is that of another farm now"

log = logging.getLogger(__name__)


class Farm(Protocol):
    """The farm that a node works for, as far as that is known."""

    @property
    def identity(self) -> str:
        """What it is told from others by, or nothing."""

    def meet(self, farm: str) -> bool:
        """Hear which farm answers, nothing if it does not say; tell whether it can be this one.

        Raises OSError when that cannot be noted, but has to be.
        """


class Link:
    """Connections to one server that are kept open, so that a report costs one round trip.

    It tells a farm's runs to no other: it asks who is there before the first report and after every
    outage, says in each whose runs these are, and looks at each answer. What does not answer as a
    farm's server does, like a page about its maintenance, is no other farm but an outage.
    """

    def __init__(self, reactor: Reactor, url: str, version: str, farm: Farm) -> None:
        """Connect to nothing yet; `url` is the server's base URL."""
        self._reactor = reactor
        self._base = url
        self._url = f"{url}{wire.NODE_PATH}".encode("ascii")
        self._farm = farm
        self._asked = False
        self._flights: set[Deferred[wire.Orders]] = set()
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._agent = Agent(reactor, connectTimeout=CONNECT_TIME, pool=self._pool)
        self._headers = Headers(
            {"Content-Type": ["application/json"], "User-Agent": [f"coalition-worker/{version}"]}
        )

    def send(self, report: wire.Report, patience: float) -> Deferred[wire.Orders]:
        """Return the server's answer to a report.

        It may take `patience` seconds beyond the wait that the report agrees to.
        Fails with ServerUnreachable when none comes in time, or none that a server would give, or
        when it cannot be noted whose it is; with OtherFarm when it is the server of another farm;
        with Refused when it does not take the report.
        """
        answer = Deferred.fromCoroutine(self._exchange(report))
        clock = cast(Any, self._reactor)
        self._flights.add(answer)
        answer.addTimeout(report.wait + patience, clock, onTimeoutCancel=_give_up)
        return answer.addBoth(self._land, answer)

    def _land(self, result: Any, flight: Deferred[wire.Orders]) -> Any:
        self._flights.discard(flight)
        return result

    def close(self) -> Deferred[None]:
        """Close the connections; what is not answered fails with ServerUnreachable."""
        for flight in list(self._flights):
            flight.cancel()
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed

    async def _exchange(self, report: wire.Report) -> wire.Orders:
        try:
            if not self._asked:
                await self._ask()
            report.farm = self._farm.identity
            orders = await self._post(msgspec.json.encode(report))
            if self._farm.identity and not orders.farm:
                raise ServerUnreachable("the answer does not say that it is of a Coalition server")
            self._check(orders.farm)
            return orders
        except (ServerUnreachable, OtherFarm):
            self._asked = False  # whoever answers next may be another
            raise

    async def _ask(self) -> None:
        """Ask who is there; nothing may be told before that."""
        try:
            health = await ask_for_health(self._agent, self._base)
        except NoServer:
            pass  # a proxy may let only reports through: then their answers have to tell it
        except Exception as error:
            _raise_unreachable(error)
        else:
            self._check(health.farm)
        self._asked = True

    def _check(self, farm: str) -> None:
        try:
            known = self._farm.meet(farm)
        except OSError as error:
            raise ServerUnreachable(
                f"nothing is taken from farm {farm}, as this cannot be noted in the outbox: {error}"
            ) from error
        if not known:
            raise OtherFarm(OTHER, farm=farm)

    async def _post(self, body: bytes) -> wire.Orders:
        producer: Any = _Body(body)
        log.debug("report: %.2000s", body)
        try:
            response = await self._agent.request(b"POST", self._url, self._headers, producer)
            answer = await readBody(response)
        except Exception as error:
            _raise_unreachable(error)
        log.debug("answer: %d %.2000s", response.code, answer)
        return _orders(response.code, answer)


def _raise_unreachable(error: Exception) -> NoReturn:
    # There are many ways for an answer not to come, and no use in telling them apart.
    raise ServerUnreachable(f"the server does not answer: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Say what happened below the errors that only wrap others."""
    while reasons := getattr(error, "reasons", None):
        error = reasons[0].value
    return str(error)


def _orders(status: int, answer: bytes) -> wire.Orders:
    if 400 <= status < 500:
        raise _refusal(status, answer)
    if status != 200:
        raise ServerUnreachable(f"the server answers with an error: {status}")
    try:
        return msgspec.json.decode(answer, type=wire.Orders)
    except msgspec.DecodeError as error:
        raise ServerUnreachable(f"the answer is not that of a Coalition server: {error}") from error


def _refusal(status: int, answer: bytes) -> Refused:
    kind: type[Refused] = TooLarge if status == 413 else Refused
    message, detail = answer[:200].decode("utf-8", "replace"), {}
    with contextlib.suppress(msgspec.DecodeError):
        told = msgspec.json.decode(answer, type=wire.ErrorAnswer).error
        message, detail = told.message, told.detail
        if told.code == OtherFarm.code:
            return OtherFarm(OTHER, farm=msgspec.convert(detail.get("farm"), type=wire.Identity))
    error = kind(f"the server does not take the report: {status} {message}")
    error.detail = detail
    return error


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
