from __future__ import annotations

import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from coalition.worker import discovery, health
from coalition.worker.discovery import EVERYWHERE, broadcast_addresses, find_server
from coalition.worker.reactor import sleep
from tests.worker.real import PATIENCE, ROOT, eventually, in_reactor, running_node
from tests.worker.scripted import ScriptedServer


@contextmanager
def answering(port: int, *answers: bytes, host: str = "") -> Iterator[list[bytes]]:
    """Answer questions by UDP in turn, the first with nothing, from then on with the last answer.

    Yields what was asked.
    """
    asked: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, port))

        def work() -> None:
            left = list(answers)
            while (question := sock.recvfrom(100))[0] != b"over":
                asked.append(question[0])
                sock.sendto(left.pop(0) if len(left) > 1 else left[0], question[1])

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield asked
        finally:
            sock.sendto(b"over", (host or "127.0.0.1", port))
            thread.join()


def page(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d .\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


class Pages(socketserver.StreamRequestHandler):
    """Answers requests over HTTP with the pages of its server in turn, then with the last one."""

    server: Any

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        pages = self.server.pages
        self.wfile.write(pages.pop(0) if len(pages) > 1 else pages[0])


@contextmanager
def saying(port: int, *pages: bytes, host: str = "127.0.0.1") -> Iterator[list[bytes]]:
    """Answer HTTP requests with these pages; yield those that are left, the last one always is."""
    with socketserver.ThreadingTCPServer((host, port), Pages) as server:
        server.pages = list(pages)  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.pages  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()


WELL = page(200, b'{"ok": true, "reasons": []}')


def found(port: int, *addresses: str) -> str:
    return in_reactor(lambda reactor: find_server(reactor, addresses, port))


def test_the_first_proper_answer_names_the_server(free_port: int) -> None:
    with saying(free_port, WELL), answering(free_port, b"who is there?", b"", b"roxor") as asked:
        assert found(free_port, "127.255.255.255") == f"http://127.0.0.1:{free_port}"
    assert asked == [b"coalition"] * 3


def test_a_server_in_trouble_is_a_server(free_port: int) -> None:
    trouble = page(503, b'{"ok": false, "reasons": ["the disk is full"]}')
    with saying(free_port, trouble), answering(free_port, b"roxor"):
        assert found(free_port, "127.255.255.255") == f"http://127.0.0.1:{free_port}"


NO_SERVERS = [
    page(404, b"not found"),
    page(200, b"<html>the printer is ready</html>"),
    page(200, b'{"status": "green"}'),
    page(503, b"x" * 100_000),
    b'HTTP/1.1 200 of no length\r\n\r\n{"ok": true, "reasons": []}',
    b"220 mail is welcome here\r\n",
    b"",
]


def test_what_is_no_server_is_named_once_and_not_taken(
    free_port: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "ASK_AGAIN", 0.01)
    with saying(free_port, *NO_SERVERS, WELL) as pages, answering(free_port, b"roxor"):
        assert found(free_port, "127.0.0.1") == f"http://127.0.0.1:{free_port}"
        assert pages == [WELL]
    warnings = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert len(warnings) == 1
    assert f"http://127.0.0.1:{free_port} answers, but is no server of Coalition" in warnings[0]


def test_what_is_no_server_fills_no_log(free_port: int, tmp_path: Path) -> None:
    ini = f"broadcast=127.255.255.255\n[server]\nport={free_port}\n"
    pages = [NO_SERVERS[0], NO_SERVERS[3], NO_SERVERS[4]]
    with (
        saying(free_port, *pages, WELL) as left,
        answering(free_port, b"roxor"),
        running_node(tmp_path, ini=ini) as node,
    ):
        eventually(lambda: left == [WELL] and "found the server" in node.log)
        looked, no_server, found_one, *_ = node.log.splitlines()
        assert "looking for a server" in looked and "is no server" in no_server
        assert "found the server" in found_one


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def back_to(reactor: Any, number: int) -> None:
    """Wait until no more descriptors than that are open."""
    while descriptors() > number:
        await sleep(reactor, 0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc tells of descriptors here")
def test_looking_at_many_that_are_no_servers_leaves_nothing_open(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "ASK_AGAIN", 0.001)

    async def work(reactor: Any) -> None:
        await find_server(reactor, ["127.0.0.1"], free_port)
        before = descriptors()  # with those that a reactor has anyway
        await find_server(reactor, ["127.0.0.1"], free_port)
        await back_to(reactor, before)

    with saying(free_port, WELL, *NO_SERVERS * 10, WELL) as pages, answering(free_port, b"roxor"):
        in_reactor(work)
        assert pages == [WELL]


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc tells of descriptors here")
@pytest.mark.parametrize(
    ("said", "patience"), [(b"", 0.01), (b"HTTP/1.1 404 .\r\nContent-Length: 9\r\n\r\n", 60.0)]
)
def test_looking_again_and_again_at_one_that_never_finishes_leaves_nothing_open(
    free_port: int, monkeypatch: pytest.MonkeyPatch, said: bytes, patience: float
) -> None:
    monkeypatch.setattr(discovery, "ASK_AGAIN", 0.001)
    monkeypatch.setattr(health, "LOOK_TIME", patience)
    looks: list[socket.socket] = []

    async def work(reactor: Any) -> None:
        looking = Deferred.fromCoroutine(find_server(reactor, ["127.0.0.1"], free_port))
        looking.addErrback(lambda failure: failure.trap(CancelledError))
        before = 0
        while len(looks) < 20:
            await sleep(reactor, 0.01)
            with suppress(OSError):  # nobody asks now, or has given up already
                looks.append(mute.accept()[0])
                before = before or descriptors()  # a reactor has some itself from now on
                looks[-1].sendall(said)
        looking.cancel()
        await back_to(reactor, before + len(looks))

    with socket.create_server(("127.0.0.1", free_port)) as mute, answering(free_port, b"roxor"):
        mute.setblocking(False)
        in_reactor(work)
    for look in looks:
        look.close()


def test_a_second_server_is_named_beside_the_first(
    free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    hosts = ["127.0.0.1", "127.0.0.2"]

    async def work(reactor: Any) -> str:
        url = await find_server(reactor, hosts, free_port)
        while not any("answers too" in message for message in caplog.messages):
            await sleep(reactor, 0.01)
        return url

    with (
        saying(free_port, WELL, host=hosts[0]),
        saying(free_port, WELL, host=hosts[1]),
        answering(free_port, b"roxor", host=hosts[0]),
        answering(free_port, b"roxor", host=hosts[1]),
    ):
        one = in_reactor(work)
    (two,) = {f"http://{host}:{free_port}" for host in hosts} - {one}
    told = f"another server, {two}, answers too; this node works for {one}"
    assert told in caplog.messages


ALONE = """
from tests.worker.test_discovery import WELL, answering, found, saying

with saying(19211, WELL), answering(19211, b"roxor"):
    print(found(19211))
"""


def test_a_computer_without_a_network_finds_the_server_on_itself() -> None:
    if subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True).returncode:
        pytest.skip("network namespaces need root")
    alone = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$0" -c "$1"']
    run = subprocess.run(
        [*alone, sys.executable, ALONE], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
    )
    assert run.stdout == "http://127.0.0.1:19211\n", run.stderr


def test_every_interface_is_asked() -> None:
    assert {EVERYWHERE, "127.255.255.255"} <= broadcast_addresses()


def test_a_node_without_a_url_finds_its_server(free_port: int, tmp_path: Path) -> None:
    ini = f"broadcast=127.255.255.255\n[server]\nport={free_port}\n"
    with ScriptedServer(free_port).running() as server, running_node(tmp_path, ini=ini) as node:
        eventually(lambda: "looking for a server" in node.log)
        with answering(free_port, b"roxor"):
            server.wait_for(lambda: server.reports)
        assert f"found the server {server.url}" in node.log
        assert node.leave() == 0


def test_a_node_that_still_looks_leaves_at_once(free_port: int, tmp_path: Path) -> None:
    ini = f"broadcast=127.255.255.255\n[server]\nport={free_port}\n"
    with running_node(tmp_path, ini=ini) as node:
        eventually(lambda: "looking for a server" in node.log)
        node.interrupt()
        assert node.process.wait(3) == 0
