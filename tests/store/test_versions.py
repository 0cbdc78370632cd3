"""Setting a database up, telling its version, and bringing it up to date."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, inspect, text

from coalition.errors import StoreError
from coalition.store import reading, versions
from coalition.store.engine import Store, open_store
from coalition.store.schema import metadata
from tests.store.builders import NOW, ids, jobs_below, load_all, make_job, save

LATER = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{before}"


def upgrade():
    op.create_table("Later", sa.Column("id", sa.Integer, primary_key=True))
"""


@pytest.fixture
def empty(store_url: str) -> Iterator[Store]:
    store = open_store(store_url)
    yield store
    store.close()


def execute(store: Store, *statements: str) -> None:
    with store.writing() as connection:
        for statement in statements:
            connection.execute(text(statement))


def make_later_program(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Give the program one more version than it has."""
    shutil.copytree(versions.MIGRATIONS, folder)
    later = LATER.format(before=versions.revisions()[-1])
    (folder / "versions" / "v9999_later.py").write_text(later, "utf-8")
    monkeypatch.setattr(versions, "MIGRATIONS", folder)


def tables(connection: Connection) -> dict[str, Any]:
    """Everything the database itself says about its tables."""
    about = inspect(connection)
    return {
        name: (
            {
                column["name"]: (str(column["type"]), column["nullable"], column["default"])
                for column in about.get_columns(name)
            },
            about.get_pk_constraint(name)["constrained_columns"],
            sorted(map(str, about.get_indexes(name))),
            sorted(map(str, about.get_foreign_keys(name))),
            about.get_table_options(name),
        )
        for name in about.get_table_names()
        if name != versions.VERSION_TABLE
    }


def test_an_empty_database_is_set_up_at_start(empty: Store) -> None:
    empty.prepare()
    save(empty, new_jobs=[make_job(1)])
    empty.prepare()
    assert ids(empty) == [1]


@pytest.mark.parametrize("revision", versions.revisions())
def test_migrating_from_each_version_equals_creating_anew(empty: Store, revision: str) -> None:
    with empty.writing() as connection:
        versions.upgrade(connection, revision)
    with empty.writing() as connection:
        versions.upgrade(connection)
        assert versions.is_current(connection)
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        migrated = tables(connection)
        counters = connection.execute(text("SELECT * FROM Counters ORDER BY name")).all()
    with empty.writing() as connection:
        versions.create(connection)
        assert tables(connection) == migrated
        created = connection.execute(text("SELECT * FROM Counters ORDER BY name")).all()
    assert counters == created


def test_jobs_and_workers_of_before_have_the_defaults_of_what_was_added(empty: Store) -> None:
    with empty.writing() as connection:
        versions.upgrade(connection, "0001")
        old = MetaData()
        old.reflect(connection)
        for table in (old.tables["Jobs"], old.tables["Workers"]):
            connection.execute(table.insert(), dict.fromkeys(table.columns.keys(), 0))
    empty.migrate(NOW)
    with empty.reading() as connection:
        (worker,) = reading.workers(connection)
        (job,) = jobs_below(connection, 0)
    assert (job["exclusive"], job["scratch"], worker["draining"], worker["os"]) == (0, 0, 0, "")


def test_init_sets_an_empty_database_up_and_refuses_a_filled_one(empty: Store) -> None:
    empty.init()
    empty.init()
    save(empty, new_jobs=[make_job(1)])
    with pytest.raises(StoreError, match="not empty"):
        empty.init()
    assert ids(empty) == [1]


def test_init_refuses_a_database_whose_jobs_were_all_deleted(empty: Store) -> None:
    empty.init()
    save(empty, new_jobs=[make_job(1)])
    save(empty, deleted_jobs=[1])
    with pytest.raises(StoreError, match="not empty"):
        empty.init()


def test_a_creation_that_was_cut_short_is_done_again(empty: Store) -> None:
    with empty.writing() as connection:
        metadata.tables["Jobs"].create(connection)
    empty.prepare()
    save(empty, new_jobs=[make_job(1)])
    assert ids(empty) == [1]


def test_reset_forgets_everything_and_ids_begin_again(store: Store) -> None:
    save(store, new_jobs=[make_job(7)], affinities={1: "GL"})
    store.reset()
    loaded = load_all(store)
    assert (list(loaded.jobs), loaded.affinities, loaded.next_job) == ([], {}, 1)
    store.prepare()


def identity(store: Store) -> str:
    with store.reading() as connection:
        return versions.identity(connection)


def test_a_farm_has_an_identity_from_the_first_start_on(empty: Store) -> None:
    empty.prepare()
    known_as = identity(empty)
    assert re.fullmatch("[0-9a-f]{32}", known_as)
    empty.prepare()
    assert identity(empty) == known_as


def test_a_new_database_is_another_farm_and_a_reset_one_the_same(empty: Store) -> None:
    empty.init()
    first = identity(empty)
    empty.init()
    second = identity(empty)
    empty.reset()
    assert first != second == identity(empty)


@pytest.mark.parametrize("revision", ["0001", "0002", "0003"])
def test_an_older_database_gets_its_identity_when_it_is_migrated_or_reset(
    empty: Store, revision: str
) -> None:
    for get_up_to_date in (lambda: empty.migrate(NOW), empty.reset):
        with empty.writing() as connection:
            metadata.drop_all(connection)
            connection.execute(text(f"DROP TABLE IF EXISTS {versions.VERSION_TABLE}"))
            versions.upgrade(connection, revision)
        assert identity(empty) == ""
        get_up_to_date()
        assert identity(empty)


@pytest.mark.parametrize("known_as", ["", "0123456789abcdef" * 2])
def test_a_migration_that_was_cut_short_gives_one_identity(empty: Store, known_as: str) -> None:
    """MySQL keeps each step of it, also where the version is not noted yet."""
    with empty.writing() as connection:
        versions.upgrade(connection, "0003")
        farm = metadata.tables["Farm"]
        farm.create(connection)
        if known_as:
            connection.execute(farm.insert(), {"identity": known_as})
    empty.migrate(NOW)
    with empty.reading() as connection:
        (found,) = connection.scalars(text("SELECT identity FROM Farm")).all()
    assert found and found == (known_as or found)


def test_a_newer_database_is_refused_by_everything(store: Store) -> None:
    execute(store, "UPDATE alembic_version SET version_num = 'abcdef'")
    with pytest.raises(StoreError, match="newer"):
        store.prepare()
    with pytest.raises(StoreError, match="newer"):
        store.reset()
    with pytest.raises(StoreError, match="newer"):
        store.migrate(NOW)


def test_a_database_of_version_4_is_told_from_others(empty: Store) -> None:
    execute(
        empty,
        "CREATE TABLE Jobs (id INTEGER)",
        "CREATE TABLE Migrations (database_version INTEGER)",
        "INSERT INTO Migrations VALUES (1)",
    )
    for refused in (empty.prepare, empty.reset):
        with pytest.raises(StoreError, match=r"Coalition 4\.0"):
            refused()
    with pytest.raises(StoreError, match="not empty"):
        empty.init()


def test_somebody_elses_database_is_refused(empty: Store) -> None:
    execute(empty, "CREATE TABLE Recipes (id INTEGER)")
    with pytest.raises(StoreError, match="not Coalition's"):
        empty.prepare()
    with pytest.raises(StoreError, match="not Coalition's"):
        empty.reset()
    with pytest.raises(StoreError, match="not Coalition's"):
        empty.migrate(NOW)


def test_an_older_database_has_to_be_migrated_first(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    save(store, new_jobs=[make_job(1)])
    make_later_program(monkeypatch, tmp_path / "later")
    with pytest.raises(StoreError, match="--migrate"):
        store.prepare()
    store.migrate(NOW)
    store.prepare()
    assert ids(store) == [1]
    with store.writing() as connection:
        assert inspect(connection).has_table("Later")


def test_migrating_a_file_sets_a_whole_copy_aside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'coalition.db'}")
    store.prepare()
    save(store, new_jobs=[make_job(1, title="before")])
    assert store.migrate(NOW) is None  # nothing to do, so no copy
    before = versions.revisions()[-1]
    make_later_program(monkeypatch, tmp_path / "later")
    path = store.migrate(NOW)
    store.close()
    assert path is not None
    assert path.name.startswith(f"coalition.db.{before}-2023") and path.suffix == ".bak"
    copy = sqlite3.connect(path)
    assert copy.execute("SELECT title FROM Jobs").fetchall() == [("before",)]
    assert copy.execute("SELECT version_num FROM alembic_version").fetchall() == [(before,)]
    copy.close()


def test_a_migration_that_fails_leaves_a_file_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'coalition.db'}")
    store.prepare()
    make_later_program(monkeypatch, tmp_path / "later")
    script = tmp_path / "later" / "versions" / "v9999_later.py"
    script.write_text(script.read_text("utf-8") + "    op.drop_table('Nothing')\n", "utf-8")
    with pytest.raises(StoreError):
        store.migrate(NOW)
    with store.reading() as connection:
        assert not inspect(connection).has_table("Later")
    store.close()
