"""Whose an outbox is: a farm's, wherever its server is, and not that of who answers there now."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from coalition.worker.outbox.entries import OutboxUnreadable
from coalition.worker.outbox.outbox import Outbox, Record
from coalition.worker.outbox.outboxes import Outboxes
from tests.worker.outboxes import GB, SMALL, lines
from tests.worker.real import ROOT, in_reactor

OLD, NEW = "http://127.0.0.1:7", "http://127.0.0.1:8"
SUN, MOON = "51" * 16, "3007" * 8


@contextmanager
def working_for(
    folder: Path, server: str, farm: str | None, limit: int = GB
) -> Iterator[tuple[Outboxes, Outbox]]:
    """The outboxes of a node that works for a farm, None: for whoever is at that URL."""
    with closing(Outboxes(folder, limit, 1)) as outboxes:
        outbox = in_reactor(lambda reactor: outboxes.open(reactor, server, farm))
        if farm is not None:
            assert outboxes.meet(farm)
        yield outboxes, outbox


def leave_result(folder: Path, server: str, farm: str = "", run: int = 5, size: int = 4) -> None:
    """Have a result for a farm, which it did not get; "" is one that does not say which it is."""
    with working_for(folder, server, farm, SMALL) as (_, outbox):
        outbox.begin(Record(run, 1000 + run, "node", server), GB)
        outbox.append(run, lines(size) if size > 4 else b"kept")
        outbox.end(run, 3, False, 1.0, 2.0)


def runs(outbox: Outbox) -> list[int]:
    return [record.run for record in outbox.records()]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"lock"}


def copies(folder: Path) -> Path:
    """What is left of a folder when the process is killed now."""
    return Path(shutil.copytree(folder, folder.with_name(f"{folder.name}-killed")))


def test_a_farm_gets_its_results_at_another_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    leave_result(tmp_path, OLD, SUN)
    with working_for(tmp_path, NEW, SUN) as (outboxes, outbox):
        assert runs(outbox) == [5] and outbox.read(5, 0, 10) == b"kept"
        assert outboxes.others() == []
    assert caplog.messages == [f"{NEW} is the server that was called {OLD}"]
    assert names(tmp_path) == {SUN}


def test_another_farm_at_the_same_address_gets_none_of_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave_result(tmp_path, OLD, SUN)
    for farm in (MOON, ""):
        with working_for(tmp_path, OLD, farm) as (outboxes, outbox):
            assert runs(outbox) == []
            assert [runs(other) for other in outboxes.others()] == [[5]]
            outboxes.leave_others()
        assert f"1 results for another server, {OLD}, stay in the outbox" in caplog.text
        caplog.clear()
    with working_for(tmp_path, OLD, SUN) as (_, outbox):
        assert runs(outbox) == [5]


def test_who_is_not_there_is_taken_for_the_farm_that_was_there_last(tmp_path: Path) -> None:
    leave_result(tmp_path, OLD, SUN)
    with working_for(tmp_path, OLD, None) as (outboxes, outbox):
        assert (outboxes.identity, runs(outbox)) == (SUN, [5])
        assert not outboxes.meet(MOON)
        assert not outboxes.meet("")
        assert outboxes.meet(SUN)
    with working_for(tmp_path, NEW, None) as (outboxes, outbox):
        assert (outboxes.identity, runs(outbox)) == ("", [])
        assert not outboxes.meet(SUN)  # it has an outbox already
        assert outboxes.meet(MOON) and not outboxes.meet(SUN)


def age_notes(folder: Path) -> None:
    """Have every note written ten seconds earlier: file systems count in milliseconds."""
    for note in folder.glob("*/farm"):
        written = note.stat().st_mtime - 10
        os.utime(note, (written, written))


def test_the_last_of_several_farms_at_an_address_is_the_one_that_answered_last(
    tmp_path: Path,
) -> None:
    for farm in (SUN, MOON, SUN, MOON):
        age_notes(tmp_path)
        leave_result(tmp_path, OLD, farm)
        with working_for(tmp_path, OLD, None) as (outboxes, _):
            assert outboxes.identity == farm


def test_an_outbox_from_before_farms_had_names_is_taken_over(tmp_path: Path) -> None:
    leave_result(tmp_path, OLD)
    with working_for(tmp_path, OLD, SUN) as (_, outbox):
        assert runs(outbox) == [5]
    assert names(tmp_path) == {SUN}
    with working_for(tmp_path, OLD, MOON) as (_, outbox):
        assert runs(outbox) == []


def test_one_from_before_under_another_name_of_the_computer_is_taken_over(tmp_path: Path) -> None:
    leave_result(tmp_path, "http://localhost:7")
    with working_for(tmp_path, OLD, SUN) as (_, outbox):
        assert runs(outbox) == [5]


def test_what_a_nameless_server_left_where_a_farm_was_is_not_that_farms(tmp_path: Path) -> None:
    leave_result(tmp_path, OLD, SUN)
    leave_result(tmp_path, OLD, run=6)
    with working_for(tmp_path, OLD, SUN) as (outboxes, outbox):
        assert runs(outbox) == [5]
        assert [runs(other) for other in outboxes.others()] == [[6]]


def test_a_kill_right_after_it_was_taken_over_loses_nothing(tmp_path: Path) -> None:
    leave_result(tmp_path / "node", OLD)
    with closing(Outboxes(tmp_path / "node", GB, 1)) as outboxes:
        in_reactor(lambda reactor: outboxes.open(reactor, OLD, SUN))
        killed = copies(tmp_path / "node")
    with working_for(killed, OLD, MOON) as (outboxes, outbox):
        assert runs(outbox) == []
        assert [runs(other) for other in outboxes.others()] == [[5]]
    with working_for(killed, NEW, SUN) as (_, outbox):
        assert runs(outbox) == [5]


def test_a_farm_that_becomes_known_while_its_outbox_is_in_use_is_noted_at_once(
    tmp_path: Path,
) -> None:
    with working_for(tmp_path / "node", OLD, "") as (outboxes, outbox):
        outbox.begin(Record(5, 1005, "node", OLD), GB)
        outbox.end(5, 3, False, 1.0, 2.0)
        outbox.flush()
        assert outboxes.meet(SUN)
        assert outboxes.identity == SUN
        killed = copies(tmp_path / "node")
    with working_for(killed, OLD, MOON) as (_, outbox):
        assert runs(outbox) == []
    assert names(killed) == {SUN, MOON}
    with working_for(killed, OLD, SUN) as (_, outbox):
        assert runs(outbox) == [5]


# --- two outboxes of one farm ----------------------------------------------------------------


def two_outboxes(folder: Path) -> None:
    """Have results for a farm, one from before it told its name, with output in files too."""
    leave_result(folder, OLD, run=5)
    leave_result(folder, OLD, run=6, size=40_000)
    leave_result(folder, NEW, SUN, run=7, size=40_000)


def assert_all_there(outbox: Outbox) -> None:
    assert runs(outbox) == [5, 6, 7]
    assert outbox.read(5, 0, 10) == b"kept"
    assert outbox.read(6, 0, GB) == outbox.read(7, 0, GB) == lines(40_000)
    assert {record.code for record in outbox.records()} == {3}


def test_two_outboxes_of_one_farm_become_one(tmp_path: Path) -> None:
    two_outboxes(tmp_path)
    with working_for(tmp_path, OLD, SUN) as (outboxes, outbox):
        assert_all_there(outbox)
        assert outboxes.others() == []
    assert names(tmp_path) == {SUN}


class Killed(Exception):
    """Nothing of what follows is done."""


def die(*_: object) -> None:
    raise Killed


def die_in_the_middle(place: Path, **_: object) -> None:
    if place.exists():
        next(place.glob("farm")).unlink()
        raise Killed


@pytest.mark.parametrize(
    ("step", "end"),
    [
        ("Journal.start", die),  # the files are there
        ("Journal.close", die),  # all is there
        ("shutil.rmtree", die_in_the_middle),
    ],
)
@pytest.mark.parametrize("first", [SUN, MOON, None])
def test_a_kill_while_they_become_one_loses_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    end: Callable[..., None],
    first: str | None,
) -> None:
    """Whoever answers first when the node is started again."""
    two_outboxes(tmp_path)
    with closing(Outboxes(tmp_path, GB, 1)) as outboxes, monkeypatch.context() as patch:
        patch.setattr(f"coalition.worker.outbox.outboxes.{step}", end)
        with pytest.raises(Killed):
            in_reactor(lambda reactor: outboxes.open(reactor, OLD, SUN))
    with working_for(tmp_path, OLD, first) as (outboxes, outbox):
        if first == SUN:
            assert_all_there(outbox)
        assert first != MOON or runs(outbox) == []
        outboxes.others()
    with working_for(tmp_path, OLD, SUN) as (_, outbox):
        assert_all_there(outbox)


def test_a_folder_that_worker_py_may_not_enter_is_no_outbox(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "lost+found").chmod(0)
    # To root nothing is closed, as long as it has its rights.
    change = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]
    read = (
        "from pathlib import Path; from coalition.worker.outbox.label import read_label; "
        "print(read_label(Path('lost+found')))"
    )
    run = subprocess.run(
        [*(change if os.geteuid() == 0 else []), sys.executable, "-c", read],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.stdout, run.stderr) == ("None\n", "")


def die_half_way(path: Path, other: Path) -> None:
    other.write_bytes(path.read_bytes()[:-1])
    raise Killed


def refuse(*_: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def fill(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_they_become_one_on_a_disk_without_hard_links_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_outboxes(tmp_path)
    monkeypatch.setattr("os.link", refuse)
    with working_for(tmp_path, OLD, SUN) as (outboxes, outbox):
        assert_all_there(outbox)
        assert outboxes.others() == []
    assert names(tmp_path) == {SUN}


def test_a_kill_while_a_file_is_copied_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_outboxes(tmp_path)
    monkeypatch.setattr("os.link", refuse)
    with closing(Outboxes(tmp_path, GB, 1)) as outboxes, monkeypatch.context() as patch:
        patch.setattr("shutil.copyfile", die_half_way)
        with pytest.raises(Killed):
            in_reactor(lambda reactor: outboxes.open(reactor, OLD, SUN))
    with working_for(tmp_path, OLD, SUN) as (_, outbox):
        assert_all_there(outbox)
    assert not (tmp_path / SUN / "copied").exists()


def test_without_room_for_a_copy_they_stay_two_and_the_farms_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    two_outboxes(tmp_path)
    monkeypatch.setattr("os.link", refuse)
    with monkeypatch.context() as patch:
        patch.setattr("coalition.worker.outbox.disk.sync_file", fill)
        with working_for(tmp_path, OLD, SUN) as (outboxes, outbox):
            assert runs(outbox) == [7]
            assert [runs(other) for other in outboxes.others()] == [[5, 6]]
            outboxes.leave_others()
    alone, kept = caplog.messages
    assert alone.endswith("is left alone: [Errno 28] No space left on device")
    assert kept.startswith(f"2 results for this farm stay in {tmp_path}")
    assert not (tmp_path / SUN / "copied").exists()
    with working_for(tmp_path, OLD, SUN) as (_, outbox):
        assert_all_there(outbox)


def test_one_that_another_version_has_written_is_left_where_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    two_outboxes(tmp_path)
    journal = next(tmp_path.glob("http*/journal.*"))
    journal.write_bytes(b"coalition outbox 2\nwhatever")
    with working_for(tmp_path, OLD, SUN) as (_, outbox):
        assert runs(outbox) == [7]
    assert f"the outbox {journal.parent} is left alone: {journal} was written by" in caplog.text
    assert journal.exists()


# --- trouble ---------------------------------------------------------------------------------


def test_a_folder_that_takes_no_note_is_told_once_and_used_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / SUN / "farm.new").mkdir(parents=True)
    with working_for(tmp_path, OLD, SUN) as (outboxes, outbox):
        outbox.begin(Record(5, 1005, "node", OLD), GB)
        assert outboxes.meet(SUN)
        assert not outboxes.meet(MOON)
    with working_for(tmp_path, OLD, MOON) as (outboxes, outbox):
        assert runs(outbox) == []
        assert [runs(other) for other in outboxes.others()] == [[5]]
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path / SUN} is for farm {SUN}, which cannot be noted: ")


def test_a_note_that_could_not_be_written_is_when_the_farm_answers_again(tmp_path: Path) -> None:
    obstacle = tmp_path / SUN / "farm.new"
    obstacle.mkdir(parents=True)
    with working_for(tmp_path, OLD, SUN) as (outboxes, _):
        obstacle.rmdir()
        assert outboxes.meet(SUN)
    with working_for(tmp_path, OLD, None) as (outboxes, _):
        assert outboxes.identity == SUN


def test_a_farm_that_becomes_known_is_not_while_that_cannot_be_noted(tmp_path: Path) -> None:
    with working_for(tmp_path / "node", OLD, "") as (outboxes, _):
        obstacle = next((tmp_path / "node").glob("http*")) / "farm.new"
        obstacle.mkdir()
        for _ in range(2):
            with pytest.raises(OSError, match=r"farm\.new"):
                outboxes.meet(SUN)
            assert outboxes.identity == ""
        obstacle.rmdir()
        assert outboxes.meet(SUN) and outboxes.identity == SUN
        killed = copies(tmp_path / "node")
    with working_for(killed, NEW, SUN):
        assert names(killed) == {SUN}


def test_a_folder_that_cannot_be_renamed_ends_the_node_with_the_reason(tmp_path: Path) -> None:
    leave_result(tmp_path, OLD)
    (tmp_path / SUN).write_text("in the way")
    with (
        closing(Outboxes(tmp_path, GB, 1)) as outboxes,
        pytest.raises(OSError, match=SUN),
    ):
        in_reactor(lambda reactor: outboxes.open(reactor, OLD, SUN))
    (tmp_path / SUN).unlink()
    with working_for(tmp_path, OLD, SUN) as (_, outbox):
        assert runs(outbox) == [5]


@pytest.mark.parametrize("text", ["", "{}", '{"farm": "../other", "server": "x"}'])
def test_a_note_that_says_nothing_sends_nothing_to_anybody(tmp_path: Path, text: str) -> None:
    leave_result(tmp_path, OLD, SUN)
    note = tmp_path / SUN / "farm"
    note.write_text(text)
    with (
        closing(Outboxes(tmp_path, GB, 1)) as outboxes,
        pytest.raises(OutboxUnreadable, match=str(note)),
    ):
        in_reactor(lambda reactor: outboxes.open(reactor, OLD, MOON))


def test_two_nodes_of_one_farm_keep_their_results_apart(tmp_path: Path) -> None:
    leave_result(tmp_path / "outbox-left", OLD, SUN)
    with working_for(tmp_path / "outbox-right", NEW, SUN) as (outboxes, outbox):
        assert runs(outbox) == [] and outboxes.others() == []
    with working_for(tmp_path / "outbox-left", NEW, SUN) as (_, outbox):
        assert runs(outbox) == [5]
