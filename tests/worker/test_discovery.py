from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from coalition.worker.discovery import EVERYWHERE, broadcast_addresses, find_server
from tests.worker.real import PATIENCE, ROOT, eventually, in_reactor, running_node
from tests.worker.scripted import ScriptedServer


@contextmanager
def answering(port: int, *answers: bytes) -> Iterator[list[bytes]]:
    """Answer questions by UDP in turn, the first with nothing; yield what was asked."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", port))

        def work() -> None:
            for answer in answers:
                question, sender = sock.recvfrom(100)
                asked.append(question)
                if answer:
                    sock.sendto(answer, sender)

        thread = threading.Thread(target=work)
        thread.start()
        yield asked
        thread.join()


def test_the_first_proper_answer_names_the_server(free_port: int) -> None:
    async def work(reactor: Any) -> str:
        return await find_server(reactor, ["127.255.255.255"], free_port)

    with answering(free_port, b"who is there?", b"", b"roxor") as asked:
        assert in_reactor(work) == f"http://127.0.0.1:{free_port}"
    assert asked == [b"coalition"] * 3


ALONE = """
from tests.worker.test_discovery import answering, find_server, in_reactor

async def work(reactor):
    return await find_server(reactor, [], 19211)

with answering(19211, b"roxor"):
    print(in_reactor(work))
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
