"""UDP discovery, as in 4.0: any datagram to the server's port is answered `roxor`."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import DatagramProtocol

from coalition.wire import DISCOVERY_ANSWER


class Discovery(DatagramProtocol):
    """Answers workers that look for their server."""

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Say: here. An answer is never answered: two servers would go on for ever."""
        if datagram == DISCOVERY_ANSWER:
            return
        transport: Any = self.transport
        transport.write(DISCOVERY_ANSWER, addr)
