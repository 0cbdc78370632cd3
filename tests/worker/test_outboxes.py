"""A node that has worked for several servers, and one that several names lead to."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from coalition import wire
from coalition.worker.command.command import Mark
from coalition.worker.outbox.outbox import Outbox, Record
from coalition.worker.outbox.outboxes import Outboxes, OutboxTaken, is_same
from coalition.worker.process.tree import start_time
from tests.worker.outboxes import GB
from tests.worker.real import eventually, in_reactor, running_node
from tests.worker.scripted import ScriptedServer

OLD, NEW = "http://127.0.0.1:7", "http://127.0.0.1:8"


@contextmanager
def outbox_for(folder: Path, server: str) -> Iterator[tuple[Outboxes, Outbox]]:
    with closing(Outboxes(folder, GB, 1)) as outboxes:
        yield outboxes, in_reactor(lambda reactor: outboxes.open(reactor, server))


def left(stack: ExitStack, mark: Mark) -> subprocess.Popen[bytes]:
    """Have a process with the mark of a run, until the stack is left."""
    environ = {**os.environ, **mark.variables()}
    process = subprocess.Popen(["sleep", "7602.5"], env=environ)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def leave_result(folder: Path, server: str) -> None:
    """Have a result for a server, which it did not get."""
    with outbox_for(folder, server) as (_, outbox):
        outbox.begin(Record(5, 1005, "node", server), GB)
        outbox.append(5, b"kept")
        outbox.end(5, 3, False, 1.0, 2.0)


def test_two_processes_do_not_share_an_outbox(tmp_path: Path) -> None:
    with (
        closing(Outboxes(tmp_path, GB, 1)),
        pytest.raises(OutboxTaken, match="another worker.py of this name"),
    ):
        Outboxes(tmp_path, GB, 1)
    Outboxes(tmp_path, GB, 1).close()


def test_a_result_stays_until_the_node_works_for_its_server_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave_result(tmp_path, OLD)
    with outbox_for(tmp_path, NEW) as (outboxes, outbox):
        assert outbox.records() == []
        assert [other.records()[0].run for other in outboxes.others()] == [5]
        outboxes.leave_others()
        assert f"1 results for another server, {OLD}, stay in the outbox" in caplog.text
        outbox.begin(Record(5, 7, "node", NEW), GB)
        outbox.append(5, b"other")
    with outbox_for(tmp_path, OLD) as (_, outbox):
        assert [(record.job, record.code) for record in outbox.records()] == [(1005, 3)]
        assert outbox.read(5, 0, 10) == b"kept"


def test_what_holds_nothing_for_another_server_is_deleted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "notes").mkdir()
    with outbox_for(tmp_path, OLD):
        pass
    with outbox_for(tmp_path, NEW) as (outboxes, _):
        assert outboxes.others() == []
        outboxes.leave_others()
    assert {path.name for path in tmp_path.iterdir()} == {
        "lock",
        "notes",
        "http%3A%2F%2F127.0.0.1%3A8",
    }
    assert caplog.messages == []


def test_what_another_version_left_for_another_server_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave_result(tmp_path, OLD)
    journal = next(tmp_path.glob("*/journal.*"))
    journal.write_bytes(b"coalition outbox 2\nwhatever")
    with outbox_for(tmp_path, NEW) as (outboxes, _):
        assert outboxes.others() == []
    assert f"the outbox for the server {OLD} is left alone" in caplog.text
    assert journal.exists()


def test_a_server_that_has_another_name_now_gets_what_was_kept_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    leave_result(tmp_path, "http://localhost:19211")
    with outbox_for(tmp_path, "http://127.0.0.1:19211") as (outboxes, outbox):
        assert [record.run for record in outbox.records()] == [5]
        assert outboxes.others() == []
    assert caplog.messages == [
        "http://127.0.0.1:19211 is the server that was called http://localhost:19211"
    ]


@pytest.mark.parametrize(
    ("server", "other", "same"),
    [
        ("http://localhost:19211", "http://127.0.0.1:19211", True),
        ("http://127.0.0.1:19211", "http://127.0.0.1:19212", False),
        ("http://127.0.0.1:19211", "https://127.0.0.1:19211", False),
        ("http://127.0.0.1:19211/a", "http://127.0.0.1:19211/b", False),
        ("http://198.51.100.1:80", "http://198.51.100.1", True),
        ("http://198.51.100.1:19211", "http://198.51.100.2:19211", False),
        ("http://127.0.0.1:19211", "http://198.51.100.2:19211", False),
        ("http://[::1]:19211", "http://127.0.0.1:19211", True),
        (f"http://{'x' * 64}:1", f"http://{'y' * 64}:1", False),  # no computer has such a name
    ],
)
def test_servers_are_told_apart_by_where_they_are(server: str, other: str, same: bool) -> None:
    assert is_same(server, other) == same


def test_nothing_of_one_server_is_told_to_another(tmp_path: Path) -> None:
    with ScriptedServer().running() as first, ScriptedServer().running() as second:
        first.acknowledge(False)
        with running_node(tmp_path, first.url) as node:
            first.give(5, "echo first; exit 4")
            first.wait_for_end(5)
            node.process.kill()
        with running_node(tmp_path, second.url) as node:
            slot = second.wait_for(lambda: second.reports)[0].workers[0]
            assert (slot.run, slot.last) == (0, 0)
            second.give(5, "echo second")
            assert second.wait_for_end(5) == wire.End(5, 0)
            assert f"1 results for another server, {first.url}, stay" in node.log
            assert node.leave() == 0
        assert second.logs == {5: b"second\n"}
        assert all(not report.ends for report in second.reports[:1])
        first.ends.clear()
        first.logs.clear()
        first.acknowledge(True)
        with running_node(tmp_path, first.url) as node:
            assert first.wait_for_end(5) == wire.End(5, 4)
            eventually(lambda: not node.outbox)
            assert node.leave() == 0
        assert (first.logs, len(first.ends[5])) == ({5: b"first\n"}, 1)


def test_what_still_runs_for_another_server_is_ended_and_told_to_that_one(tmp_path: Path) -> None:
    folder = tmp_path / "outbox-node"
    left = subprocess.Popen(["sleep", "7601.5"])
    with outbox_for(folder, OLD) as (_, outbox):
        outbox.begin(Record(5, 1005, "node", OLD), GB)
        outbox.running(5, left.pid, start_time(left.pid))
    try:
        with ScriptedServer().running() as server, running_node(tmp_path, server.url) as node:
            server.wait_for(lambda: server.reports)
            assert left.poll() == -signal.SIGTERM
            assert node.leave() == 0
        assert server.ends == {}
    finally:
        left.kill()
        left.wait()
    with outbox_for(folder, OLD) as (_, outbox):
        (record,) = outbox.records()
        assert (record.code, record.again) == (-signal.SIGTERM, True)
        assert b"The worker was cut off" in outbox.read(5, 0, 100)


def test_what_many_runs_left_is_ended_and_each_result_is_told_once(tmp_path: Path) -> None:
    folder, runs = tmp_path / "outbox-node", range(1, 101)
    with ScriptedServer().running() as server, ExitStack() as stack:
        with outbox_for(folder, server.url) as (_, here):
            for run in runs:
                here.begin(Record(run, 1000 + run, "node", server.url), GB)
            by_mark = [left(stack, Mark(run, "node", server.url)) for run in (7, 8)]
            by_number = left(stack, Mark(0, "", ""))
            here.running(9, by_number.pid, start_time(by_number.pid))
            here.end(10, 3, False, 1.0, 2.0)
        with outbox_for(folder, OLD) as (_, other):
            other.begin(Record(101, 1101, "node", OLD), GB)
            elsewhere = left(stack, Mark(101, "node", OLD))
        with running_node(tmp_path, server.url) as node:
            server.wait_for(lambda: len(server.ends) == len(runs))
            ended = [one.wait() for one in (*by_mark, by_number, elsewhere)]
            assert ended == [-signal.SIGTERM] * 4
            eventually(lambda: not node.outbox - {101})
            assert node.leave() == 0
        again = {run: [wire.End(run, -signal.SIGTERM, True)] for run in runs}
        assert server.ends == again | {10: [wire.End(10, 3)]}
        assert node.log.count("was cut off and is to be done again") == len(runs)
