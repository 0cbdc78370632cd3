"""The last line of a run's log is there, also when the server was killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coalition.core.farm import Farm
from coalition.core.model import Job, Run, Worker
from coalition.server import logfile
from coalition.server.joblog import JobLogs
from coalition.wire import Chunk, End
from tests.disks import fill, small_disk
from tests.server.builders import Inside, inside


def lines(farm: Inside, job: int) -> list[str]:
    """The lines of a log, of heads and tails only the first words: "* RUN 1 on"."""
    return [
        " ".join(line.split()[:4]) if line.startswith("* RUN") else line
        for line in farm.log(job).splitlines()
    ]


# --- killed after the commit -------------------------------------------------------------------


@contextmanager
def killed_before_the_tail(folder: Path) -> Iterator[Inside]:
    """A server that writes nothing more to its logs once it is told of an end, and is killed."""
    with inside(folder) as farm:
        write = farm.logs.on_committed
        farm.on_committed = lambda changes: None if changes.finished_runs else write(changes)
        yield farm


@pytest.mark.parametrize("output", [b"", b"hello\n", b"half a line", b"a line\n" * 400_000])
def test_a_server_killed_before_the_last_line_writes_it_when_it_starts_again(
    tmp_path: Path, output: bytes
) -> None:
    with killed_before_the_tail(tmp_path) as farm:
        job = farm.submit()
        run = farm.started().run
        farm.told(0, logs=[Chunk(run, 0, output)], ends=[End(run)])
        assert not farm.log(job).splitlines()[-1].startswith(f"* RUN {run} FINISHED")
    logs = []
    for _ in range(3):
        with inside(tmp_path) as farm:
            logs.append(farm.log(job))
            assert job not in farm.farm.tree.jobs

    head, *written, tail = logs[0].splitlines()
    assert head.startswith(f"* RUN {run} on n-1 at ") and head.endswith(": true")
    assert written == output.decode().splitlines()
    assert tail.startswith(f"* RUN {run} FINISHED at ") and tail.endswith(" s, exit code 0")
    assert logs[0] == logs[1] == logs[2]


def test_a_run_that_began_and_ended_at_once_gets_both_its_lines_when_the_server_starts_again(
    tmp_path: Path,
) -> None:
    with inside(tmp_path) as farm:
        farm.on_committed = lambda changes: None
        job = farm.submit()
        run = farm.started().run
        farm.told(0, ends=[End(run, 3)])
        assert farm.log(job) == ""
    with inside(tmp_path) as farm:
        assert lines(farm, job) == [f"* RUN {run} on", f"* RUN {run} ERROR"]


def test_the_line_of_an_earlier_run_stands_above_what_the_next_one_writes(tmp_path: Path) -> None:
    with killed_before_the_tail(tmp_path) as farm:
        job = farm.submit(retry=1)
        run = farm.started().run
        farm.told(0, logs=[Chunk(run, 0, b"first")], ends=[End(run, 1)])
        again = farm.started().run
    with inside(tmp_path) as farm:
        farm.told(again, logs=[Chunk(again, 0, b"second\n")])
        # Sent once more: had the line come below the head, it would count as output.
        farm.told(0, logs=[Chunk(again, 0, b"second\nend\n")], ends=[End(again)])

        first = [f"* RUN {run} on", "first", f"* RUN {run} ERROR"]
        second = [f"* RUN {again} on", "second", "end", f"* RUN {again} FINISHED"]
        assert lines(farm, job) == [*first, *second]


def test_the_next_run_loses_nothing_to_the_line_of_one_whose_log_could_not_be_written(
    tmp_path: Path,
) -> None:
    with killed_before_the_tail(tmp_path) as farm:
        job = farm.submit(retry=1)
        run = farm.started().run
        farm.told(0, ends=[End(run, 1)])
        again = farm.started().run
        farm.told(again, logs=[Chunk(again, 0, b"second\n")])
    with inside(tmp_path) as farm:
        farm.told(0, logs=[Chunk(again, 0, b"second\nend\n")], ends=[End(again)])

        second = [f"* RUN {again} on", "second", "end", f"* RUN {again} FINISHED"]
        assert lines(farm, job)[1:] == second


def test_a_log_that_was_cleared_gets_no_line_of_the_runs_before(tmp_path: Path) -> None:
    with inside(tmp_path) as farm:
        job = farm.submit()
        run = farm.started().run
        farm.told(0, ends=[End(run)])
        farm.order(Farm.on_reset, job)
        farm.on_committed = lambda changes: None
        again = farm.started().run
        assert farm.log(job) == ""
    with inside(tmp_path) as farm:
        assert farm.log(job) == ""
        farm.told(0, ends=[End(again)])
        assert lines(farm, job) == [f"* RUN {again} on", f"* RUN {again} FINISHED"]


@pytest.mark.parametrize("order", [Farm.on_reset, Farm.on_delete])
def test_a_job_that_was_reset_or_deleted_gets_no_log(
    tmp_path: Path, order: Callable[..., None]
) -> None:
    with killed_before_the_tail(tmp_path) as farm:
        job = farm.submit()
        run = farm.started().run
        farm.told(0, ends=[End(run)])
        farm.order(order, job)
        farm.logs.folder.clear_some()
    with inside(tmp_path) as farm:
        assert farm.log(job) == ""


def test_a_server_starts_although_a_log_cannot_be_used(tmp_path: Path) -> None:
    with killed_before_the_tail(tmp_path) as farm:
        bad, good = farm.submit(), farm.submit()
        for _ in range(2):
            run = farm.started().run
            farm.told(0, ends=[End(run)])
        place = Path(farm.logs.path(bad))
        place.unlink()
        place.mkdir()
        # Both ended in one batch, as far as the database tells.
        with farm.store.writing() as connection:
            connection.exec_driver_sql("UPDATE Farm SET ended = '1,2'")
    with inside(tmp_path) as farm:
        assert lines(farm, good) == ["* RUN 2 on", "* RUN 2 FINISHED"]
        assert (len(farm.logs.owed), farm.logs.trouble) == (0, None)


def test_a_server_that_starts_on_a_full_disk_writes_the_line_when_there_is_room(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "logs") as disk:
        with killed_before_the_tail(tmp_path) as farm:
            job = farm.submit()
            run = farm.started().run
            farm.told(0, ends=[End(run)])
            full = fill(disk)
            # So much that it does not fit into the rest of the block that the file has.
            with Path(farm.logs.path(job)).open("ab", buffering=0) as file:
                file.write(b"x" * 4096)
        with inside(tmp_path) as farm:
            assert farm.logs.trouble is not None
            assert f"* RUN {run} FINISHED" not in farm.log(job)
            full.unlink()
            farm.pass_time(1.0)

            assert lines(farm, job)[-1] == f"* RUN {run} FINISHED"
            assert farm.logs.trouble is None


# --- finding it in the file --------------------------------------------------------------------


@pytest.mark.parametrize("below", [0, 10, 4060, 4090, 5000, 9000])
@pytest.mark.parametrize("above", range(80, 1100, 40))
def test_a_last_line_is_found_wherever_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, above: int, below: int
) -> None:
    monkeypatch.setattr(logfile, "PIECE", 1000)
    run = Run(5, Job(5), Worker("n-1", 0.0), 0.0)
    run.state = "FINISHED"
    tail = logfile.tail_line(run)
    path = tmp_path / "5.log"

    for text, found in ((tail, True), (b"", False), (b"* RUN 4" + tail[7:], False)):
        path.write_bytes(logfile.head_line(run) + b"x" * above + b"\n" + text + b"y" * below)
        with logfile.open_log(str(path)) as file:
            assert logfile.is_over(file, 5) == found


def test_a_line_that_was_cut_short_is_none(tmp_path: Path) -> None:
    run = Run(5, Job(5), Worker("n-1", 0.0), 0.0)
    run.state = "FINISHED"
    tail = logfile.tail_line(run)
    logs = JobLogs(tmp_path)
    path = Path(logs.path(5))
    path.write_bytes(logfile.head_line(run) + tail[:30])
    logs.mend([run])

    assert path.read_bytes() == logfile.head_line(run) + tail[:30] + b"\n" + tail
