from __future__ import annotations

from collections.abc import Iterator

import pytest

from coalition import Connection
from tests.scripted import Scripted, scripted_server


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted_server() as script:
        yield script


@pytest.fixture
def slept() -> list[float]:
    """The seconds that the connection has waited; it does not really do so."""
    return []


@pytest.fixture
def farm(server: Scripted, slept: list[float]) -> Connection:
    return Connection(server.url, sleep=slept.append, clock=lambda: sum(slept))
