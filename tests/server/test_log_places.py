"""Each job finds its own log and nobody else's, whatever was done to the database."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from coalition.cli import programs
from coalition.core.farm import Farm
from coalition.core.model import Job, Run, Worker
from coalition.server import folder, logfile
from coalition.server.folder import Folder
from coalition.wire import Chunk, End
from tests.server.builders import Api, Inside, inside
from tests.server.test_log_tails import lines


def remove_database(folder: Path) -> None:
    for path in folder.glob("coalition.db*"):
        path.unlink()


def written(farm: Inside, run: int, offset: int, output: bytes) -> int:
    """A run writes; give how much of its output has arrived."""
    return farm.told(run, logs=[Chunk(run, offset, output)]).logs[run]


def run_once(farm: Inside, output: bytes, code: int = 0) -> int:
    """The next job runs and ends, and its node leaves; give the number of its run."""
    run = farm.started().run
    farm.told(0, logs=[Chunk(run, 0, output)], ends=[End(run, code)], leaving=True)
    return run


# --- the database was replaced -----------------------------------------------------------------


def test_a_new_job_does_not_get_the_log_of_one_of_another_database(tmp_path: Path) -> None:
    with inside(tmp_path) as farm:
        job = farm.submit()
        run_once(farm, b"of the old farm\n")
        before = farm.log(job)
    remove_database(tmp_path)
    with inside(tmp_path) as farm:
        assert farm.submit() == job
        run_once(farm, b"of the new farm\n")

        assert lines(farm, job)[1:-1] == ["of the new farm"]
        assert (tmp_path / "logs" / "old-1" / f"{job}.log").read_text() == before


def test_nor_does_a_run_lose_output_for_what_that_one_wrote(tmp_path: Path) -> None:
    with inside(tmp_path) as farm:
        farm.submit()
        run_once(farm, b"of the old farm\n")
    remove_database(tmp_path)
    with inside(tmp_path) as farm:
        job = farm.submit()
        run = farm.started().run
        assert written(farm, run, 0, b"one\n") == 4
    with inside(tmp_path) as farm:
        assert written(farm, run, 4, b"two\n") == 8
        assert lines(farm, job) == [f"* RUN {run} on", "one", "two"]


def test_what_is_moved_is_said_once_and_each_time_has_a_folder_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        with inside(tmp_path) as farm:
            farm.submit([{"command": "true"}] * 2)
            for _ in range(2):
                run_once(farm, b"")
        remove_database(tmp_path)
        with inside(tmp_path) as farm:
            assert not farm.logs.folder.clear_some()

    moved = [f"{place}/{job}.log" for place in ("old-1", "old-2") for job in (1, 2)]
    logs = tmp_path / "logs"
    assert sorted(str(path.relative_to(logs)) for path in logs.glob("**/*.log")) == moved
    said = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    text = "2 logs of jobs that this database never had go to "
    assert said == [f"{text}{logs / 'old-1'}", f"{text}{logs / 'old-2'}"]


def test_of_many_logs_some_are_moved_in_each_turn_and_first_those_whose_turn_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "AT_ONCE", 2)
    for id in (12, 3, 11, 2, 4):
        (tmp_path / f"{id}.log").write_text(str(id))
    logs = Folder(tmp_path)
    logs.sort_out({}, 3, ())

    assert logs.clear_some() and sorted(logs.job_ids()) == [2, 11, 12]
    assert not logs.clear_some() and list(logs.job_ids()) == [2]


def test_a_log_that_has_to_be_moved_is_so_before_its_place_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for id in (1, 2):
        (tmp_path / f"{id}.log").write_text("another's")
    logs = Folder(tmp_path)
    logs.sort_out({}, 1, ())
    logs.clear([2])

    assert not Path(logs.path(2)).exists()
    assert (tmp_path / "old-1" / "2.log").read_text() == "another's"
    assert list(logs.job_ids()) == [1]


def test_a_server_moves_what_is_not_its_own_when_it_starts(tmp_path: Path, free_port: int) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "1.log").write_text("another's")
    with programs.server(tmp_path, free_port):
        api = Api(f"http://127.0.0.1:{free_port}", tmp_path)
        assert api.get(f"jobs/{api.put({'command': 'true'})}/log") == ""

    assert (tmp_path / "logs" / "old-1" / "1.log").read_text() == "another's"
    assert "1 logs of jobs that this database never had" in (tmp_path / "server.log").read_text()


# --- an older one was restored -----------------------------------------------------------------


def test_a_run_whose_number_was_given_before_the_database_was_restored_loses_nothing(
    tmp_path: Path,
) -> None:
    database, backup = tmp_path / "coalition.db", tmp_path / "backup.db"
    with inside(tmp_path) as farm:
        job = farm.submit(retry=9)
        run_once(farm, b"", code=1)
    shutil.copy(database, backup)
    with inside(tmp_path) as farm:
        forgotten = farm.started().run
        written(farm, forgotten, 0, b"forgotten\n")
    shutil.copy(backup, database)
    with inside(tmp_path) as farm:
        farm.pass_time(5)
        run = farm.started().run
        assert (run, written(farm, run, 0, b"one\n")) == (forgotten, 4)
    with inside(tmp_path) as farm:
        assert written(farm, run, 4, b"two\n") == 8
        assert lines(farm, job)[-4:] == ["forgotten", f"* RUN {run} on", "one", "two"]


def test_a_run_that_prints_its_own_log_loses_nothing(tmp_path: Path) -> None:
    with inside(tmp_path) as farm:
        job = farm.submit()
        run = farm.started().run
        output = farm.log(job).encode()
        assert written(farm, run, 0, output) == len(output)
    with inside(tmp_path) as farm:
        assert written(farm, run, len(output), b"more\n") == len(output) + 5
        assert lines(farm, job) == [f"* RUN {run} on"] * 2 + ["more"]


@pytest.mark.parametrize("above", [0, 900, 960, 1000, 5000])
def test_a_head_is_found_also_if_the_time_zone_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, above: int
) -> None:
    monkeypatch.setattr(logfile, "PIECE", 1000)
    run, moved = (Run(5, Job(5), Worker("n-1", 0.0), start) for start in (0.0, 3600.0))
    path = tmp_path / "5.log"
    path.write_bytes(b"x" * above + b"\n" + logfile.head_line(run) + b"y" * 2000)

    with logfile.open_log(str(path)) as file:
        assert logfile.end_of_head(file, run) == path.stat().st_size - 2000
        assert logfile.end_of_head(file, moved) == path.stat().st_size - 2000


# --- the job was reset -------------------------------------------------------------------------


def test_a_server_killed_before_it_removed_a_log_removes_it_also_if_the_job_runs_again(
    tmp_path: Path,
) -> None:
    with inside(tmp_path) as farm:
        job = farm.submit()
        run_once(farm, b"of before\n")
        farm.on_committed = lambda changes: None
        farm.farm.on_reset([job], farm.clock.seconds())  # it runs again in the same moment
        run = farm.started().run
        assert "of before\n" in Path(farm.logs.folder.place(job)).read_text()
    for offset, output in enumerate((b"1", b"2", b"3")):
        with inside(tmp_path) as farm:
            assert written(farm, run, offset, output) == offset + 1
    with inside(tmp_path) as farm:
        assert lines(farm, job) == [f"* RUN {run} on", "123"]


def test_a_log_of_before_whose_turn_to_be_removed_had_not_come_is_removed_too(
    tmp_path: Path,
) -> None:
    with inside(tmp_path) as farm:
        job = farm.submit()
        run_once(farm, b"of before\n")
        farm.order(Farm.on_reset, job)
        farm.on_committed = lambda changes: None
        run = farm.started().run
        assert "of before\n" in Path(farm.logs.folder.place(job)).read_text()
    with inside(tmp_path) as farm:
        written(farm, run, 0, b"new\n")
        assert lines(farm, job) == [f"* RUN {run} on", "new"]


def test_what_a_job_wrote_that_was_not_reset_stays(tmp_path: Path) -> None:
    with inside(tmp_path) as farm:
        job = farm.submit(retry=1)
        first = run_once(farm, b"first\n", code=1)
        farm.on_committed = lambda changes: None
        run = farm.started().run
    with inside(tmp_path) as farm:
        written(farm, run, 0, b"second\n")
        both = [f"* RUN {first} on", "first", f"* RUN {first} ERROR", f"* RUN {run} on", "second"]
        assert lines(farm, job) == both
