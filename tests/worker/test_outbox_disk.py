from __future__ import annotations

import errno
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from coalition.worker.outbox.outbox import Outbox, Record
from coalition.worker.outbox.spool import HELD, LAST_LINE, MEMORY, REST
from tests.disks import fill, small_disk
from tests.worker.outboxes import (
    GB,
    KB,
    NO_BOUND,
    SMALL,
    begun,
    ended,
    journal,
    killed,
    lines,
    opened,
    reopened,
    spools,
)

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


# --- the journal -------------------------------------------------------------------------------


def run_some(outbox: Outbox, numbers: range, size: int = 10_000) -> None:
    for run in numbers:
        outbox.begin(Record(run), NO_BOUND)
        outbox.append(run, lines(size, run))
        outbox.end(run, 0, False, 1.0, 2.0)
        outbox.flush()


def test_a_journal_is_not_longer_than_what_it_tells(folder: Path) -> None:
    outbox = opened(folder, 1024 * KB)  # a new file from 64 KB on
    run_some(outbox, range(1, 3))
    for first in range(3, 300, 3):
        run_some(outbox, range(first, first + 3))
        for run in range(first, first + 3):
            outbox.forget(run)
        outbox.flush()
        outbox.sync()
    assert sum(path.stat().st_size for path in folder.glob("journal.*")) < 200 * KB
    outbox = killed(outbox, folder)
    assert [record.run for record in outbox.records()] == [1, 2]
    assert outbox.read(2, 0, 10_000) == lines(10_000, 2)


@pytest.mark.parametrize("gone_on", [False, True])
def test_a_node_that_is_killed_between_two_files_loses_nothing(folder: Path, gone_on: bool) -> None:
    outbox = opened(folder, 1024 * KB)
    run_some(outbox, range(1, 40), 4_000)
    for run in range(30, 40):
        outbox.forget(run)
    for run in range(1, 30, 2):
        outbox.forget(run)
    outbox.flush()
    run_some(outbox, range(40, 41))
    outbox.sync()  # the next file is begun without what is newest
    assert len(list(folder.glob("journal.*"))) == 2
    if gone_on:
        outbox.flush()
        run_some(outbox, range(41, 42))
    outbox = killed(outbox, folder)
    left = [*range(2, 30, 2), 40, *([41] if gone_on else [])]
    assert [record.run for record in outbox.records()] == left
    assert outbox.read(28, 0, 10_000) == lines(4_000, 28)


def test_ends_that_a_thread_makes_durable_while_more_happens_are_all_there(folder: Path) -> None:
    outbox = opened(folder, 1024 * KB)
    over = threading.Event()

    def sync() -> None:
        while not over.is_set():
            outbox.sync()

    thread = threading.Thread(target=sync)
    thread.start()
    for run in range(1, 1001):
        run_some(outbox, range(run, run + 1), 1_000 if run % 20 else 30_000)
        if run % 10:
            outbox.forget(run)
    over.set()
    thread.join()
    outbox.flush()
    outbox = killed(outbox, folder, 1024 * KB)
    assert [record.run for record in outbox.records()] == list(range(10, 1001, 10))
    for run in range(10, 1001, 10):
        size = 1_000 if run % 20 else 30_000
        assert outbox.read(run, 0, 50_000) == lines(size, run)


# --- durable -----------------------------------------------------------------------------------

ON_LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="other calls make files durable there"
)


@ON_LINUX
def test_an_end_is_sure_when_its_output_and_the_journal_are_on_the_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def fdatasync(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    outbox = begun(folder, SMALL)
    outbox.append(5, lines(40_000))
    outbox.end(5, 0, False, 1.0, 2.0)
    outbox.flush()
    outbox = killed(outbox, folder, SMALL)  # the next life does not know what was durable
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    outbox.sync()
    assert synced == ["5.0", "5.16384", "5.32768", "journal.2"]


@ON_LINUX
def test_after_an_error_of_the_disk_the_journal_is_written_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fdatasync(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    outbox = begun(folder)
    run_some(outbox, range(6, 7))
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", fdatasync)
        with pytest.raises(OSError, match="Input/output error"):
            outbox.sync()
    outbox.flush()
    with pytest.raises(OSError, match="Input/output error"):
        outbox.sync()
    outbox.flush()
    outbox.sync()
    assert journal(folder).name == "journal.2"
    assert [record.run for record in killed(outbox, folder).records()] == [5, 6]


# --- crashes -----------------------------------------------------------------------------------

LIFE = """
import sys
from pathlib import Path
from random import Random
from coalition.worker.outbox.outbox import Outbox, Record

outbox = Outbox(Path(sys.argv[1]), 1024 * 1024, 2)
first, random = int(sys.argv[2]), Random(int(sys.argv[2]))
for record in outbox.records():
    outbox.forget(record.run)
for run in range(first, first + 10_000):
    outbox.begin(Record(run, run + 1000), 1024 ** 3)
    outbox.append(run, b"%d " % run * random.choice([1, 10, 1_000, 10_000]))
    outbox.end(run, run % 100, False, 1.0, 2.0)
    outbox.flush()
    outbox.sync()
    print(run, flush=True)
    if run % 3:
        outbox.forget(run)
    sys.stdin.readline()
"""


def test_a_node_that_is_killed_at_any_moment_keeps_every_end_it_was_sure_of(folder: Path) -> None:
    random = Random(3)
    for first in range(1, 50_001, 10_000):
        life = [sys.executable, "-c", LIFE, str(folder), str(first)]
        with subprocess.Popen(
            life, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(b"\n" * random.randrange(5, 100))
            process.stdin.flush()
            sure = [int(process.stdout.readline()) for _ in range(3)]
            process.send_signal(signal.SIGKILL)
            sure += [int(line) for line in process.stdout if line.endswith(b"\n")]
        check_ends(folder, [run for run in sure if run % 3 == 0])


def check_ends(folder: Path, sure: list[int]) -> None:
    outbox = opened(folder, 1024 * KB, 2)
    records = {record.run: record for record in outbox.records()}
    for run in sure:
        assert (records[run].job, records[run].code) == (run + 1000, run % 100)
        whole = outbox.read(run, 0, GB)
        assert len(whole) == outbox.size(run) > 0
        assert re.fullmatch(rb"(%d )+" % run, whole)
    outbox.close()


# --- a full disk -------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as place:
        yield place


MISSING = re.compile(rb"^\* (\d+) bytes of output are missing here\n", re.MULTILINE)


def beyond(stream: bytes, written: bytes) -> bytes:
    """Check a stream in which a full disk has left out something; return what follows that."""
    first, number, end = MISSING.split(stream)
    before = written[: len(written) - int(number) - len(end)]
    assert first in (before, before + b"\n")
    assert written.endswith(end)
    return end


def on_a_full_disk(disk: Path, size: int = 1_500_000) -> tuple[Outbox, bytes]:
    """An outbox with run 5, all that this has written, and the disk has become full before."""
    outbox = begun(disk / "outbox")
    outbox.append(5, lines(100_000))
    outbox.flush()
    fill(disk)
    written = lines(size, 10_000)
    for at in range(0, size, 7_000):
        outbox.append(5, written[at : at + 7_000])
    return outbox, lines(100_000) + written


def test_a_full_disk_costs_output_but_not_the_worker(disk: Path) -> None:
    outbox, written = on_a_full_disk(disk)
    size = outbox.size(5)
    assert outbox.append(5, b"more\n") == size < 110_000 + HELD
    (disk / "full").unlink()
    outbox.append(5, b"after")
    end = beyond(outbox.read(5, 0, GB), written + b"more\nafter")
    assert len(end) == REST + len(b"after")


def test_a_short_time_without_room_costs_nothing(disk: Path) -> None:
    outbox = begun(disk / "outbox")
    outbox.append(5, lines(100_000))
    full = fill(disk)
    for at in range(10_000, 10_500, 100):
        outbox.append(5, lines(1_000, at))
    full.unlink()
    outbox.append(5, b"after")
    assert ended(outbox) == lines(105_000) + b"after"


def test_a_server_that_takes_it_has_all_of_what_a_full_disk_does_not(disk: Path) -> None:
    outbox = begun(disk / "outbox")
    full = fill(disk)
    written, taken = lines(3_000_000), bytearray()
    for at in range(0, len(written), 100_000):
        if at == 2_000_000:
            full.unlink()
        outbox.append(5, written[at : at + 100_000])
        taken += outbox.read(5, len(taken), 250_000)
        outbox.acknowledged(5, len(taken))
    size = outbox.end(5, 0, False, 1.0, 2.0)
    taken += outbox.read(5, len(taken), GB)
    assert taken == written and size == len(written)
    outbox = reopened(outbox, disk / "outbox")
    assert outbox.size(5) == size and outbox.read(5, size - 10, 10) == written[-10:]


def test_a_run_is_held_up_when_the_server_lags_behind_a_full_disk(disk: Path) -> None:
    outbox = begun(disk / "outbox")
    outbox.append(5, lines(100_000))
    fill(disk)
    outbox.append(5, lines(50_000))
    assert not outbox.is_behind(5)
    outbox.append(5, lines(50_000))
    assert outbox.is_behind(5) and not outbox.has_caught_up(5)
    outbox.acknowledged(5, 190_000)
    assert outbox.has_caught_up(5)


def test_many_floods_are_held_up_before_a_full_disk_costs_anything(disk: Path) -> None:
    outbox = opened(disk / "outbox", GB, 100)
    runs = list(range(1, 101))
    for run in runs:
        outbox.begin(Record(run), NO_BOUND)
        outbox.append(run, lines(100_000))
    fill(disk)
    written = dict.fromkeys(runs, 100_000)
    while going := [run for run in runs if not outbox.is_behind(run)]:
        for run in going:
            outbox.append(run, lines(30_000, written[run] // 10))
            written[run] += 30_000
    assert max(written.values()) <= 400_000
    assert all(ended(outbox, run) == lines(size) for run, size in written.items())


def test_a_full_disk_is_filled_with_no_empty_files(
    disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = begun(disk / "outbox")
    outbox.append(5, lines(100_000))
    fill(disk)
    for at in range(10_000, 20_000, 100):
        outbox.append(5, lines(1_000, at))
        outbox.acknowledged(5, outbox.size(5))
    assert len(spools(disk / "outbox")) == 1 == len(caplog.records)


def test_a_run_that_ends_on_a_full_disk_has_its_end_behind_a_line_about_what_is_missing(
    disk: Path,
) -> None:
    outbox, written = on_a_full_disk(disk)
    outbox.say(5, "over")
    whole = ended(outbox)
    assert len(beyond(whole, written + b"* over\n")) == REST
    assert len(whole) == outbox.size(5) == outbox.backlog(5)
    border = len(whole) - REST - 60
    for offset in (0, 64 * KB - 5, *range(border, border + 100), len(whole) - 3):
        assert outbox.read(5, offset, 100) == whole[offset : offset + 100]


def test_what_a_full_disk_left_in_memory_is_written_with_the_end_of_the_run(disk: Path) -> None:
    outbox, _ = on_a_full_disk(disk)
    whole = ended(outbox)
    outbox.flush()
    with pytest.raises(OSError, match="No space left"):
        outbox.sync()
    (disk / "full").unlink()
    outbox.flush()
    outbox.sync()
    outbox = killed(outbox, disk / "outbox")
    assert (outbox.records()[0].code, outbox.read(5, 0, GB)) == (0, whole)
    outbox = reopened(outbox, disk / "outbox-killed")  # from a journal that was written anew
    assert outbox.read(5, 0, GB) == whole


def test_a_run_whose_end_never_got_to_a_full_disk_is_one_that_was_cut_off(disk: Path) -> None:
    outbox, _ = on_a_full_disk(disk)
    whole = ended(outbox)
    outbox.flush()
    (disk / "full").unlink()
    outbox = killed(outbox, disk / "outbox")
    assert outbox.records()[0].code is None
    assert whole.startswith(outbox.read(5, 0, GB)) and outbox.size(5) >= 100_000


def test_a_full_disk_costs_a_log_that_is_too_long_no_more_than_its_middle(disk: Path) -> None:
    outbox = begun(disk / "outbox", maxlog=1_000)
    outbox.append(5, lines(500_000))
    fill(disk)
    outbox.append(5, lines(100_000, 50_000))
    (disk / "full").unlink()
    assert len(beyond(ended(outbox), lines(600_000))) == REST


def test_the_line_about_what_is_missing_begins_at_the_left(disk: Path) -> None:
    outbox = begun(disk / "outbox", 8 * SMALL)
    outbox.append(5, b"half a line")
    fill(disk)
    outbox.append(5, b"x" * 9 * SMALL)  # more than the server's quota, too
    assert len(beyond(ended(outbox), b"half a line" + b"x" * 9 * SMALL)) == REST


def test_many_ends_that_a_full_disk_left_in_memory_take_little_of_it(disk: Path) -> None:
    outbox = begun(disk / "outbox", KB * KB)
    outbox.flush()
    fill(disk)
    written = lines(1_500_000)
    tracemalloc.start()
    for run in range(10, 500):
        outbox.begin(Record(run), NO_BOUND)
        outbox.append(run, written)
        outbox.end(run, 0, False, 1.0, 2.0)
        outbox.flush()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 3 * MEMORY
    for run in range(10, 500):
        assert len(beyond(outbox.read(run, 0, GB), written)) in (REST, LAST_LINE)


def test_a_full_disk_is_told_of_once_for_a_run(
    disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    on_a_full_disk(disk)
    (told,) = [record.getMessage() for record in caplog.records]
    assert told == "output of run 5 cannot be kept: [Errno 28] No space left on device"


def test_short_output_and_ends_wait_for_the_disk(
    disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    outbox = begun(disk / "outbox")
    outbox.flush()
    full = fill(disk)
    outbox.append(5, lines(50_000))
    outbox.end(5, 3, False, 1.0, 2.0)
    for _ in range(3):
        outbox.flush()
        with pytest.raises(OSError, match="No space left"):
            outbox.sync()
    assert outbox.read(5, 0, 50_000) == lines(50_000)
    full.unlink()
    outbox.flush()
    outbox.sync()
    told = [record.message for record in caplog.records]
    assert [text.partition(":")[0] for text in told] == [
        "the outbox cannot be written",
        "the outbox can be written again",
    ]
    outbox = killed(outbox, disk / "outbox")
    assert (outbox.records()[0].code, outbox.size(5)) == (3, 50_000)


def test_what_waits_for_the_disk_does_not_grow(disk: Path) -> None:
    outbox = begun(disk / "outbox", KB * KB)  # a new journal from 64 KB on
    outbox.flush()
    full = fill(disk)
    tracemalloc.start()
    for run in range(10, 500):
        run_some(outbox, range(run, run + 1))
        with pytest.raises(OSError, match="No space left"):
            outbox.sync()
        outbox.forget(run)
    assert tracemalloc.get_traced_memory()[1] < 1_000 * KB
    tracemalloc.stop()
    full.unlink()
    run_some(outbox, range(500, 501))
    outbox.sync()
    outbox = killed(outbox, disk / "outbox")
    assert [record.run for record in outbox.records()] == [5, 500]
