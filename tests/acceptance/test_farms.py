"""A farm that moves to another address, and two farms that have the same address by turns."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.acceptance.farm import (
    eventually,
    marked,
    processes,
    run_states,
    running_node,
    running_server,
    state,
    submit,
)


def database(folder: Path) -> str:
    return f"sqlite:///{folder / 'coalition.db'}"


def another_port() -> int:
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        number: int = tcp.getsockname()[1]
        return number


def test_a_result_that_the_server_missed_arrives_at_its_new_address(
    free_port: int, tmp_path: Path
) -> None:
    server, node, go = tmp_path / "server", tmp_path / "node", tmp_path / "go"
    old, new = f"http://127.0.0.1:{free_port}", f"http://127.0.0.1:{another_port()}"
    with running_node(node, old, "node") as worker:
        with running_server(server, database(server), free_port):
            job = submit(old, f"while [ ! -e {go} ]; do sleep 0.05; done; exit 3")
            eventually(lambda: state(old, job) == "WORKING")
        go.touch()
        eventually(lambda: "ends with 3" in (node / "worker.log").read_text("utf-8"))
        worker.process.kill()
    with (
        running_server(server, database(server), int(new.rpartition(":")[2])),
        running_node(node, new, "node"),
    ):
        eventually(lambda: state(new, job) == "ERROR")
        assert run_states(new, job) == ["ERROR"]


def test_two_farms_at_one_address_by_turns_do_not_mix(free_port: int, tmp_path: Path) -> None:
    """Runs of both have the same numbers."""
    url, sun, moon = f"http://127.0.0.1:{free_port}", tmp_path / "sun", tmp_path / "moon"
    with running_node(tmp_path / "node", url, "node"):
        with running_server(sun, database(sun), free_port):
            command = f"test -e {tmp_path}/go || exec sleep 600"
            first = submit(url, command, environment=marked(tmp_path))
            eventually(lambda: processes(tmp_path))
        with running_server(moon, database(moon), free_port):
            second = submit(url, "exit 3")
            assert second == first
            eventually(lambda: state(url, second) == "ERROR")
            assert processes(tmp_path) == []
            assert run_states(url, second) == ["ERROR"]
        (tmp_path / "go").touch()
        with running_server(sun, database(sun), free_port):
            eventually(lambda: state(url, first) == "FINISHED")
            assert run_states(url, first)[-1] == "FINISHED"
            assert len(run_states(url, first)) == 2
