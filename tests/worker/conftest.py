from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.worker.directory import Directory


@pytest.fixture
def directory() -> Iterator[Directory]:
    """A directory whose threads end with the test."""
    directory = Directory()
    yield directory
    directory.tell()
