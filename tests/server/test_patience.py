"""How long the server waits for a client that drips, sleeps or does not read what it is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from coalition.server.site import CoalitionSite
from tests.server.builders import Inside

MB = 1024 * 1024
HEADER = b"PUT /api/jobs HTTP/1.1\r\nHost: farm\r\n"


class Wire(StringTransport):
    """A socket in memory: the client reads when the test does, and keeps its own side open."""

    ended = aborted = False

    def loseWriteConnection(self) -> None:
        self.ended = True

    def loseConnection(self) -> None:
        self.ended = True

    def abortConnection(self) -> None:
        self.aborted = True


class Client:
    def __init__(self, farm: Inside, folder: Path) -> None:
        self.farm = farm
        site = CoalitionSite(farm.service, folder, 64 * MB, farm.clock)
        site.doStart()
        self._site = site
        self.wire = Wire(peerAddress=IPv4Address("TCP", "127.0.0.1", 1))
        self.channel: Any = site.buildProtocol(None)
        self.channel.makeConnection(self.wire)

    def says(self, data: bytes, then: float = 0.0) -> None:
        self.channel.dataReceived(data)
        self.waits(then)

    def waits(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.farm.clock.advance(1.0)
        self.farm.turn(10)

    @property
    def told(self) -> list[int]:
        """The statuses of the answers so far."""
        said = self.wire.value()
        return [int(part[:3]) for part in said.split(b"HTTP/1.1 ")[1:]]


@pytest.fixture
def client(farm: Inside, tmp_path: Path) -> Client:
    return Client(farm, tmp_path)


def test_a_header_that_drips_is_cut_off_after_half_a_minute(client: Client) -> None:
    for byte in HEADER[:28]:
        client.says(bytes([byte]), then=1)
    assert client.told == [] and not client.wire.ended
    for byte in HEADER[28:33]:
        client.says(bytes([byte]), then=1)

    assert client.told == [408] and client.wire.ended
    error = json.loads(client.wire.value().partition(b"\r\n\r\n")[2])["error"]
    assert error["code"] == "too_slow"
    client.waits(12)
    assert client.wire.aborted


def test_a_body_that_drips_is_cut_off(client: Client, farm: Inside) -> None:
    client.says(HEADER + b'Content-Length: 100000\r\n\r\n{"command": "')
    for _ in range(33):
        client.says(b"x", then=1)

    assert client.told == [408] and client.wire.ended and not farm.farm.tree.jobs


def test_a_large_body_may_take_its_time_as_long_as_it_flows(client: Client, farm: Inside) -> None:
    body = b'{"command": "true"' + b" " * 1_000_000 + b"}"
    client.says(HEADER + b"Content-Length: %d\r\n\r\n" % len(body))
    for start in range(0, len(body), 2_000):
        client.says(body[start : start + 2_000], then=1)

    assert client.told == [200] and not client.wire.ended and len(farm.farm.tree.jobs) == 1


def test_an_upload_that_stops_in_the_middle_is_cut_off(client: Client) -> None:
    client.says(HEADER + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(40):
        client.says(b"1000\r\n" + b" " * 4096 + b"\r\n", then=1)
    assert client.told == []
    client.waits(62)

    assert client.told == [408]


def test_a_node_may_be_held_while_it_has_no_news(client: Client, farm: Inside) -> None:
    body = json.dumps({"node": "n", "workers": [{"name": "n-1"}], "wait": 20}).encode()
    line = b"POST /workers/node HTTP/1.1\r\nHost: farm\r\nContent-Length: %d\r\n\r\n"
    client.says(line % len(body) + body, then=18)
    assert client.told == [] and not client.wire.ended
    farm.submit()
    farm.turn(10)

    assert client.told == [200] and not client.wire.ended


def test_a_connection_without_requests_is_closed_after_a_while(client: Client) -> None:
    client.says(b"GET /health HTTP/1.1\r\nHost: farm\r\n\r\n", then=60)
    client.says(b"GET /health HTTP/1.1\r\nHost: farm\r\n\r\n", then=70)
    assert client.told == [200, 200] and not client.wire.ended
    client.waits(10)

    assert client.told == [200, 200] and client.wire.ended


def test_who_does_not_read_an_answer_is_cut_off(client: Client) -> None:
    client.says(b"GET /health HTTP/1.1\r\nHost: farm\r\n\r\n")
    client.wire.producer.pauseProducing()  # what a socket does that has enough
    client.waits(110)
    assert not client.wire.aborted
    client.waits(15)

    assert client.wire.aborted


def test_who_reads_slowly_gets_all_of_it(client: Client) -> None:
    client.says(b"GET /health HTTP/1.1\r\nHost: farm\r\n\r\n")
    for _ in range(5):
        client.wire.producer.pauseProducing()
        client.waits(100)
        client.wire.producer.resumeProducing()

    assert not client.wire.aborted


def test_what_is_refused_is_read_for_a_while_and_not_for_ever(client: Client) -> None:
    client.says(HEADER + b"Content-Length: 1000000000\r\n\r\n")
    assert client.told == [413] and client.wire.ended
    for _ in range(63):
        client.says(b"x" * MB)
    assert client.told == [413] and not client.wire.aborted
    client.says(b"x" * 2 * MB)

    assert client.wire.aborted


def test_connections_that_are_gone_are_looked_at_no_more(client: Client) -> None:
    client.says(HEADER)
    client.channel.connectionLost(Failure(ConnectionDone()))
    client.waits(100)

    assert client.told == [] and not client.wire.aborted
