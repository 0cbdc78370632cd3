"""Who answers at an address: what a server says of itself when it is asked how it is."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.web.client import Agent, readBody

from coalition import wire
from coalition.errors import ServerUnreachable
from coalition.worker.reactor import Reactor

LOOK_TIME = 5.0
"""Seconds for a server to say over HTTP that it is one; a busy one takes milliseconds."""

LONGEST_HEALTH = 64 * 1024
"""Bytes of that answer at most: what is no server of ours may send anything."""


class NoServer(ServerUnreachable):
    """What answers is no server of Coalition."""


async def look(reactor: Reactor, url: str) -> wire.Health:
    """Return what the server at `url` says, if it does so in time; else fails, with any error."""
    asking = Deferred.fromCoroutine(ask_for_health(Agent(reactor), url))
    return await asking.addTimeout(LOOK_TIME, cast(Any, reactor))


async def ask_for_health(agent: Agent, url: str) -> wire.Health:
    """Return what the server at `url` says.

    Raises NoServer for another answer than a server's, and what Twisted raises without one.
    """
    response = await agent.request(b"GET", f"{url}/health".encode("ascii"))
    if response.code not in (200, 503) or response.length not in range(LONGEST_HEALTH):
        cast(Any, response).deliverBody(_Unread())
        raise NoServer(f"its answer is {response.code}, of {response.length} bytes")
    body = await readBody(response)
    try:
        return msgspec.json.decode(body, type=wire.Health)
    except msgspec.DecodeError as error:
        raise NoServer(str(error)) from error


class _Unread(Protocol):
    """The body of an answer that nobody reads: its connection would stay open."""

    transport: Any

    def connectionMade(self) -> None:
        self.transport.loseConnection()
