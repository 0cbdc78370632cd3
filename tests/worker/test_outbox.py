from __future__ import annotations

from pathlib import Path

import pytest

from coalition.worker.outbox import Outbox, OutboxTaken, Record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


def reopened(outbox: Outbox, folder: Path) -> Outbox:
    outbox.close()
    return Outbox(folder)


def test_output_is_read_back_from_any_offset(folder: Path) -> None:
    outbox = Outbox(folder)
    assert outbox.append(5, b"hello ") == 6
    assert outbox.append(5, b"world") == 11
    assert outbox.read(5, 3, 5) == b"lo wo"
    assert outbox.read(5, 9, 100) == b"ld"
    assert outbox.read(6, 0, 1) == b""


def test_our_lines_begin_at_the_left(folder: Path) -> None:
    outbox = Outbox(folder)
    outbox.say(5, "first")
    outbox.append(5, b"half a line")
    size = outbox.say(5, "second")
    assert outbox.read(5, 0, 100) == b"* first\nhalf a line\n* second\n"
    assert size == outbox.size(5) == 29


def test_records_and_output_outlive_the_process(folder: Path) -> None:
    outbox = Outbox(folder)
    running = Record(5, 1005, "node", "http://farm:19211", 4711, 12.5)
    over = Record(3, 1003, "node", code=-9, again=True)
    outbox.put(running)
    outbox.put(Record(3, 1003, "node"))
    outbox.append(3, b"kept")
    outbox.put_ends([over])
    outbox = reopened(outbox, folder)
    assert outbox.records() == [over, running]
    assert (outbox.size(3), outbox.size(5)) == (4, 0)
    assert outbox.append(3, b" on") == 7


def test_what_is_forgotten_is_gone(folder: Path) -> None:
    outbox = Outbox(folder)
    outbox.put(Record(5))
    outbox.append(5, b"output")
    outbox.forget(5)
    outbox.forget(6)
    assert {path.name for path in folder.iterdir()} == {"lock"}


def test_a_record_that_a_crash_cut_off_is_a_run_to_do_again(folder: Path) -> None:
    outbox = Outbox(folder)
    (folder / "5.json").write_bytes(b'{"run":5,"jo')
    (folder / "6.new").write_bytes(b"")
    (folder / "7.log").write_bytes(b"nobody's")
    assert outbox.records() == [Record(5)]
    assert not (folder / "7.log").exists()


def test_two_processes_do_not_share_an_outbox(folder: Path) -> None:
    outbox = Outbox(folder)
    with pytest.raises(OutboxTaken, match="another worker.py of this name"):
        Outbox(folder)
    reopened(outbox, folder).close()


def test_a_full_disk_costs_output_but_not_the_worker(folder: Path) -> None:
    outbox = Outbox(folder)
    outbox.append(5, b"before")
    outbox.ended(5)
    (folder / "5.log").rename(folder / "away")
    (folder / "5.log").symlink_to("/dev/full")
    assert outbox.append(5, b"lost") == 6
    outbox.ended(5)
    (folder / "away").replace(folder / "5.log")
    outbox.append(5, b"after")
    assert outbox.read(5, 0, 100) == b"before\n* 4 bytes of output are missing here\nafter"
