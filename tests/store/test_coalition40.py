"""Databases of Coalition 4.0 are taken over: what is kept, what is put right, and what is told."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from coalition.core.changes import Changes
from coalition.core.farm import Farm
from coalition.errors import StoreBusy, StoreError
from coalition.store import reading, versions
from coalition.store.coalition40 import takeover
from coalition.store.coalition40.tables import NEW, OLD
from coalition.store.engine import Store, open_store
from coalition.store.schema import metadata
from tests.disks import fill, small_disk
from tests.store.builders import NOW, events, load_all, make_job, save, shown
from tests.store.old import VERSIONS, dump, make_old, run
from tests.store.test_versions import tables

BEGAN = 1_500_000_000.0


def take_over(url: str) -> list[str]:
    """Take a database of 4.0 over as server.py does; give what it says."""
    said: list[str] = []
    store = open_store(url)
    try:
        store.lock()
        takeover.take_over(store, NOW, said.append)
    finally:
        store.close()
    return said


@pytest.fixture
def old(store_url: str) -> str:
    """The URL of a database of 4.0's last version."""
    make_old(store_url)
    return store_url


@pytest.fixture
def taken(old: str) -> Iterator[Store]:
    """That database when it was taken over."""
    take_over(old)
    store = open_store(old)
    store.prepare()
    yield store
    store.close()


def fields(store: Store, id: int, *names: str) -> tuple[Any, ...]:
    job = shown(store, id)
    assert job is not None
    return tuple(job[name] for name in names)


def table(store: Store, statement: str) -> list[tuple[Any, ...]]:
    with store.reading() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(statement)]


# --- the farm loads ------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_the_farm_of_either_version_loads_and_is_sound(store_url: str, version: int) -> None:
    make_old(store_url, version)
    take_over(store_url)
    store = open_store(store_url)
    store.prepare()
    farm = Farm(Changes())
    farm.load(load_all(store))
    farm.check_invariants()
    store.close()
    assert len(farm.tree.jobs) == 25
    assert (farm.next_job, farm.next_run) == (41, 71)  # beyond those that were deleted


def test_the_tables_are_those_of_a_new_database(taken: Store) -> None:
    with taken.writing() as connection:
        there = tables(connection)
        assert versions.is_current(connection)
        migrated = {name: there[name] for name in metadata.tables}
        versions.create(connection)
        assert {name: tables(connection)[name] for name in metadata.tables} == migrated


def test_a_farm_that_was_taken_over_goes_on_like_any_other(taken: Store) -> None:
    save(taken, new_jobs=[make_job(41)], deleted_jobs=[2])
    assert shown(taken, 2) is None
    taken.reset()
    assert load_all(taken).next_job == 1


# --- jobs ----------------------------------------------------------------------------------------


def test_what_ran_waits_again_and_ends_stay(taken: Store) -> None:
    wanted = ("state", "worker", "start_time", "duration", "run_done", "progress")
    assert fields(taken, 2, *wanted) == ("FINISHED", "sun", BEGAN + 100, 60, 1, 1.0)
    assert fields(taken, 3, *wanted) == ("WAITING", "sun", BEGAN + 200, 0, 0, None)
    assert fields(taken, 4, *wanted) == ("PENDING", "", 0, 0, 0, None)
    assert fields(taken, 5, *wanted) == ("ERROR", "moon", BEGAN + 300, 5, 2, 0.75)
    assert fields(taken, 6, "state", "paused") == ("PAUSED", 1)


def test_groups_are_counted_anew(taken: Store) -> None:
    counters = ("finished", "errors", "working", "total", "total_finished", "total_working")
    assert fields(taken, 1, "state", "is_group", *counters) == ("WAITING", 1, 1, 0, 0, 3, 1, 0)
    assert fields(taken, 1, "start_time", "duration") == (BEGAN + 100, 60)


def test_plain_fields_are_kept_and_new_ones_have_their_defaults(taken: Store) -> None:
    plain = ("parent", "title", "dir", "timeout", "priority", "user", "url")
    assert fields(taken, 2, *plain) == (1, "frame 1", "/tmp", 1000, 127, "ann", "http://film/1")
    assert fields(taken, 2, "retry", "exclusive", "scratch", "globalprogress") == (0, 0, 0, "")
    assert fields(taken, 2, "environment") == ("",)  # 4.0 wrote None for none


def test_texts_are_what_was_submitted_on_either_database(taken: Store) -> None:
    texts = ("title", "command", "dir", "environment", "user", "progress_pattern")
    assert fields(taken, 8, *texts) == (
        "C:\\temp\\new\tfolder", "echo it's \\$HOME", "C:\\work", "A=1\\nB=2", "DOM\\ann",
        "%percent \\d",
    )  # fmt: skip
    assert fields(taken, 9, "command", "environment") == ("echo 1\necho 2", "A=1\nB=2")
    assert events(taken, job_id=(8,))[0]["job_title"] == "C:\\temp\\new\tfolder"
    assert fields(taken, 26, "title") == ("été",)


def test_the_bits_of_affinities_count_and_not_the_names_of_long_ago(taken: Store) -> None:
    assert [fields(taken, id, "affinity") for id in (1, 3, 4, 9)] == [
        ("LINUX",), ("GPU",), ("#3,#63",), ("",),
    ]  # fmt: skip


def test_a_job_that_was_reset_has_begun_or_its_log_would_go(taken: Store) -> None:
    assert fields(taken, 7, "state", "start_time", "run_done") == ("WAITING", BEGAN + 150, 1)


@pytest.mark.parametrize(
    "trace",
    [
        "run_done = 1",
        "worker = 'sun'",
        "state = 'FINISHED'",
        "state = 'ERROR'",
        "state = 'WORKING'",
    ],
)
def test_so_has_one_whose_events_were_deleted(old: str, trace: str) -> None:
    run(old, f"DELETE FROM Events;\nUPDATE Jobs SET {trace} WHERE id = 26;\n")
    take_over(old)
    store = open_store(old)
    assert fields(store, 7, "start_time")[0] > 0
    assert fields(store, 26, "start_time")[0] > 0
    assert fields(store, 9, "start_time") == (0,)  # which never ran
    store.close()


def test_jobs_that_could_not_be_are_put_right(taken: Store) -> None:
    assert fields(taken, 15, "parent", "state") == (0, "WAITING")
    assert fields(taken, 16, "is_group", "command", "total") == (1, "echo mixed", 1)
    assert fields(taken, 20, "state") == fields(taken, 21, "state") == ("PAUSED",)
    assert fields(taken, 21, "title", "priority", "timeout", "parent") == ("", 8, 0, 0)
    assert [fields(taken, id, "parent") for id in (24, 25)] == [(0,), (24,)]


def test_nobody_waits_for_ever(taken: Store) -> None:
    links = table(taken, "SELECT job_id, dependency FROM Dependencies ORDER BY job_id, dependency")
    assert links == [(4, 2), (4, 3), (12, 13)]
    states = {id: fields(taken, id, "state")[0] for id in (11, 12, 13, 14, 19, 23)}
    assert states.pop(12) == "PENDING"
    assert set(states.values()) == {"WAITING"}


# --- workers and what they did -------------------------------------------------------------------


def test_workers_keep_their_lines_in_their_order(taken: Store) -> None:
    with taken.reading() as connection:
        workers = {worker["name"]: worker for worker in reading.workers(connection)}
    sun, moon = workers["sun"], workers["moon"]
    assert (sun["affinity"], moon["affinity"]) == ("#3,#63\nGPU,LINUX\n", "#4,TWICE")
    assert (sun["state"], sun["active"], sun["start_time"]) == ("WAITING", 1, BEGAN)
    assert (sun["finished"], sun["error"], sun["last_job"], sun["current_event"]) == (3, 1, 3, -1)
    assert (moon["state"], moon["active"]) == ("TIMEOUT", 0)


def test_workers_of_version_0_get_their_list_as_a_line(store_url: str) -> None:
    make_old(store_url, version=0)
    take_over(store_url)
    store = open_store(store_url)
    with store.reading() as connection:
        lines = reading.worker_lines(connection)
    store.close()
    assert lines == {"sun": ["LINUX,TWICE"], "moon": ["GPU,LINUX"]}


def test_events_keep_their_numbers_and_those_left_open_are_lost(taken: Store) -> None:
    states = {event["id"]: event["state"] for event in events(taken)}
    assert states == {
        1: "FINISHED", 2: "FINISHED", 3: "LOST", 4: "LOST", 5: "ERROR", 6: "FINISHED", 7: "LOST",
    }  # fmt: skip


def test_the_names_of_affinities_are_kept(taken: Store) -> None:
    with taken.reading() as connection:
        names = reading.affinities(connection)
    assert names == {
        "1": "LINUX", "2": "GPU", "4": "TWICE", "5": "TWICE", "6": "A,B", "7": "@sun",
    }  # fmt: skip


# --- what is told --------------------------------------------------------------------------------


def test_rows_are_counted_before_and_after_and_what_is_missing_has_a_reason(old: str) -> None:
    said = [line.split() for line in take_over(old)]
    assert ["before", "after", "dropped"] in said
    assert ["jobs", "25", "25", "0"] in said
    assert ["events", "7", "7", "0"] in said
    assert any(line[:4] == ["dependencies", "10", "3", "7"] and "twice:" in line for line in said)
    assert any(line[:5] == ["affinity", "lines", "5", "4", "1"] for line in said)


def test_each_thing_that_was_changed_is_told_by_its_number(old: str) -> None:
    said = "\n".join(take_over(old))
    for beginning in (
        "job 15: its parent 888", "job 16: it has jobs below", "job 20: there is no state 'DONE'",
        "dependency of job 11 on 11", "dependency of job 13 on 12", "dependency of job 14 on 999",
        "dependency of job 19 on 18", "affinity line of 'mars'", "worker ''", "affinity 4: its",
    ):  # fmt: skip
        assert f"\n{beginning}" in f"\n{said}"


def test_of_many_alike_only_some_are_told_and_the_rest_counted(old: str) -> None:
    links = ", ".join(f"(5, {gone})" for gone in range(1000, 1100))
    run(old, f"INSERT INTO Dependencies (job_id, dependency) VALUES {links};\n")
    said = take_over(old)
    assert sum(line.startswith("dependency of job 5 on") for line in said) < 25
    assert any(line.startswith("... and 82 more: ") for line in said)


# --- the old one stays ---------------------------------------------------------------------------


def test_the_database_as_it_was_is_kept(old: str) -> None:
    before = dump(old)
    said = take_over(old)[-1]
    if old.startswith("sqlite"):
        assert dump(f"sqlite:///{said.split(' in ')[-1].rstrip('.')}") == before
    else:
        assert OLD in said
        assert dump(old, OLD) == before


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_is_started_on_it_names_the_way_and_changes_nothing(
    store_url: str, version: int
) -> None:
    make_old(store_url, version)
    before = dump(store_url)
    store = open_store(store_url)
    for refused in (store.prepare, store.reset, lambda: store.migrate(NOW)):
        with pytest.raises(StoreError, match=r"Coalition 4\.0; run server\.py --migrate"):
            refused()
    store.close()
    assert dump(store_url) == before


def test_a_start_leaves_the_file_itself_as_it_was(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'coalition.db'}"
    make_old(url)
    before = (tmp_path / "coalition.db").read_bytes()
    store = open_store(url)
    with pytest.raises(StoreError):
        store.prepare()
    store.close()
    assert (tmp_path / "coalition.db").read_bytes() == before


@pytest.mark.parametrize("version", ["2", "'new'"])
def test_a_version_that_4_0_never_had_is_refused(old: str, version: str) -> None:
    if not old.startswith("sqlite"):
        run(old, "ALTER TABLE Migrations MODIFY database_version TEXT;\n")
    run(old, f"UPDATE Migrations SET database_version = {version};\n")
    before = dump(old)
    with pytest.raises(StoreError, match=f"has version {version.strip(chr(39))} of"):
        take_over(old)
    assert_untouched(old, before)


def test_what_only_looks_like_it_is_refused(store_url: str) -> None:
    run(store_url, "CREATE TABLE Jobs (id INT);\nCREATE TABLE Migrations (database_version INT);\n")
    before = dump(store_url)
    with pytest.raises(StoreError, match="no database of Coalition"):
        take_over(store_url)
    assert_untouched(store_url, before)


def assert_untouched(url: str, before: dict[str, list[Any]]) -> None:
    there = dump(url)
    assert {name: there[name] for name in there if not name.startswith(NEW)} == before


def test_a_folder_without_room_for_a_new_file_leaves_the_old_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'coalition.db'}"
    make_old(url)
    before = dump(url)
    (tmp_path / "coalition.db.new").mkdir()
    with pytest.raises(StoreError, match="cannot be taken over"):
        take_over(url)
    assert dump(url) == before


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        url = f"sqlite:///{disk / 'coalition.db'}"
        make_old(url)
        size = (disk / "coalition.db").stat().st_size
        before = dump(url)
        fill(disk)
        with pytest.raises(StoreError, match=rf"coalition\.db has {size} bytes.* {2 * size} bytes"):
            take_over(url)
        assert dump(url) == before
        assert names(disk) == ["coalition.db", "coalition.db.lock", "full"]


def test_attempts_that_fail_leave_no_copies(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'coalition.db'}"
    make_old(url)
    run(url, "UPDATE Migrations SET database_version = 2;\n")
    with pytest.raises(StoreError):
        take_over(url)
    assert names(tmp_path) == ["coalition.db", "coalition.db.lock"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_new_file_may_be_used_by_those_who_could_use_the_old_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'coalition.db'}"
    make_old(url)
    (tmp_path / "coalition.db").chmod(0o640)
    (tmp_path / "link.db").symlink_to("coalition.db")
    take_over(f"sqlite:///{tmp_path / 'link.db'}")
    assert (tmp_path / "link.db").is_symlink()
    assert (tmp_path / "coalition.db").stat().st_mode & 0o777 == 0o640
    assert len(dump(url)["Jobs"]) == 25


# --- somebody else uses it -----------------------------------------------------------------------


def test_a_file_that_another_program_has_locked_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("coalition.store.coalition40.file.BUSY_TIMEOUT", 100)
    url = f"sqlite:///{tmp_path / 'coalition.db'}"
    make_old(url)
    before = dump(url)
    other = sqlite3.connect(tmp_path / "coalition.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy, match="stop Coalition 4.0's server"):
        take_over(url)
    other.close()
    assert dump(url) == before
    assert names(tmp_path) == ["coalition.db", "coalition.db.lock"]


@pytest.mark.skipif(sys.platform == "win32", reason="there an open file cannot be replaced")
def test_nobody_can_write_into_the_old_file_until_the_new_one_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "coalition.db"
    make_old(f"sqlite:///{path}")
    refused: list[str] = []

    def replace(new: Path, old: Path) -> None:
        with closing(sqlite3.connect(path, timeout=0)) as late:
            with pytest.raises(sqlite3.OperationalError, match="locked") as caught:
                late.execute("UPDATE Jobs SET title = 'late'")
            refused.append(str(caught.value))
        rename(new, old)

    rename = os.replace
    monkeypatch.setattr(os, "replace", replace)
    take_over(f"sqlite:///{path}")
    assert len(refused) == 1


def test_tables_that_others_are_connected_to_are_refused(mysql_url: str) -> None:
    make_old(mysql_url)
    before = dump(mysql_url)
    server = open_store(mysql_url)
    with server.reading(), pytest.raises(StoreBusy, match="stop Coalition 4.0's server"):
        take_over(mysql_url)
    server.close()
    assert dump(mysql_url) == before


def test_tables_whose_names_a_server_keeps_in_lower_case_are_taken_over(mysql_url: str) -> None:
    make_old(mysql_url)
    for name in (before := dump(mysql_url)):
        run(mysql_url, f"RENAME TABLE {name} TO {name.lower()};\n")
    store = open_store(mysql_url)
    with pytest.raises(StoreError, match=r"Coalition 4\.0; run server\.py --migrate"):
        store.prepare()
    store.close()
    take_over(mysql_url)
    assert len(dump(mysql_url)["Jobs"]) == 25
    assert dump(mysql_url, OLD) == before


def test_copies_of_an_earlier_migration_are_not_overwritten(mysql_url: str) -> None:
    make_old(mysql_url)
    run(mysql_url, f"CREATE TABLE {OLD}Jobs (id INT);\n")
    with pytest.raises(StoreError, match=f"{OLD}Jobs is there from an earlier migration"):
        take_over(mysql_url)


def test_a_database_without_a_version_but_with_lines_is_taken_over(old: str) -> None:
    run(old, "DROP TABLE Migrations;\n")
    take_over(old)
    store = open_store(old)
    with store.reading() as connection:
        lines = reading.worker_lines(connection)
    store.close()
    assert lines == {"sun": ["#3,#63", "GPU,LINUX", ""], "moon": ["#4,TWICE"]}
