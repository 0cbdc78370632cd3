"""Log files that take nothing: for a while, as on a full disk, or never."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from coalition.core.farm import Farm
from coalition.errors import LogUnusable
from coalition.wire import Chunk, End, Orders
from tests.disks import fill, small_disk
from tests.server.builders import Api, Inside, inside, report
from tests.server.test_ahead import Quick, numbers

LOAD = ("", 0, 0)


def log_of(farm: Inside, job: int) -> Path:
    return Path(farm.logs.path(job))


def sent(farm: Inside, run: int, offset: int, data: bytes, *ends: End) -> Orders:
    """What a node is told that sends a piece of a log, after it had to wait for that."""
    chunks = [Chunk(run, offset, data)]
    said = report(0 if ends else run, logs=chunks, ends=list(ends))
    told = farm.begin(farm.service.report(said, "ip"))
    farm.pass_time(2.0)
    (orders,) = told
    assert isinstance(orders, Orders)
    return orders


# --- never -------------------------------------------------------------------------------------


def loop(path: Path) -> None:
    path.symlink_to(path)


def nowhere(path: Path) -> None:
    path.symlink_to(path.parent / "missing" / "log")


def too_long(path: Path) -> None:
    path.symlink_to("x" * 300)


def fifo(path: Path) -> None:
    os.mkfifo(path)


NEVER = [
    (fifo, "No such device or address"),
    (Path.mkdir, "Is a directory"),
    (loop, "Too many levels of symbolic links"),
    (nowhere, "No such file or directory"),
    (too_long, "File name too long"),
]


@pytest.mark.parametrize(("make", "reason"), NEVER)
def test_a_log_that_cannot_be_written_costs_only_itself(
    farm: Inside, caplog: pytest.LogCaptureFixture, make: Callable[[Path], None], reason: str
) -> None:
    bad, good = farm.submit(globalprogress="P:%percent"), farm.submit()
    run = farm.started().run
    log_of(farm, bad).unlink()
    make(log_of(farm, bad))

    assert sent(farm, run, 0, b"P:40\n").logs == {run: 5}
    assert farm.job(bad)["progress"] == 0.4
    orders = sent(farm, run, 5, b"more\n", End(run))
    assert (orders.logs, orders.ended, farm.state(bad)) == ({run: 10}, [run], "FINISHED")
    (start,) = orders.start
    sent(farm, start.run, 0, b"fine\n", End(start.run))

    assert (start.job, farm.log(good).splitlines()[1]) == (good, "fine")
    (said,) = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    assert str(log_of(farm, bad)) in said and said.endswith(reason)
    assert farm.logs.trouble is None


def immutable(path: Path, yes: bool) -> None:
    """Let nobody write a file, not even root, or lift that."""
    words = ["chattr", "+i" if yes else "-i", path]
    if not shutil.which("chattr") or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("no file can be made immutable here")


SIZES = [1, 2, 40, 5000, 3_000_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("before", [b"", b"a line\n", b"half a line"])
def test_a_log_goes_on_behind_a_word_about_what_was_lost_also_after_a_restart_of_the_server(
    tmp_path: Path, before: bytes, size: int
) -> None:
    with inside(tmp_path) as farm:
        job = farm.submit()
        run = farm.started().run
        sent(farm, run, 0, before)
        immutable(log_of(farm, job), True)
        try:
            assert sent(farm, run, len(before), b"x" * size).logs == {run: len(before) + size}
        finally:
            immutable(log_of(farm, job), False)
        here = len(before) + size
        assert sent(farm, run, here, b"after\n").logs == {run: here + 6}
    with inside(tmp_path) as farm:
        assert sent(farm, run, here, b"after\nend\n", End(run)).logs == {run: here + 10}

        log = log_of(farm, job).read_bytes()
        assert log.startswith(b"* RUN") and b"\n" + before in log and log.count(b"after") == 1
        missing, *rest = log.split(b"\n")[-5:]
        assert rest[:2] == [b"after", b"end"] and b" FINISHED at " in rest[2]
        told = b"* %d bytes of output are missing here: they could not be written" % size
        assert missing.endswith(told if size > len(told) + 1 else b"*" * (size - 1))


def test_a_server_that_finds_a_fifo_in_place_of_a_log_goes_on(tmp_path: Path) -> None:
    with inside(tmp_path) as farm:
        job = farm.submit()
        run = farm.started().run
        log_of(farm, job).unlink()
        fifo(log_of(farm, job))
    with inside(tmp_path) as farm:
        assert sent(farm, run, 0, b"more\n", End(run)).ended == [run]
        with pytest.raises(LogUnusable, match="cannot be read: it is no regular file"):
            farm.logs.look(job)


def test_a_log_that_never_could_be_written_begins_with_its_head_all_the_same(
    farm: Inside,
) -> None:
    job = farm.submit()
    log_of(farm, job).mkdir()
    run = farm.started().run
    sent(farm, run, 0, b"x" * 1000)
    log_of(farm, job).rmdir()
    sent(farm, run, 1000, b"after\n", End(run))

    head, _, missing, after, tail = farm.log(job).splitlines()
    assert (f"* RUN {run} on " in head, after, " FINISHED at " in tail) == (True, "after", True)
    assert missing.startswith("* 1000 bytes of output are missing here")


def test_the_tail_of_a_run_is_written_if_its_log_can_be_written_then(farm: Inside) -> None:
    job = farm.submit()
    log_of(farm, job).mkdir()
    run = farm.started().run
    sent(farm, run, 0, b"x" * 1000)
    log_of(farm, job).rmdir()
    sent(farm, run, 1000, b"", End(run))

    _, _, missing, tail = farm.log(job).splitlines()
    assert missing.startswith("* 1000 bytes") and tail.startswith(f"* RUN {run} FINISHED at ")


def test_a_job_is_reset_and_deleted_although_its_log_cannot_be_removed(
    farm: Inside, caplog: pytest.LogCaptureFixture
) -> None:
    job = farm.submit()
    log_of(farm, job).mkdir()
    for order in (Farm.on_reset, Farm.on_delete):
        run = farm.started().run
        sent(farm, run, 0, b"lost\n", End(run))
        farm.order(order, job)
        assert not farm.logs.folder.clear_some()

    assert caplog.text.count(f"the log of job {job} cannot be removed: ") == 2


# --- what is shown -----------------------------------------------------------------------------


@pytest.fixture
def broken(api: Api) -> int:
    """A job that runs and has no log file but a folder in its place."""
    id: int = api.put({"command": "true"})
    (api.datadir / "logs" / f"{id}.log").mkdir()
    api.worker("pickjob", "w")
    api.worker("heartbeat", "w", jobId=id, log="aGVsbG8=")
    return id


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-"}])
def test_a_log_that_cannot_be_read_is_an_error_that_says_why(
    api: Api, broken: int, headers: dict[str, str]
) -> None:
    answer = api.ask("GET", f"/api/jobs/{broken}/log", headers=headers)
    error = answer.json()["error"]

    assert (answer.status_code, error["code"]) == (503, "log_unusable")
    assert error["message"] == f"the log of job {broken} cannot be read: Is a directory"
    assert api.ask("GET", "/health").status_code == 200
    (api.datadir / "logs" / f"{broken}.log").rmdir()


def test_a_log_that_can_be_read_only_is_shown_with_a_word_about_what_is_missing(api: Api) -> None:
    id = api.put({"command": "true"})
    api.worker("pickjob", "w")
    path = api.datadir / "logs" / f"{id}.log"
    immutable(path, True)
    try:
        api.worker("heartbeat", "w", jobId=id, log="aGVsbG8=")
        text = api.get(f"jobs/{id}/log")
        size = path.stat().st_size
        part = api.ask("GET", f"/api/jobs/{id}/log", headers={"Range": "bytes=0-"})
        rest = api.ask("GET", f"/api/jobs/{id}/log", headers={"Range": f"bytes={size}-"})
    finally:
        immutable(path, False)

    reason = f"the log of job {id} cannot be written, its rest is lost: Operation not permitted"
    assert text.encode() == path.read_bytes() + f"\n* {reason}\n".encode()
    assert (part.status_code, part.content) == (206, path.read_bytes())
    assert (rest.status_code, rest.json()["error"]["message"]) == (503, reason)


# --- for a while -------------------------------------------------------------------------------


def test_a_part_of_a_chunk_that_a_full_disk_took_is_not_there_twice(tmp_path: Path) -> None:
    data = b"0123456789abcde\n" * 10_000
    with inside(tmp_path) as farm, small_disk(tmp_path / "disk") as disk:
        job = farm.submit()
        run = farm.started().run
        path = disk / "log"
        log_of(farm, job).rename(tmp_path / "head")
        path.write_bytes((tmp_path / "head").read_bytes())
        log_of(farm, job).symlink_to(path)
        before = path.read_bytes()
        full = fill(disk)
        assert sent(farm, run, 0, data).logs == {run: 0}
        assert path.read_bytes() == before and farm.logs.trouble is not None
        full.unlink()

        assert sent(farm, run, 0, data).logs == {run: len(data)}
        assert (path.read_bytes(), farm.logs.trouble) == (before + data, None)


def test_what_an_old_worker_sends_while_the_disk_is_full_is_told_to_be_missing(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "logs") as disk, inside(tmp_path) as farm:
        job = farm.submit()
        farm.do(farm.service.pick("old", "ip", LOAD))

        def write(text: bytes) -> None:
            assert farm.do(farm.service.heartbeat("old", "ip", LOAD, job, text))

        write(b"before\n")
        full = fill(disk)
        write(b"PROGRESS:40%\n" + b"x" * 8_000)
        assert farm.logs.trouble is not None
        farm.pass_time(0)
        assert farm.job(job)["progress"] == 0.4
        full.unlink()
        write(b"after\n")
        farm.do(farm.service.end("old", "ip", job, 0))

        _, before, *_, missing, after, tail = farm.log(job).splitlines()
        assert (before, after) == ("before", "after") and " FINISHED at " in tail
        assert missing == "* 8013 bytes of output are missing here: they could not be written"
        assert farm.logs.trouble is None


def test_nothing_is_lost_while_the_folder_of_the_logs_is_away(farm: Inside) -> None:
    job = farm.submit()
    run = farm.started().run
    folder = log_of(farm, job).parent
    away = folder.rename(folder.with_name("away"))
    orders = sent(farm, run, 0, b"hello\n", End(run, worker="n-1"))
    assert (orders.logs, orders.ended, farm.state(job)) == ({run: 0}, [], "WORKING")
    assert farm.logs.trouble is not None
    away.rename(folder)

    assert sent(farm, run, 0, b"hello\n", End(run, worker="n-1")).ended == [run]
    assert (farm.log(job).splitlines()[1], farm.logs.trouble) == ("hello", None)


def test_a_log_that_a_server_cannot_read_for_a_while_is_not_written_twice(tmp_path: Path) -> None:
    with inside(tmp_path) as farm:
        job = farm.submit()
        run = farm.started().run
        sent(farm, run, 0, b"one\n")
    with inside(tmp_path) as farm:
        log = log_of(farm, job)
        away = log.rename(tmp_path / "away")
        log.symlink_to("/proc/self/mem")  # whose first bytes are an I/O error
        assert sent(farm, run, 4, b"two\n").logs == {run: 0}
        assert farm.logs.trouble is not None
        away.rename(log)

        assert sent(farm, run, 0, b"one\ntwo\n").logs == {run: 8}
        assert farm.log(job).splitlines()[1:] == ["one", "two"]


def test_orders_reach_a_node_whose_ends_wait_for_the_disk(
    farm: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Quick(farm)
    farm.submit()
    (run,) = numbers(node.tells())
    farm.told(0, 0, ends=[End(node.run)], ahead=[run], last=run)
    monkeypatch.setattr(farm.logs, "trouble", "full")
    monkeypatch.setattr(farm.logs, "try_again", lambda: None)
    said = report(0, 0, ends=[End(run, worker="n-1")], last=run)
    told = farm.begin(farm.service.report(said, "ip"))
    farm.turn(5)
    assert told == []
    job = farm.submit(priority=5000)
    farm.turn(5)
    (orders,) = told
    assert isinstance(orders, Orders) and [start.job for start in orders.start] == [job]
