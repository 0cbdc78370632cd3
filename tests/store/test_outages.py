"""A database that is away, full or locked takes the same batch later."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from coalition.errors import StoreBusy, StoreError, StoreUnavailable
from coalition.store import sqlite
from coalition.store.engine import Store, open_store
from coalition.store.writing import snapshot, write
from tests.store.builders import changes, ids, kill, make_job, make_worker, save


def kill_writer(store: Store) -> None:
    with store.writing() as connection:
        number = connection.scalar(text("SELECT CONNECTION_ID()"))
    kill(store, number)


def open_sqlite(folder: Path) -> Store:
    store = open_store(f"sqlite:///{folder / 'coalition.db'}")
    store.prepare()
    return store


def test_a_batch_that_met_a_lost_connection_is_written_by_the_next_try(mysql_url: str) -> None:
    with closing(open_store(mysql_url)) as store:
        store.prepare()
        batch = snapshot(changes(new_jobs=[make_job(1)], workers=[make_worker("w", affinity="A")]))
        kill_writer(store)
        with pytest.raises(StoreUnavailable):
            write(store, batch)
        assert ids(store) == []
        write(store, batch)
        assert ids(store) == [1]


def test_a_connection_lost_in_the_middle_leaves_nothing_behind(mysql_url: str) -> None:
    with closing(open_store(mysql_url)) as store:
        store.prepare()
        with pytest.raises(StoreUnavailable), store.writing() as connection:
            connection.execute(text("INSERT INTO Affinities VALUES (1, 'GL')"))
            kill(store, connection.scalar(text("SELECT CONNECTION_ID()")))
            connection.execute(text("INSERT INTO Affinities VALUES (2, 'GL')"))
        with store.reading() as reader:
            assert reader.execute(text("SELECT * FROM Affinities")).all() == []


def test_a_server_that_is_away_is_an_outage() -> None:
    with pytest.raises(StoreUnavailable):
        open_store("mysql+pymysql://root@127.0.0.1:1/coalition")


def test_a_file_that_another_program_locks_is_an_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 0)
    with closing(open_sqlite(tmp_path)) as store:
        other = sqlite3.connect(tmp_path / "coalition.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            save(store, new_jobs=[make_job(1)])
        other.execute("ROLLBACK")
        other.close()
        save(store, new_jobs=[make_job(1)])
        assert ids(store) == [1]


def test_a_full_disk_is_an_outage(tmp_path: Path) -> None:
    with closing(open_sqlite(tmp_path)) as store:
        batch = snapshot(changes(new_jobs=[make_job(1, command="x" * 1_000_000)]))
        with store.writing() as connection:
            connection.execute(text("PRAGMA max_page_count = 50"))
        with pytest.raises(StoreUnavailable, match="full"):
            write(store, batch)
        assert ids(store) == []
        with store.writing() as connection:
            connection.execute(text("PRAGMA max_page_count = 100000"))
        write(store, batch)
        assert ids(store) == [1]


def test_a_row_larger_than_the_server_takes_is_no_outage(mysql_url: str) -> None:
    with closing(open_store(mysql_url)) as store:
        store.prepare()
        with store.reading() as connection:
            most = connection.scalar(text("SELECT @@max_allowed_packet"))
        with pytest.raises(StoreError, match="max_allowed_packet") as caught:
            save(store, new_jobs=[make_job(1, command="x" * most)])
        assert not isinstance(caught.value, StoreUnavailable | StoreBusy)


def test_a_broken_rule_of_the_tables_is_no_outage(store: Store) -> None:
    with pytest.raises(StoreError) as caught, store.writing() as connection:
        connection.execute(text("INSERT INTO Affinities VALUES (1, NULL)"))
    assert not isinstance(caught.value, StoreUnavailable)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'nowhere' / 'coalition.db'}")
    with pytest.raises(StoreError, match="nowhere"):
        store.lock()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "coalition.db").write_bytes(b"a picture, perhaps" * 1000)
    with closing(open_store(f"sqlite:///{tmp_path / 'coalition.db'}")) as store:
        with pytest.raises(StoreError) as caught:
            store.prepare()
        assert not isinstance(caught.value, StoreUnavailable)
