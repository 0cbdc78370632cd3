"""Finding the server on the network: a question by UDP broadcast, which a server answers."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
from collections.abc import Iterable
from typing import Any

import psutil
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol

from coalition import wire
from coalition.worker.reactor import Reactor

EVERYWHERE = "255.255.255.255"

ASK_AGAIN = 1.0
"""Seconds between two questions, as in 4.0."""

log = logging.getLogger(__name__)


async def find_server(reactor: Reactor, addresses: Iterable[str], port: int) -> str:
    """Return the URL of the first server that answers on `port`; ask until there is one.

    No addresses: those of all interfaces, looked up each time, since networks come and go.
    """
    question = _Question(reactor, list(addresses), port)
    listening = reactor.listenUDP(0, question)
    try:
        host, answered_port = await question.answer
    finally:
        question.over = True
        await listening.stopListening()
    url = f"http://{host}:{answered_port}"
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
    """Asks every second, and takes the first proper answer."""

    transport: Any

    def __init__(self, reactor: Reactor, addresses: list[str], port: int) -> None:
        self._reactor = reactor
        self._addresses = addresses
        self._port = port
        self.answer: Deferred[tuple[str, int]] = Deferred()
        self.over = False

    def startProtocol(self) -> None:
        self.transport.setBroadcastAllowed(True)
        log.info("looking for a server")
        self._ask()

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        if datagram.strip() == wire.DISCOVERY_ANSWER and not self.over:
            self.over = True
            self.answer.callback(addr)

    def _ask(self) -> None:
        if self.over:
            return
        for address in self._addresses or sorted(broadcast_addresses()):
            # No such network, no route, a firewall: another address may still be heard.
            with contextlib.suppress(OSError):
                self.transport.write(wire.DISCOVERY_QUESTION, (address, self._port))
        self._reactor.callLater(ASK_AGAIN, self._ask)
