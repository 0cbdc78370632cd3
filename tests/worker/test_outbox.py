from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from coalition.worker.outbox.entries import OutboxUnreadable
from coalition.worker.outbox.outbox import Record
from tests.worker.outboxes import (
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


# --- output ------------------------------------------------------------------------------------


def test_output_is_read_back_from_any_offset(folder: Path) -> None:
    outbox = begun(folder)
    assert outbox.append(5, b"hello ") == 6
    assert outbox.append(5, b"world") == 11
    assert outbox.read(5, 3, 5) == b"lo wo"
    assert outbox.read(5, 9, 100) == b"ld"
    assert spools(folder) == set()


def test_long_output_is_read_back_across_memory_and_files(folder: Path) -> None:
    outbox = begun(folder, SMALL)
    written = lines(60_000)
    for at in range(0, len(written), 7_000):
        outbox.append(5, written[at : at + 7_000])
    assert spools(folder) == {"5.14000", "5.30384", "5.46768"}
    for offset, length in [(0, 60_000), (13_990, 20), (30_380, 10), (46_000, 9_999), (59_999, 9)]:
        assert outbox.read(5, offset, length) == written[offset : offset + length]


def test_what_was_not_begun_or_is_forgotten_has_no_output(folder: Path) -> None:
    outbox = begun(folder)
    outbox.forget(5)
    for run in (5, 6):
        assert outbox.append(run, b"late") == outbox.say(run, "late") == 0
        assert outbox.end(run, 0, False, 0.0, 0.0) == outbox.size(run) == 0
        outbox.running(run, 1, 1.0)
        outbox.acknowledged(run, 4)
        outbox.forget(run)
        assert outbox.read(run, 0, 4) == b""
    assert reopened(outbox, folder).records() == []


def test_our_lines_begin_at_the_left(folder: Path) -> None:
    outbox = begun(folder, SMALL)
    outbox.say(5, "first")
    outbox.append(5, b"half a line")
    size = outbox.say(5, "second")
    assert outbox.read(5, 0, 100) == b"* first\nhalf a line\n* second\n"
    assert size == outbox.size(5) == 29
    outbox.append(5, b"x" * 20 * KB)
    outbox.say(5, "third")
    assert outbox.read(5, 29 + 20 * KB - 1, 100) == b"x\n* third\n"


def test_what_is_forgotten_is_gone(folder: Path) -> None:
    outbox = begun(folder, SMALL)
    outbox.append(5, lines(40_000))
    outbox.end(5, 0, False, 1.0, 2.0)
    assert spools(folder)
    outbox.forget(5)
    for _ in range(3):
        outbox.flush()
    assert spools(folder) == set()
    assert reopened(outbox, folder).records() == []


def test_a_number_that_comes_again_is_another_run(folder: Path) -> None:
    outbox = begun(folder, SMALL)
    outbox.append(5, lines(40_000))
    outbox.begin(Record(5, 7), NO_BOUND)
    outbox.append(5, lines(20_000, 7_000))
    for _ in range(5):
        outbox.flush()
    outbox = reopened(outbox, folder, SMALL)
    assert outbox.records() == [Record(5, 7)]
    assert ended(outbox) == lines(20_000, 7_000)


# --- what is left out --------------------------------------------------------------------------


def test_of_a_log_that_is_too_long_the_end_is_kept(folder: Path) -> None:
    outbox = begun(folder, maxlog=1_000)
    written = lines(3 * KB * KB)
    for at in range(0, len(written), 50_000):
        outbox.append(5, written[at : at + 50_000])
    assert outbox.read(5, 0, 2_000) == written[:1_000]
    out = len(written) - 1_000 - KB * KB
    marker = b"* %d bytes of output were left out here\n" % out
    assert ended(outbox) == written[:1_000] + marker + written[-KB * KB :]
    assert spools(folder) == {"5.1045"}


def test_the_line_that_says_so_begins_at_the_left(folder: Path) -> None:
    outbox = begun(folder, SMALL, maxlog=3)
    outbox.append(5, b"abc" + b"x" * 16 * KB + b"yz")
    assert ended(outbox) == (
        b"abc\n* 2 bytes of output were left out here\n" + b"x" * (16 * KB - 2) + b"yz"
    )


def test_what_the_end_holds_all_of_needs_no_such_line(folder: Path) -> None:
    outbox = begun(folder, maxlog=3)
    outbox.append(5, b"abc")
    outbox.append(5, b"def")
    outbox.say(5, "over")
    assert outbox.size(5) == 3
    assert ended(outbox) == b"abcdef\n* over\n"


def test_while_nobody_takes_it_a_run_fills_its_part_of_the_disk(folder: Path) -> None:
    outbox = begun(folder, SMALL)
    written = lines(200_000)
    for at in range(0, len(written), 10_000):
        outbox.append(5, written[at : at + 10_000])
    assert outbox.size(5) == SMALL
    assert sum(path.stat().st_size for path in folder.glob("5.*")) < 2 * SMALL
    whole = ended(outbox)
    assert whole.startswith(written[:SMALL])
    assert whole.endswith(b" bytes of output were left out here\n" + written[-16 * KB :])


def test_when_it_is_taken_again_the_output_goes_on(folder: Path) -> None:
    outbox = begun(folder, 2 * SMALL, workers=2)
    outbox.append(5, lines(100_000))
    outbox.acknowledged(5, SMALL // 2)
    assert outbox.size(5) == SMALL
    outbox.acknowledged(5, SMALL // 2 + 1)
    marker = b"\n* %d bytes of output were left out here\n" % (100_000 - SMALL - 16 * KB)
    size = SMALL + len(marker) + 16 * KB
    assert outbox.size(5) == size
    assert outbox.append(5, b"more") == size + 4
    assert ended(outbox)[SMALL:] == marker + lines(100_000)[-16 * KB :] + b"more"


def test_runs_that_wait_for_the_server_leave_no_more_than_the_rest(folder: Path) -> None:
    outbox = opened(folder, SMALL, workers=4)
    for run in range(1, 11):
        outbox.begin(Record(run), NO_BOUND)
        outbox.append(run, lines(16_000, run))
        outbox.end(run, 0, False, 1.0, 2.0)
    whole = sum(path.stat().st_size for path in folder.glob("*.*") if path.name[0].isdigit())
    assert whole <= SMALL + 10 * 8 * KB
    for run in range(1, 11):
        assert outbox.read(run, outbox.size(run) - 10, 10) == lines(16_000, run)[-10:]


def test_the_backlog_is_what_the_server_has_not_got(folder: Path) -> None:
    outbox = begun(folder)
    outbox.append(5, b"0123456789")
    assert (outbox.size(5), outbox.backlog(5)) == (10, 10)
    outbox.acknowledged(5, 7)
    assert outbox.backlog(5) == 3
    outbox.acknowledged(5, 2)  # it lost its power
    assert outbox.backlog(5) == 8
    assert outbox.read(5, 2, 5) == b"23456"


def test_what_the_server_has_is_kept_for_as_long_as_there_is_room(folder: Path) -> None:
    outbox = begun(folder, SMALL)
    written = lines(200_000)
    for at in range(0, len(written), 5_000):
        size = outbox.append(5, written[at : at + 5_000])
        outbox.acknowledged(5, size)
    assert sum(path.stat().st_size for path in folder.glob("5.*")) <= SMALL
    assert outbox.read(5, 180_000, 20_000) == written[180_000:]
    again = outbox.read(5, 0, 100_000)
    assert len(again) == 100_000
    assert again.startswith(written[:15_000] + b"* bytes were lost here\n    ")


def test_a_flood_takes_hardly_any_memory(folder: Path) -> None:
    outbox = begun(folder, KB * KB, maxlog=10 * KB * KB)
    block = lines(64_000)
    tracemalloc.start()
    for _ in range(500):
        outbox.acknowledged(5, outbox.append(5, block))
    assert tracemalloc.get_traced_memory()[1] < 5 * 64 * KB
    outbox.end(5, 0, False, 1.0, 2.0)
    tracemalloc.stop()
    tail = outbox.read(5, outbox.size(5) - 1_000, 1_000)
    assert tail == block[-1_000:]


# --- another life ------------------------------------------------------------------------------


def test_records_and_output_outlive_the_process(folder: Path) -> None:
    outbox = begun(folder)
    outbox.running(5, 4711, 12.5)
    outbox.begin(Record(3, 1003, "other"), NO_BOUND)
    outbox.append(3, b"kept")
    outbox.end(3, -9, True, 0.25, 1e9)
    outbox.flush()
    outbox.sync()
    outbox = killed(outbox, folder)
    assert outbox.records() == [
        Record(3, 1003, "other", code=-9, again=True, seconds=0.25, ended_at=1e9),
        Record(5, 1005, "node", "http://farm:19211", 4711, 12.5),
    ]
    assert (outbox.read(3, 0, 10), outbox.size(5)) == (b"kept", 0)


def test_a_run_that_was_cut_off_keeps_its_output_and_its_end(folder: Path) -> None:
    outbox = begun(folder, SMALL)
    outbox.append(5, lines(200_000))
    outbox.flush()
    outbox = killed(outbox, folder, SMALL)
    outbox.say(5, "cut off")
    whole = ended(outbox)
    assert whole[:SMALL] == lines(200_000)[:SMALL]
    assert whole.endswith(lines(200_000)[-1_000:] + b"* cut off\n")


def test_what_was_not_flushed_is_as_if_it_had_not_been(folder: Path) -> None:
    outbox = begun(folder)
    outbox.append(5, b"one ")
    outbox.flush()
    outbox.append(5, b"two")
    outbox.end(5, 0, False, 1.0, 2.0)
    outbox = killed(outbox, folder)
    assert outbox.records() == [Record(5, 1005, "node", "http://farm:19211")]
    assert outbox.append(5, b"three") == 9
    assert ended(outbox) == b"one three"


@pytest.mark.parametrize("damage", [b"", bytes(100), b"\x07\x00\x00\x00garbage", b"\xff" * 50])
def test_a_journal_with_a_damaged_end_says_what_stands_before(folder: Path, damage: bytes) -> None:
    outbox = begun(folder)
    outbox.append(5, b"kept")
    outbox.close()
    with journal(folder).open("ab") as file:
        file.write(damage)
    outbox = opened(folder)
    assert outbox.read(5, 0, 10) == b"kept"
    outbox.append(5, b" on")
    outbox = reopened(outbox, folder)
    assert outbox.read(5, 0, 10) == b"kept on"


@pytest.mark.parametrize("start", [0, 16_384, 49_152])
def test_a_file_that_a_power_failure_cut_off_leaves_a_gap(folder: Path, start: int) -> None:
    outbox = begun(folder, SMALL)
    outbox.append(5, lines(60_000))
    outbox.end(5, 0, False, 1.0, 2.0)
    outbox.flush()
    outbox.close()
    os.truncate(folder / f"5.{start}", 1_000)
    again = opened(folder, SMALL).read(5, 0, 100_000)
    assert len(again) == 60_000
    assert again.startswith(lines(60_000)[: start + 1_000] + b"* bytes were lost here\n  ")
    assert again[start + 16_384 :] == lines(60_000)[start + 16_384 :]


@pytest.mark.parametrize("content", [b"coalition outbox 2\nwhatever", b"coalition outbox 10\n"])
def test_the_outbox_of_another_version_is_left_alone(folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / "journal.7").write_bytes(content)
    (folder / "5.0").write_bytes(b"output")
    with pytest.raises(OutboxUnreadable, match="journal.7 was written by another version"):
        opened(folder)
    assert (folder / "5.0").exists()
    (folder / "journal.7").unlink()
    opened(folder).close()


def test_other_files_in_the_folder_do_no_harm(folder: Path) -> None:
    folder.mkdir()
    for name in ("5.json", "5.log", "journal.old", "7.ring.0", "7.0"):
        (folder / name).write_bytes(b"{}")
    (folder / "journal.3").write_bytes(b"")
    outbox = begun(folder)
    assert outbox.records() == []
    assert spools(folder) == {"5.json", "5.log"}
