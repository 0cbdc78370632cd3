from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pymysql
import pytest

UNDER_CI = bool(os.environ.get("CI"))

# A deadline per example measures the machine, not the program.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.load_profile("ci" if UNDER_CI else "here")


def mysql_address() -> tuple[str, int]:
    host, _, port = os.environ.get("COALITION_TEST_MYSQL", "127.0.0.1:3306").partition(":")
    return host, int(port or 3306)


def mysql_connection() -> pymysql.Connection[pymysql.cursors.Cursor]:
    host, port = mysql_address()
    try:
        return pymysql.connect(host=host, port=port, user="root", autocommit=True)
    except pymysql.err.OperationalError as error:
        if UNDER_CI:
            raise
        pytest.skip(f"no MariaDB answers on {host}:{port}: {error.args[-1]}")


@pytest.fixture
def mysql_url() -> Iterator[str]:
    """The URL of a new, empty database on MariaDB, which is dropped afterwards."""
    name = f"coalition_test_{uuid.uuid4().hex[:12]}"
    host, port = mysql_address()
    with mysql_connection() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        yield f"mysql+pymysql://root@{host}:{port}/{name}"
        cursor.execute(f"DROP DATABASE {name}")


@pytest.fixture(params=["sqlite", "mysql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new, empty database, once on each kind the server knows."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'coalition.db'}"
    url: str = request.getfixturevalue("mysql_url")
    return url


@pytest.fixture
def free_port() -> int:
    """A port number of 127.0.0.1 that is free for TCP and for UDP."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            tcp.bind(("127.0.0.1", 0))
            port: int = tcp.getsockname()[1]
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
