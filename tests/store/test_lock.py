"""One database, one server."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from sqlalchemy import text

from coalition.errors import StoreBusy
from coalition.store.engine import Store, open_store
from coalition.store.mysql import MySQLLock
from tests.store.builders import kill, make_job, save

HOLDER = """
import sys
from coalition.errors import StoreBusy
from coalition.store.engine import open_store
store = open_store(sys.argv[1])
try:
    store.lock()
except StoreBusy as error:
    print(error, flush=True)
else:
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_server(url: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that tries to lock the database, and what it said."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline()
        finally:
            process.kill()


def lock_within(store: Store, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            store.lock()
        except StoreBusy:
            if time.monotonic() > deadline:
                raise
        else:
            return


def kill_lock_connection(store: Store) -> None:
    assert isinstance(store._lock, MySQLLock)
    kill(store, store._lock._connection.scalar(text("SELECT CONNECTION_ID()")))


def test_a_second_server_is_refused_with_a_clear_word(store_url: str) -> None:
    store = open_store(store_url)
    store.lock()
    with closing(store), another_server(store_url) as (_, said):
        assert "another server uses" in said


def test_a_server_that_was_killed_leaves_no_lock(store_url: str) -> None:
    with closing(open_store(store_url)) as store, another_server(store_url) as (process, said):
        assert said == "locked\n"
        with pytest.raises(StoreBusy):
            store.lock()
        process.kill()
        process.wait()
        lock_within(store, 10)


def test_a_closed_store_lets_the_next_one_in(store_url: str) -> None:
    first, second = open_store(store_url), open_store(store_url)
    first.lock()
    first.close()
    second.lock()
    second.check_lock()
    second.close()


def test_a_lock_lost_with_its_connection_is_taken_again(mysql_url: str) -> None:
    with closing(open_store(mysql_url)) as store, closing(open_store(mysql_url)) as second:
        store.lock()
        kill_lock_connection(store)
        store.check_lock()
        with pytest.raises(StoreBusy):
            second.lock()


def test_a_lock_that_another_server_took_meanwhile_stays_lost(mysql_url: str) -> None:
    with closing(open_store(mysql_url)) as store, closing(open_store(mysql_url)) as second:
        store.lock()
        kill_lock_connection(store)
        lock_within(second, 10)
        with pytest.raises(StoreBusy):
            store.check_lock()


def test_nothing_is_written_in_a_new_session_without_the_lock(mysql_url: str) -> None:
    with closing(open_store(mysql_url)) as store, closing(open_store(mysql_url)) as second:
        store.prepare()
        store.lock()
        kill_lock_connection(store)
        store.writer.dispose()  # as after a cut that ended both connections
        lock_within(second, 10)
        with pytest.raises(StoreBusy):
            save(store, new_jobs=[make_job(1)])
