"""server.py: its options, its beginnings and its ends."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from coalition.cli import programs
from coalition.cli.programs import ROOT, Program
from coalition.store import versions
from coalition.store.engine import open_store
from tests.acceptance.farm import running_node, running_server, wait
from tests.conftest import mysql_connection
from tests.server.builders import Api
from tests.store.builders import load_all, make_job, save

PROGRAM = [sys.executable, str(ROOT / "server.py")]


def server_py(datadir: Path, *options: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COALITION_")}
    return subprocess.run(
        [*PROGRAM, "--datadir", str(datadir), *options],
        input=answer, capture_output=True, text=True, check=False, timeout=60, env=environment,
    )  # fmt: skip


def ended(program: Program, number: int) -> int:
    program.process.send_signal(number)
    return program.process.wait(30)


def sqlite(datadir: Path) -> str:
    return f"sqlite:///{datadir / 'coalition.db'}"


def filled(datadir: Path) -> None:
    """Set up the database of a folder, with a job in it and the job's log."""
    assert server_py(datadir, "--init").returncode == 0
    store = open_store(sqlite(datadir))
    save(store, new_jobs=[make_job(7, command="true")])
    store.close()
    (datadir / "logs").mkdir()
    (datadir / "logs" / "7.log").write_text("hello")


def jobs(datadir: Path) -> list[int]:
    store = open_store(sqlite(datadir))
    try:
        return [job.id for job, _, _ in load_all(store).jobs]
    finally:
        store.close()


def test_init_sets_up_an_empty_database_and_refuses_a_filled_one(tmp_path: Path) -> None:
    filled(tmp_path)
    again = server_py(tmp_path, "--init")

    assert again.returncode == 1
    assert again.stderr.startswith("server.py: ") and len(again.stderr.splitlines()) == 1
    assert jobs(tmp_path) == [7]


def test_the_log_says_what_of_the_settings_file_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "coalition.ini"
    file.write_text("[server]\nsavetime=300\n")

    assert server_py(tmp_path, "--init").returncode == 0
    said = f"{file}: [server] savetime: it means nothing any more; it is passed over\n"
    assert (tmp_path / "server.log").read_text().endswith(said)


def test_reset_deletes_everything_once_it_is_confirmed(tmp_path: Path) -> None:
    filled(tmp_path)
    for answer in ("", "yes\n"):
        assert server_py(tmp_path, "--reset", answer=answer).returncode == 1
        assert jobs(tmp_path) == [7]
    asked = server_py(tmp_path, "--reset", answer="Yes, proceed!\n")

    assert (asked.returncode, jobs(tmp_path)) == (0, [])
    assert list((tmp_path / "logs").iterdir()) == []


def test_reset_with_yes_asks_nothing(tmp_path: Path) -> None:
    filled(tmp_path)

    assert server_py(tmp_path, "--reset", "--yes").returncode == 0
    assert jobs(tmp_path) == []


def test_migrate_leaves_a_database_that_is_up_to_date_as_it_is(tmp_path: Path) -> None:
    filled(tmp_path)

    assert server_py(tmp_path, "--migrate").returncode == 1
    assert server_py(tmp_path, "--migrate", "--yes").returncode == 0
    assert jobs(tmp_path) == [7]


def test_migrate_says_when_copies_from_before_are_those_of_another_farm(tmp_path: Path) -> None:
    store = open_store(sqlite(tmp_path))
    with store.writing() as connection:
        versions.upgrade(connection, "0003")
    store.close()
    first, again = (server_py(tmp_path, "--migrate", "--yes") for _ in range(2))

    assert (first.returncode, again.returncode) == (0, 0)
    assert "a copy from before, restored and migrated, would be another farm" in first.stdout
    assert again.stdout == "The database is up to date.\n"


@pytest.mark.parametrize(
    ("ini", "words"),
    [
        ("[server]\nprot=5\n", ["coalition.ini", "server", "prot", "port"]),
        ("[server]\nport=x\n", ["coalition.ini", "server", "port"]),
        ("[server]\ntimeout=-1\n", ["coalition.ini", "timeout"]),
        ("nonsense", ["coalition.ini"]),
    ],
)
def test_wrong_settings_are_one_line_and_exit_code_2(
    tmp_path: Path, ini: str, words: list[str]
) -> None:
    (tmp_path / "coalition.ini").write_text(ini)
    refused = server_py(tmp_path)

    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert all(word in refused.stderr for word in words)
    assert not (tmp_path / "coalition.db").exists()


@pytest.mark.parametrize("option", ["--nonsense", "--config=missing.ini", "--port=x"])
def test_wrong_options_are_exit_code_2(tmp_path: Path, option: str) -> None:
    assert server_py(tmp_path, option).returncode == 2


def test_a_second_server_on_the_same_data_folder_refuses(free_port: int, tmp_path: Path) -> None:
    with programs.server(tmp_path, free_port):
        second = server_py(tmp_path, "--port", "0")
        for option in ("--reset", "--migrate"):
            assert server_py(tmp_path, option, "--yes").returncode == 1

        assert (second.returncode, len(second.stderr.splitlines())) == (1, 1)
        assert "another server" in second.stderr
        assert programs.answers(f"http://127.0.0.1:{free_port}/api/jobs")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_in_use_is_one_line_and_exit_code_1(
    kind: int, free_port: int, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("", free_port))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        refused = server_py(tmp_path, "--port", str(free_port))

    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    assert str(free_port) in refused.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_with_everything_kept(
    store_url: str, number: int, free_port: int, tmp_path: Path
) -> None:
    api = Api(f"http://127.0.0.1:{free_port}", tmp_path)
    with running_server(tmp_path / "server", store_url, free_port) as program:
        ids = [api.put({"title": str(n), "command": "true"}) for n in range(5)]
        api.post("pausejobs", ids[:2])
        api.delete("jobs", ids[4:])
        api.worker("pickjob", "w")
        before = api.get("jobs")
        assert ended(program, number) == 0

    with running_server(tmp_path / "server", store_url, free_port):
        after = Api(api.url, tmp_path).get("jobs")
    assert [job["state"] for job in after] == ["PAUSED", "PAUSED", "WORKING", "WAITING"]
    for job in (*before, *after):
        job["duration"] = job["ping_time"] = 0
    assert after == before


def test_a_server_that_is_asked_to_end_answers_the_nodes_that_wait(
    free_port: int, tmp_path: Path
) -> None:
    with programs.server(tmp_path, free_port) as program:
        with socket.create_connection(("127.0.0.1", free_port)) as node:
            body = b'{"node":"n","workers":[{"name":"n"}],"wait":15}'
            head = f"POST /workers/node HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            node.sendall(head.encode() + body)
            api = Api(f"http://127.0.0.1:{free_port}", tmp_path)
            while not api.get("workers"):
                pass
            program.process.terminate()
            node.settimeout(10)
            assert node.recv(12) == b"HTTP/1.1 200"
        assert program.process.wait(10) == 0


def test_a_database_that_takes_nothing_for_a_while_loses_no_job(
    free_port: int, tmp_path: Path
) -> None:
    api = Api(f"http://127.0.0.1:{free_port}", tmp_path)
    with programs.server(tmp_path, free_port) as program:
        with locked(tmp_path):
            refused = api.ask("PUT", "/api/jobs", {"title": "kept", "command": "true"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_durable")
            assert api.ask("GET", "/health").status_code == 503
        api.put({"title": "next", "command": "true"})
        assert [job["title"] for job in api.get("jobs")] == ["kept", "next"]
        assert api.ask("GET", "/health").json()["reasons"] == []
        with locked(tmp_path):
            program.process.terminate()
            assert program.process.wait(5) == 0


@contextmanager
def locked(datadir: Path) -> Iterator[None]:
    """Keep everybody else from writing to the database of a folder."""
    connection = sqlite3.connect(datadir / "coalition.db", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("ROLLBACK")
    connection.close()


def test_a_server_that_cannot_write_ends_all_the_same_and_says_so(
    free_port: int, tmp_path: Path
) -> None:
    api = Api(f"http://127.0.0.1:{free_port}", tmp_path)
    with programs.server(tmp_path, free_port) as program, locked(tmp_path):
        begun = threading.Thread(target=api.ask, args=("PUT", "/api/jobs", {"command": "true"}))
        begun.start()
        while api.ask("GET", "/health").status_code == 200:
            pass
        assert ended(program, signal.SIGTERM) == 1
        begun.join()
    assert "could not be written" in (tmp_path / "server.log").read_text()


def test_requests_succeed_after_every_connection_to_the_database_was_cut(
    mysql_url: str, free_port: int, tmp_path: Path
) -> None:
    api = Api(f"http://127.0.0.1:{free_port}", tmp_path)
    database = make_url(mysql_url).database
    with running_server(tmp_path / "server", mysql_url, free_port):
        first = api.put({"command": "true"})
        with mysql_connection() as root, root.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM information_schema.processlist WHERE db = %s", [database]
            )
            for (number,) in cursor.fetchall():
                cursor.execute(f"KILL {number}")
        second = api.put({"command": "true"})

        assert [job["id"] for job in api.get("jobs")] == [first, second]
        assert api.ask("GET", "/health").status_code == 200


def test_a_running_command_survives_the_restart_of_the_server(
    free_port: int, tmp_path: Path
) -> None:
    api = Api(f"http://127.0.0.1:{free_port}", tmp_path)
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    command = f"echo x >> {begun}; while [ ! -e {gate} ]; do sleep 0.05; done; echo through"
    with running_node(tmp_path / "node", api.url, "node") as node:
        with running_server(tmp_path / "server", sqlite(tmp_path), free_port) as program:
            id = api.put({"command": command})
            while not begun.exists():
                pass
            ended(program, signal.SIGTERM)
        gate.touch()
        with running_server(tmp_path / "server", sqlite(tmp_path), free_port):
            assert wait(api.url, str(id), 30) == 0
            node.end()
            shown = Api(api.url, tmp_path).get(f"jobs/{id}")
            assert "through\n" in Api(api.url, tmp_path).get(f"jobs/{id}/log")

    assert (shown["run_done"], begun.read_text()) == (1, "x\n")
