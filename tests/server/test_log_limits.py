"""What is kept of a run's log, and the lines that the server writes around it."""

from __future__ import annotations

from pathlib import Path

import pytest

from coalition.core.changes import Changes
from coalition.core.farm import Farm
from coalition.core.model import Job, Run, Worker
from coalition.server.joblog import JobLogs
from coalition.server.section import CUT, LAST, SLACK
from coalition.wire import Chunk, End
from tests.server.builders import Inside, inside

LIMIT = 100_000

LOAD = ("[0]", 1, 2)


def lines(first: int, size: int) -> bytes:
    """So many bytes of numbered lines."""
    return b"".join(b"%09d\n" % number for number in range(first, first + size // 10 + 1))[:size]


def raw(farm: Inside, job: int) -> bytes:
    return Path(farm.logs.path(job)).read_bytes()


def output(farm: Inside, job: int) -> bytes:
    """What stands between the head and the tail of a log of one run."""
    log = raw(farm, job)
    return log[log.index(b"\n") + 1 : log.rindex(b"\n", 0, -1) + 1]


class Old:
    """A worker of protocol 1 with a job."""

    def __init__(self, farm: Inside, **fields: object) -> None:
        self.farm = farm
        self.job: int = farm.submit(**fields)
        farm.do(farm.service.pick("old", "ip", LOAD))

    def write(self, *pieces: bytes, farm: Inside | None = None) -> None:
        self.farm = farm or self.farm
        for piece in pieces:
            assert self.farm.do(self.farm.service.heartbeat("old", "ip", LOAD, self.job, piece))

    def end(self) -> bytes:
        self.farm.do(self.farm.service.end("old", "ip", self.job, 0))
        return output(self.farm, self.job)


@pytest.mark.parametrize("over", [0, 1, 1000, LAST])
def test_a_log_up_to_the_limit_and_a_little_more_is_kept_byte_for_byte(
    tmp_path: Path, over: int
) -> None:
    with inside(tmp_path, maxlog=LIMIT) as farm:
        worker = Old(farm)
        text = lines(0, LIMIT + over - 1) + b"\n"
        worker.write(text[:70_000], text[70_000:])

        assert worker.end() == text


def test_of_a_longer_log_the_middle_is_left_out_and_counted(tmp_path: Path) -> None:
    with inside(tmp_path, maxlog=LIMIT) as farm:
        worker = Old(farm)
        text = lines(0, 400_000)
        worker.write(*(text[start : start + 30_000] for start in range(0, len(text), 30_000)))
        assert len(raw(farm, worker.job)) < LIMIT + 100

        left_out = len(text) - LIMIT - LAST
        mark = b"* %d bytes of output were left out here\n" % left_out
        assert worker.end() == text[:LIMIT] + mark + text[-LAST:]


def test_progress_is_read_from_what_is_left_out_as_well(tmp_path: Path) -> None:
    with inside(tmp_path, maxlog=LIMIT) as farm:
        worker = Old(farm)
        worker.write(lines(0, 2 * LIMIT), b"PROGRESS:30%\n", lines(0, 2 * LIMIT))
        farm.pass_time(0)

        assert farm.job(worker.job)["progress"] == 0.3


def test_the_limit_holds_across_a_restart_of_the_server_for_an_old_worker(tmp_path: Path) -> None:
    text = lines(0, 4 * LIMIT)
    with inside(tmp_path, maxlog=LIMIT) as farm:
        worker = Old(farm)
        worker.write(text[:90_000], text[90_000 : 3 * LIMIT])
    with inside(tmp_path, maxlog=LIMIT) as farm:
        worker.write(text[3 * LIMIT :], farm=farm)
        kept, rest = worker.end().split(
            b"* an unknown number of bytes of output were left out here\n"
        )

        assert kept == text[:LIMIT]
        assert rest == text[-LAST:]


def send(farm: Inside, run: int, offset: int, data: bytes) -> int:
    """A node's piece of a log, and how much the server has then."""
    return farm.told(run, logs=[Chunk(run, offset, data)]).logs[run]


def test_what_a_node_leaves_out_itself_is_kept_as_it_comes(tmp_path: Path) -> None:
    with inside(tmp_path, maxlog=LIMIT) as farm:
        job = farm.submit()
        run = farm.started().run
        text = lines(0, LIMIT) + b"* 5 bytes of output were left out here\n" + lines(1, 1_000_000)
        assert send(farm, run, 0, text[:LIMIT]) == LIMIT
        assert send(farm, run, LIMIT, text[LIMIT:]) == len(text)
        farm.told(0, ends=[End(run)])

        assert output(farm, job) == text


def test_a_node_that_sends_without_end_fills_no_disk(tmp_path: Path) -> None:
    with inside(tmp_path, maxlog=LIMIT) as farm:
        job = farm.submit(globalprogress="P:%percent")
        run = farm.started().run
        most, text = LIMIT + SLACK, lines(0, LIMIT + SLACK + 1003)
        for start in range(0, len(text), 500_000):
            piece = text[start : start + 500_000]
            assert send(farm, run, start, piece) == start + len(piece)
        assert send(farm, run, len(text), b"P:50\n") == len(text) + 5
        farm.told(0, ends=[End(run)])

        assert output(farm, job) == text[:most] + b"\n" + CUT
        assert farm.job(job)["state"] == "FINISHED"


@pytest.mark.parametrize("limit", [LIMIT // 2, LIMIT, 3 * LIMIT])
@pytest.mark.parametrize("size", [LIMIT + SLACK - 5, LIMIT + SLACK, LIMIT + SLACK + 12_345])
def test_a_node_goes_on_where_it_was_after_a_restart_of_the_server_whatever_is_kept(
    tmp_path: Path, limit: int, size: int
) -> None:
    text = lines(0, size + 1000)
    with inside(tmp_path, maxlog=LIMIT) as farm:
        job = farm.submit()
        run = farm.started().run
        assert send(farm, run, 0, text[:size]) == size
    with inside(tmp_path, maxlog=limit) as farm:
        assert send(farm, run, size, text[size:]) == len(text)
        farm.told(0, ends=[End(run)])

        kept, _, rest = output(farm, job).partition(CUT)
        assert (text.startswith(kept[:-1]), rest) == (True, b"")
        assert len(kept) >= min(size, LIMIT + SLACK)


def test_a_log_goes_on_behind_the_long_ones_of_earlier_runs(tmp_path: Path) -> None:
    with inside(tmp_path) as farm:
        job = farm.submit(retry=1, command="x" * 3000)
        run = farm.started().run
        farm.told(0, logs=[Chunk(run, 0, lines(0, 2 * 1024 * 1024 - 4000))], ends=[End(run, 1)])
        again = farm.started().run
        assert send(farm, again, 0, b"one") == 3
    with inside(tmp_path) as farm:
        assert send(farm, again, 0, b"one two") == 7
        farm.told(0, ends=[End(again)])

        assert raw(farm, job).split(b"\n")[-3] == b"one two"


# --- heads and tails --------------------------------------------------------------------------


def test_a_run_that_goes_on_and_writes_nothing_shows_its_head(farm: Inside) -> None:
    job = farm.submit(command="sleep 100")
    run = farm.started().run

    (head,) = farm.log(job).splitlines()
    assert head.startswith(f"* RUN {run} on n-1 at ") and head.endswith(": sleep 100")


def commit(logs: JobLogs, **tables: list[Run]) -> None:
    changes = Changes()
    for name, runs in tables.items():
        getattr(changes, name).update((run.id, run) for run in runs)
    logs.on_committed(changes)


def reserved(id: int) -> Run:
    """A run that was handed ahead."""
    run = Run(id, Job(id, command="true"), Worker("n-1", 0.0), 0.0)
    run.worker.node = "n"
    run.state = "RESERVED"
    return run


def end(run: Run) -> None:
    run.state, run.code, run.duration = "FINISHED", 0, 0.5


def read(logs: JobLogs, run: Run) -> list[str]:
    path = Path(logs.path(run.job_id))
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("text", [b"", b"hello\n", b"hello"])
def test_a_run_that_was_handed_ahead_has_its_head_once_it_has_begun(
    tmp_path: Path, text: bytes
) -> None:
    logs, run = JobLogs(tmp_path), reserved(5)
    commit(logs, new_runs=[run])
    assert read(logs, run) == []
    run.state = "WORKING"
    if text:
        logs.append(run, 0, text)
        assert [line[:7] for line in read(logs, run)] == ["* RUN 5", "hello"]
    end(run)
    commit(logs, begun_runs=[run], finished_runs=[run])

    head, *written, tail = read(logs, run)
    assert (" on n-1 at " in head, " FINISHED at " in tail) == (True, True)
    assert written == ["hello"] * bool(text)


def test_a_run_that_never_began_leaves_no_log(tmp_path: Path) -> None:
    logs, run = JobLogs(tmp_path), reserved(5)
    commit(logs, new_runs=[run])
    changes = Changes()
    changes.dropped_runs[5] = None
    logs.on_committed(changes)

    assert list(logs.folder.job_ids()) == []


def test_the_tail_comes_once_and_not_before_the_end_is_durable(tmp_path: Path) -> None:
    logs, run = JobLogs(tmp_path), reserved(5)
    end(run)  # while the batch in which it began is still being written
    commit(logs, new_runs=[run])
    assert len(read(logs, run)) == 1
    commit(logs, finished_runs=[run])

    assert [" on n-1" in line for line in read(logs, run)] == [True, False]


def test_a_run_that_ended_while_nobody_listened_has_its_tail_on_a_line_of_its_own(
    tmp_path: Path,
) -> None:
    with inside(tmp_path) as farm:
        job = farm.submit()
        run = farm.started().run
        send(farm, run, 0, b"half a line")
    with inside(tmp_path) as farm:
        farm.told(0, ends=[End(run)])

        _, written, tail = farm.log(job).splitlines()
        assert (written, " FINISHED at " in tail) == ("half a line", True)


def test_a_reset_job_begins_with_an_empty_log(farm: Inside) -> None:
    job = farm.submit()
    run = farm.started().run
    send(farm, run, 0, b"before\n")
    farm.order(Farm.on_reset, job)
    farm.told(0, ends=[End(run, -9)])
    again = farm.started().run
    send(farm, again, 0, b"after\n")

    assert [line.split(" on ")[0] for line in farm.log(job).splitlines()] == [
        f"* RUN {again}",
        "after",
    ]


def test_output_is_not_lost_to_the_tail_of_a_run_that_was_over_at_once(tmp_path: Path) -> None:
    logs, over, going_on = JobLogs(tmp_path), reserved(5), reserved(6)
    commit(logs, new_runs=[over])
    over.state = "STOPPED"
    going_on.job, going_on.job_id, going_on.state = over.job, over.job_id, "WORKING"
    commit(logs, new_runs=[going_on], begun_runs=[over], finished_runs=[over])

    later = JobLogs(tmp_path)
    assert later.append(going_on, 0, b"hello\n")[0] == len(b"hello\n")
    assert Path(later.path(5)).read_bytes().endswith(b"\nhello\n")
