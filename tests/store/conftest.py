from __future__ import annotations

from collections.abc import Iterator

import pytest

from coalition.store.engine import Store, open_store


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A store on a new database, set up as at the start of a server."""
    store = open_store(store_url)
    store.prepare()
    yield store
    store.close()
