"""The last line of a run that ended while the disk took no logs comes when it does again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coalition.core.farm import Farm
from coalition.server import joblog, logfile, owed, timers
from coalition.server.section import LAST
from coalition.wire import End
from tests.disks import fill, small_disk
from tests.server.builders import Inside, inside
from tests.server.test_ahead import QUICK, Quick, numbers
from tests.server.test_log_tails import lines

LOAD = ("", 0, 0)

LIMIT = 100_000


class Full:
    """A server whose disk of logs is full, with an old worker that has jobs."""

    def __init__(self, farm: Inside, disk: Path) -> None:
        self.farm, self.disk = farm, disk
        self.room = Path()

    def pick(self, name: str = "old") -> int:
        start = self.farm.do(self.farm.service.pick(name, "ip", LOAD))
        assert start is not None
        return start.run

    def write(self, job: int, text: bytes, name: str = "old") -> None:
        assert self.farm.do(self.farm.service.heartbeat(name, "ip", LOAD, job, text))

    def end(self, job: int, code: int = 0, name: str = "old") -> None:
        self.farm.do(self.farm.service.end(name, "ip", job, code))

    def fill(self) -> None:
        self.room = fill(self.disk)

    def empty(self) -> None:
        self.room.unlink()


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Full]:
    with small_disk(tmp_path / "logs") as disk, inside(tmp_path, maxlog=LIMIT) as farm:
        yield Full(farm, disk)


def test_an_old_worker_that_ends_while_the_disk_is_full_has_its_lines_when_there_is_room(
    full: Full,
) -> None:
    farm = full.farm
    job = farm.submit()
    full.fill()
    run = full.pick()
    full.end(job)
    assert (farm.log(job), farm.state(job)) == ("", "FINISHED")
    full.empty()
    timers.tick(farm.service)

    assert lines(farm, job) == [f"* RUN {run} on", f"* RUN {run} FINISHED"]
    timers.tick(farm.service)
    assert len(lines(farm, job)) == 2


@pytest.mark.parametrize("before", [b"a line\n", b"half a line"])
def test_what_such_a_worker_lost_is_counted_in_its_log(full: Full, before: bytes) -> None:
    farm, job = full.farm, full.farm.submit()
    run = full.pick()
    full.write(job, before)
    full.fill()
    full.write(job, b"x" * 8000)
    full.end(job)
    full.empty()
    farm.pass_time(1.0)

    _, first, *_, missing, tail = lines(farm, job)
    assert (first.strip(), tail) == (before.decode().strip(), f"* RUN {run} FINISHED")
    assert missing == "* 8000 bytes of output are missing here: they could not be written"


def test_the_kept_end_of_a_log_that_is_too_large_comes_when_there_is_room(full: Full) -> None:
    farm, job = full.farm, full.farm.submit()
    run = full.pick()
    text = b"".join(b"%09d\n" % number for number in range(3 * LIMIT // 10))
    full.write(job, text)
    full.fill()
    full.end(job)
    farm.pass_time(1.0)
    full.empty()
    farm.pass_time(1.0)

    kept, _, rest = farm.log(job).partition(
        f"* {2 * LIMIT - LAST} bytes of output were left out here\n"
    )
    assert kept.endswith(text[:LIMIT].decode())
    assert rest.startswith(text[-LAST:].decode() + f"* RUN {run} FINISHED at ")


def test_room_for_the_word_about_what_is_lost_and_not_for_the_rest_leaves_no_empty_line(
    full: Full, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm, job = full.farm, full.farm.submit()
    full.pick()
    full.write(job, b"half a line")
    full.fill()
    full.write(job, b"x" * 8000)
    full.empty()
    with monkeypatch.context() as patch:
        patch.setattr(joblog, "append", only_fillers)
        full.end(job)
    farm.pass_time(1.0)

    assert [line.split()[0] for line in farm.log(job).splitlines() if line.strip()] == [
        "*", "half", "*", "*",
    ]  # fmt: skip
    assert "\n\n" not in farm.log(job)


def only_fillers(path: str, data: bytes) -> None:
    if b"* RUN" in data:
        raise OSError(28, "No space left on device")
    logfile.append(path, data)


def test_the_line_of_a_run_stands_above_the_next_run_of_its_job(full: Full) -> None:
    farm, job = full.farm, full.farm.submit(retry=2)
    full.fill()
    runs = []
    for _ in range(2):
        runs.append(full.pick())
        full.end(job, 1)
    last = full.pick()
    full.empty()
    full.write(job, b"hello\n")

    ended = [line for run in runs for line in (f"* RUN {run} on", f"* RUN {run} ERROR")]
    assert lines(farm, job) == [*ended, f"* RUN {last} on", "hello"]


@pytest.mark.parametrize("order", [Farm.on_reset, Farm.on_delete])
def test_nothing_is_owed_to_a_log_that_was_cleared(full: Full, order: Callable[..., None]) -> None:
    farm, job = full.farm, full.farm.submit()
    full.fill()
    full.pick()
    full.end(job)
    assert len(farm.logs.owed) == 1
    farm.order(order, job)
    full.empty()
    farm.pass_time(1.0)

    assert (len(farm.logs.owed), farm.log(job)) == (0, "")


def test_a_server_killed_while_the_disk_is_full_writes_the_line_when_it_starts_again(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "logs") as disk:
        with inside(tmp_path) as farm:
            one, other = (farm.submit() for _ in range(2))
            full = Full(farm, disk)
            full.fill()
            full.pick("a"), full.pick("b")
            full.end(one, name="a")
            full.end(other, 7, name="b")  # in a batch of its own
        full.empty()
        for _ in range(2):
            with inside(tmp_path) as farm:
                assert lines(farm, one) == ["* RUN 1 on", "* RUN 1 FINISHED"]
                assert lines(farm, other) == ["* RUN 2 on", "* RUN 2 ERROR"]


def test_a_log_that_cannot_be_read_at_the_end_of_a_run_has_its_line_when_it_can(
    tmp_path: Path,
) -> None:
    with inside(tmp_path) as farm:
        job = farm.submit()
        run = farm.do(farm.service.pick("old", "ip", LOAD)).run
        farm.do(farm.service.heartbeat("old", "ip", LOAD, job, b"hello\n"))
    with inside(tmp_path) as farm:
        log = Path(farm.logs.path(job))
        away = log.rename(tmp_path / "away")
        log.symlink_to("/proc/self/mem")  # whose first bytes are an I/O error
        farm.do(farm.service.end("old", "ip", job, 0))
        away.rename(log)
        farm.pass_time(1.0)

        assert lines(farm, job) == [f"* RUN {run} on", "hello", f"* RUN {run} FINISHED"]


def test_of_too_many_ends_that_wait_the_oldest_are_given_up_and_counted(
    full: Full, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(owed, "MOST", 2)
    farm = full.farm
    jobs = [farm.submit() for _ in range(4)]
    full.fill()
    for job in jobs:
        full.pick()
        full.end(job)
    full.empty()
    farm.pass_time(1.0)

    assert [len(lines(farm, job)) for job in jobs] == [0, 0, 2, 2]
    assert f"the log of job {jobs[0]} will lack the end of run 1" in caplog.text
    assert "the logs lack the ends of 2 runs" in caplog.text


def test_one_file_that_takes_nothing_for_ever_holds_up_no_other(farm: Inside) -> None:
    bad = farm.submit()
    farm.do(farm.service.pick("old", "ip", LOAD))
    Path(farm.logs.path(bad)).unlink()
    Path(farm.logs.path(bad)).symlink_to("/dev/full")
    farm.do(farm.service.end("old", "ip", bad, 0))
    assert len(farm.logs.owed) == 1
    node = Quick(farm)
    job = farm.submit()
    (run,) = numbers(node.tells())
    farm.pass_time(2.0)
    ends = [End(node.run), End(run, worker="n-1", seconds=QUICK)]
    assert farm.told(0, ends=ends, last=run).ended == [node.run, run]
    assert (farm.state(job), farm.logs.trouble) == ("FINISHED", None)
