from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from coalition.cli import programs
from tests.server.builders import Api, Inside, inside

MAXBODY = 400_000


@pytest.fixture(scope="session")
def port() -> int:
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        number: int = tcp.getsockname()[1]
        return number


@pytest.fixture(scope="session")
def server(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A real server on SQLite that the tests of the API share; nobody works there by itself."""
    datadir = tmp_path_factory.mktemp("server")
    (datadir / "coalition.ini").write_text(f"[server]\nmaxbody={MAXBODY}\n")
    with programs.server(datadir, port):
        yield Api(f"http://127.0.0.1:{port}", datadir)


@pytest.fixture
def api(server: Api) -> Iterator[Api]:
    """The shared server, without jobs and workers."""
    yield server
    server.delete("jobs", [job["id"] for job in server.get("jobs")])
    server.delete("workers", [worker["name"] for worker in server.get("workers")])


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Inside]:
    """A server's parts on SQLite, without sockets and threads, on a clock that the test moves."""
    with inside(tmp_path) as made:
        yield made
