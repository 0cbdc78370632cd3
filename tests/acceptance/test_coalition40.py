"""From Coalition 4.0 to this program: its folder is taken over, also when that is cut short."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url

from coalition.cli import programs
from coalition.cli.programs import ROOT
from coalition.store.coalition40 import takeover
from coalition.store.coalition40.file import NEW as NEW_FILE
from coalition.store.coalition40.tables import NEW
from coalition.store.engine import open_store
from tests.acceptance.farm import eventually, get, running_node, settings, state
from tests.store.old import DATA, dump, make_old, run

HEAD = "* START ***\nbefore\n* END ***\n"

DOUBLED = """
INSERT INTO Jobs (title, command, dir, environment, state, worker, affinity, user, url,
  progress_pattern) SELECT title, command, dir, environment, 'WAITING', worker, affinity, user, url,
  progress_pattern FROM Jobs WHERE parent = 0 AND command <> '';
INSERT INTO Events (worker, job_id, job_title, state, start, duration)
  SELECT worker, job_id, job_title, state, start, duration FROM Events;
"""
"""Makes a database about twice as large."""


OPENS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT 1 FROM Jobs").fetchall()
print("open", flush=True)
input()
"""
"""A program that does between two requests what 4.0's server does."""


def server_py(datadir: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "server.py"), "--datadir", str(datadir), *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    )


def migrate(datadir: Path) -> tuple[int, str]:
    """The exit code of --migrate, and all it says."""
    with server_py(datadir, "--migrate", "--yes") as program:
        said = "".join(program.communicate(timeout=120))
    return program.returncode, said


def sqlite(datadir: Path) -> str:
    return f"sqlite:///{datadir / 'coalition.db'}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a 4.0 server: its settings, its database and its logs."""
    made = tmp_path / "server"
    (made / "logs").mkdir(parents=True)
    shutil.copy(DATA / "coalition.ini", made)
    make_old(sqlite(made))
    for job in (2, 7, 16):
        (made / "logs" / f"{job}.log").write_text(HEAD)
    return made


# --- the whole way -------------------------------------------------------------------------------


def test_a_farm_of_4_0_goes_on_where_it_was(folder: Path, free_port: int, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port}"
    code, said = migrate(folder)
    assert code == 0, said
    assert "before     after   dropped" in said and said.endswith("database is up to date.\n")
    with programs.server(folder, free_port):
        jobs = {job["id"]: job for job in get(url, "jobs")}
        assert (jobs[1]["title"], jobs[1]["total"], jobs[1]["finished"]) == ("film", 3, 1)
        assert (jobs[8]["command"], jobs[8]["environment"]) == ("echo it's \\$HOME", "A=1\\nB=2")
        assert get(url, "jobs/4")["dependencies"] == [2, 3]
        assert get(url, "affinities")["2"] == "GPU"
        for job in (2, 7, 16):
            assert get(url, f"jobs/{job}/log") == HEAD
        with running_node(tmp_path / "node", url, "mercury"):
            eventually(lambda: state(url, 26) == state(url, 7) == "FINISHED")
        assert "taken over\n" in get(url, "jobs/26/log")
        assert get(url, "jobs/7/log").startswith(f"{HEAD}* RUN ")
        assert min(event["id"] for event in get(url, "events?job=26")) > 70


def test_a_server_that_is_started_before_names_the_way(folder: Path) -> None:
    with server_py(folder, "--port", "0") as program:
        _, said = program.communicate(timeout=60)
    assert program.returncode == 1
    assert said == ("server.py: this is a database of Coalition 4.0; run server.py --migrate\n")


def test_a_file_that_a_server_of_4_0_has_still_open_is_refused(folder: Path) -> None:
    before = dump(sqlite(folder))
    program = [sys.executable, "-c", OPENS, str(folder / "coalition.db")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(program, text=True, **pipes) as other:
        assert other.stdout is not None
        other.stdout.readline()
        code, said = migrate(folder)
        other.communicate("\n")
    assert code == 1
    assert f"process {other.pid} (" in said and "stop Coalition 4.0's server first" in said
    assert dump(sqlite(folder)) == before


# --- cut short -----------------------------------------------------------------------------------


def killed_when(datadir: Path, is_so: Callable[[], bool]) -> None:
    """Run --migrate and kill it at that moment, unless it ends before."""
    with server_py(datadir, "--migrate", "--yes") as program:
        while program.poll() is None and not is_so():
            pass
        program.kill()


def assert_old_or_new(datadir: Path, url: str, before: dict[str, list[object]]) -> None:
    """The database is either as it was, and can still be taken over, or is the new one."""
    store = open_store(url)
    is_old = takeover.is_needed(store)
    store.close()
    if is_old:
        there = dump(url)
        assert {name: there[name] for name in there if not name.startswith(NEW)} == before
        code, said = migrate(datadir)
        assert code == 0, said
    store = open_store(url)
    store.prepare()
    store.close()
    after = dump(url)
    assert {name: len(after[name]) for name in ("Jobs", "Events")} == {
        name: len(before[name]) for name in ("Jobs", "Events")
    }
    assert not any(name.startswith(NEW) for name in after)


@pytest.mark.parametrize(
    "size", [None, 0, 1, 500_000, -1], ids=["copy", "begun", "written", "half", "whole"]
)
def test_a_file_is_the_old_or_the_new_one_whenever_it_is_killed(
    tmp_path: Path, size: int | None
) -> None:
    """At the copy, when so much of the new file is written, or when it is about to be put there."""
    url = sqlite(tmp_path)
    make_old(url)
    run(url, DOUBLED * 8)
    before = dump(url)
    new = tmp_path / f"coalition.db{NEW_FILE}"
    wal = new.with_name(f"{new.name}-wal")

    def is_so() -> bool:
        if size is None:
            return any(tmp_path.glob("*.part"))
        if size < 0:
            return new.exists() and new.stat().st_size > 500_000
        return wal.exists() and file_size(wal) >= size

    killed_when(tmp_path, is_so)
    assert_old_or_new(tmp_path, url, before)
    assert not list(tmp_path.glob(f"coalition.db{NEW_FILE}*"))
    copies = list(tmp_path.glob("*.bak"))
    assert copies
    for copy in copies:
        assert dump(f"sqlite:///{copy}") == before


def file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize(
    "moment", ["Counters", "alembic_version", "rows of Jobs", "rows of Events"]
)
def test_tables_are_the_old_or_the_new_ones_whenever_it_is_killed(
    mysql_url: str, tmp_path: Path, moment: str
) -> None:
    """When a table has been made, or has got rows, of which another session is let to see some."""
    (tmp_path / "coalition.ini").write_text(settings(mysql_url))
    make_old(mysql_url)
    run(mysql_url, DOUBLED * 7)
    before = dump(mysql_url)
    name = NEW + moment.removeprefix("rows of ")
    question = (
        f"SELECT COUNT(*) FROM {make_url(mysql_url).database}.{name}"
        if moment.startswith("rows")
        else "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_NAME = "
        f"'{name}' AND TABLE_SCHEMA = '{make_url(mysql_url).database}'"
    )
    # Not connected to the database itself: that would be refused.
    engine = create_engine(
        make_url(mysql_url).set(database=None), isolation_level="READ UNCOMMITTED"
    )

    def is_so() -> bool:
        with engine.connect() as connection:
            try:
                return bool(connection.exec_driver_sql(question).scalar())
            except Exception:
                return False

    killed_when(tmp_path, is_so)
    engine.dispose()
    assert_old_or_new(tmp_path, mysql_url, before)
