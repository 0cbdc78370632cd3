"""Finding the server on the network: a question by UDP broadcast, which a server answers."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import psutil
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol

from coalition import wire
from coalition.worker.health import look
from coalition.worker.reactor import Reactor, in_background

EVERYWHERE = "255.255.255.255"

ASK_AGAIN = 1.0
"""Seconds between two questions, as in 4.0."""

LISTEN_ON = 1.0
"""Seconds after the first answer in which other servers are heard and named: long enough for any
network that a broadcast reaches."""

log = logging.getLogger(__name__)


async def find_server(reactor: Reactor, addresses: Iterable[str], port: int) -> str:
    """Return the URL of the first server that answers on `port`; ask until there is one.

    Whoever answers has to speak HTTP as a server does. Servers that answer a little later are named
    in the log. No addresses: those of all interfaces, looked up each time, since networks come and
    go.
    """
    question = _Question(reactor, list(addresses), port)
    reactor.listenUDP(0, question)
    try:
        url = await question.answer
    except BaseException:
        question.close()
        raise
    log.info("found the server %s", url)
    return url


def broadcast_addresses() -> set[str]:
    """Return the broadcast address of every interface, the loopback's too, and the general one.

    The general one is not enough: without a default route it leads nowhere.
    """
    found = {EVERYWHERE}
    for entries in psutil.net_if_addrs().values():
        found.update(filter(None, map(_broadcast_of, entries)))
    return found


def _broadcast_of(entry: Any) -> str | None:
    if entry.family != socket.AF_INET or entry.ptp:
        return None
    if entry.broadcast or not entry.netmask:
        return str(entry.broadcast or "") or None
    network = ipaddress.ip_network(f"{entry.address}/{entry.netmask}", strict=False)
    return str(network.broadcast_address)


class _Question(DatagramProtocol):
    """Asks every second, has who answers looked at, and takes the first that is a server."""

    transport: Any

    def __init__(self, reactor: Reactor, addresses: list[str], port: int) -> None:
        self._reactor = reactor
        self._addresses = addresses
        self._port = port
        self._looked_at: set[str] = set()
        self._others: set[str] = set()
        self._found = ""
        self._over = False
        self.answer: Deferred[str] = Deferred()

    def startProtocol(self) -> None:
        self.transport.setBroadcastAllowed(True)
        log.info("looking for a server")
        self._ask()

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        url = f"http://{addr[0]}:{addr[1]}"
        if datagram.strip() == wire.DISCOVERY_ANSWER and url not in self._looked_at:
            self._looked_at.add(url)
            in_background(self._look_at(url))

    def close(self) -> None:
        """Hear no more."""
        if not self._over:
            self._over = True
            self.transport.stopListening()

    async def _look_at(self, url: str) -> None:
        reason = await _why_no_server(self._reactor, url)
        if self._over:
            return
        if reason:
            # It is looked at again when it answers again: a server may be about to start.
            self._looked_at.discard(url)
            if url not in self._others:
                log.warning("%s answers, but is no server of Coalition: %s", url, reason)
            self._others.add(url)
        elif not self._found:
            self._found = url
            self._reactor.callLater(LISTEN_ON, self.close)
            self.answer.callback(url)
        elif not _same_computer(url, self._found):
            log.warning("another server, %s, answers too; this node works for %s", url, self._found)

    def _ask(self) -> None:
        if self._found or self._over:
            return
        for address in self._addresses or sorted(broadcast_addresses()):
            # No such network, no route, a firewall: another address may still be heard.
            with contextlib.suppress(OSError):
                self.transport.write(wire.DISCOVERY_QUESTION, (address, self._port))
        self._reactor.callLater(ASK_AGAIN, self._ask)


async def _why_no_server(reactor: Reactor, url: str) -> str:
    """Return what is wrong with the server at `url`, nothing if it answers as one does."""
    try:
        await look(reactor, url)
    except Exception as error:
        # Whatever else uses the port may answer in any way, or not at all.
        return str(error) or type(error).__name__
    return ""


def _same_computer(url: str, other: str) -> bool:
    """Say whether both are this computer, whose server answers from several addresses."""
    own = {entry.address for entries in psutil.net_if_addrs().values() for entry in entries}
    return {urlsplit(url).hostname, urlsplit(other).hostname} <= own
