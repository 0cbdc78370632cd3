"""The real worker.py against a small server that speaks protocol 2."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from coalition import wire
from coalition.worker.outbox.outboxes import Outboxes
from tests.worker.outboxes import GB
from tests.worker.real import (
    PATIENCE,
    ROOT,
    descriptors_left,
    eventually,
    file_size_limit,
    running_node,
    running_with,
)
from tests.worker.scripted import ScriptedServer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer().running() as server:
        yield server


def test_a_job_runs_and_its_log_and_exit_code_arrive(
    server: ScriptedServer, tmp_path: Path
) -> None:
    with running_node(tmp_path, server.url) as node:
        server.give(7, "echo out; echo err >&2; exit 3")
        assert server.wait_for_end(7) == wire.End(7, 3)
        assert server.logs[7] == b"out\nerr\n"
        eventually(lambda: not node.outbox)
        assert node.leave() == 0
    assert server.reports[-1].leaving


def test_a_job_knows_its_farm(server: ScriptedServer, tmp_path: Path) -> None:
    with running_node(tmp_path, "-w", "2", server.url):
        names = "SERVER RUN WORKER JOB_ID"
        script = "; ".join(f"echo $COALITION_{name}" for name in names.split())
        server.give(7, script, worker="node-2")
        server.wait_for_end(7)
    assert server.logs[7].decode().split() == [server.url, "7", "node-2", "1007"]


def test_a_node_reports_all_its_workers_and_itself(server: ScriptedServer, tmp_path: Path) -> None:
    with running_node(tmp_path, "-w", "3", "-a", "LINUX,24GB", server.url):
        server.wait_for(lambda: server.reports)
    report = server.reports[0]
    assert report.node == "node"
    assert [slot.name for slot in report.workers] == ["node-1", "node-2", "node-3"]
    assert {slot.affinity for slot in report.workers} == {"LINUX,24GB"}
    assert report.host and report.host.hostname and report.host.cores
    assert report.load and report.load.cpu and report.load.total_memory


def test_the_log_arrives_while_the_job_runs(server: ScriptedServer, tmp_path: Path) -> None:
    with running_node(tmp_path, server.url):
        server.give(1, "echo first; while [ ! -e go ]; do sleep 0.05; done", dir=str(tmp_path))
        server.wait_for_log(1, b"first\n")
        assert 1 not in server.ends
        (tmp_path / "go").touch()
        assert server.wait_for_end(1).code == 0


def test_a_repeated_start_runs_nothing_twice(server: ScriptedServer, tmp_path: Path) -> None:
    with running_node(tmp_path, server.url):
        start = server.give(5, "echo run >> runs", dir=str(tmp_path))
        server.wait_for_end(5)
        server.send(wire.Orders(start=[start, start]))
        server.give(6, "true")
        server.wait_for_end(6)
    assert (tmp_path / "runs").read_text() == "run\n"
    assert server.ends.keys() == {5, 6}


def test_a_server_whose_database_was_replaced_numbers_on(tmp_path: Path) -> None:
    with ExitStack() as node:
        with ScriptedServer().running() as server:
            node.enter_context(running_node(tmp_path, server.url))
            server.give(7, "echo before")
            server.wait_for_end(7)
        with ScriptedServer(server.port).running() as empty:
            slot = empty.wait_for(lambda: empty.reports)[0].workers[0]
            assert (slot.run, slot.last) == (0, 7)
            empty.give(slot.last + 1, "echo after")
            assert empty.wait_for_end(8) == wire.End(8, 0)
            assert empty.logs == {8: b"after\n"}


@pytest.mark.parametrize("count", [0, 1, 6])
def test_a_node_without_descriptors_starts_its_jobs_all_the_same(
    server: ScriptedServer, tmp_path: Path, count: int
) -> None:
    with running_node(tmp_path, "-w", "2", server.url) as node:
        server.wait_for(lambda: server.reports)
        with descriptors_left(count, node.process.pid):
            starts = [wire.Start(f"node-{n}", n, n, f"touch {tmp_path}/{n}") for n in (1, 2)]
            server.send(wire.Orders(start=starts))
            eventually((tmp_path / "1").exists)
            eventually((tmp_path / "2").exists)
        assert [server.wait_for_end(run) for run in (1, 2)] == [wire.End(1), wire.End(2)]
        server.give(3, "echo fine", worker="node-1")
        assert server.wait_for_end(3) == wire.End(3, 0)


def test_a_job_that_runs_ends_well_on_a_node_without_descriptors(
    server: ScriptedServer, tmp_path: Path
) -> None:
    with running_node(tmp_path, server.url) as node:
        script = "echo begun; sleep 7004.5 & while [ ! -e go ]; do sleep 0.05; done; echo over"
        server.give(5, script, dir=str(tmp_path))
        server.wait_for_log(5, b"begun")
        with descriptors_left(0, node.process.pid):
            (tmp_path / "go").touch()
            eventually(lambda: not running_with("sleep 7004.5"))
        assert server.wait_for_end(5) == wire.End(5, 0)
        assert server.logs[5] == b"begun\nover\n"
    assert running_with("sleep 7004.5") == []


def test_a_node_whose_outbox_takes_nothing_works_on(server: ScriptedServer, tmp_path: Path) -> None:
    with running_node(tmp_path, server.url) as node:
        server.wait_for(lambda: server.reports)
        with file_size_limit(0, node.process.pid):
            server.give(5, "echo fine", dir=str(tmp_path))
            assert server.wait_for_end(5) == wire.End(5)
            assert server.logs[5] == b"fine\n"
        server.give(6, "echo fine")
        assert server.wait_for_end(6) == wire.End(6)
        assert "the outbox cannot be written" in node.log


def test_a_killed_job_is_gone_with_all_its_processes(
    server: ScriptedServer, tmp_path: Path
) -> None:
    with running_node(tmp_path, server.url) as node:
        server.give(5, "sleep 7001.5 & setsid sleep 7001.5 & echo up; wait")
        server.wait_for_log(5, b"up")
        assert len(running_with("sleep 7001.5")) >= 2
        server.kill(5)
        server.wait_for_report(lambda report: report.workers[0].run == 0)
        assert running_with("sleep 7001.5") == []
        assert 5 not in server.ends
        assert node.outbox == set()


def test_results_arrive_when_the_server_is_back(server: ScriptedServer, tmp_path: Path) -> None:
    with running_node(tmp_path, server.url) as node:
        server.give(5, "while [ ! -e go ]; do sleep 0.05; done; echo late", dir=str(tmp_path))
        server.wait_for_report(lambda report: report.workers[0].run == 5)
        server.go_away()
        eventually(lambda: "does not answer" in node.log)
        (tmp_path / "go").touch()
        eventually(lambda: 5 in node.outbox)
        server.come_back()
        assert server.wait_for_end(5) == wire.End(5, 0)
        assert server.logs[5] == b"late\n"


def test_results_arrive_after_errors_of_the_server(server: ScriptedServer, tmp_path: Path) -> None:
    with running_node(tmp_path, server.url) as node:
        server.give(5, "while [ ! -e go ]; do sleep 0.05; done; echo late", dir=str(tmp_path))
        server.wait_for_report(lambda report: report.workers[0].run == 5)
        server.answer(503)
        (tmp_path / "go").touch()
        eventually(lambda: "error: 503" in node.log)
        server.answer(200)
        assert server.wait_for_end(5) == wire.End(5, 0)
        assert server.logs[5] == b"late\n"


def test_an_end_is_repeated_until_it_is_acknowledged(
    server: ScriptedServer, tmp_path: Path
) -> None:
    with running_node(tmp_path, server.url) as node:
        server.acknowledge(False)
        server.give(5, "echo once")
        server.wait_for_end(5)
        server.send(wire.Orders())
        server.wait_for(lambda: len(server.ends[5]) == 2)
        assert node.outbox == {5}
        server.send(wire.Orders(ended=[5]))
        eventually(lambda: not node.outbox)
        assert server.logs[5] == b"once\n"


def test_a_result_survives_a_restart_of_the_worker(server: ScriptedServer, tmp_path: Path) -> None:
    server.acknowledge(False)
    with running_node(tmp_path, server.url) as node:
        server.give(5, "echo kept; exit 4")
        server.wait_for_end(5)
        node.process.kill()
    server.ends.clear()
    server.logs.clear()
    server.acknowledge(True)
    with running_node(tmp_path, server.url) as node:
        assert server.wait_for_end(5) == wire.End(5, 4)
        assert server.logs[5] == b"kept\n"
        eventually(lambda: not node.outbox)


def test_the_job_of_a_worker_that_is_killed_ends_with_it_and_is_tried_again(
    server: ScriptedServer, tmp_path: Path
) -> None:
    with running_node(tmp_path, server.url) as node:
        server.give(5, "setsid sleep 7002.5 & printf up; sleep 7002.5")
        server.wait_for_log(5, b"up")
        node.process.kill()
        node.process.wait()
        eventually(lambda: not running_with("sleep 7002.5"))
    with running_node(tmp_path, server.url):
        assert server.wait_for_end(5).again
        assert server.logs[5].startswith(b"up\n* The worker was cut off")
        assert running_with("sleep 7002.5") == []


def test_a_node_in_a_copy_of_another_ones_folder_ends_nothing_of_that(
    server: ScriptedServer, tmp_path: Path
) -> None:
    first, copy = tmp_path / "first", tmp_path / "copy"
    first.mkdir()
    with running_node(first, server.url) as node:
        server.give(5, "echo up; sleep 7005.5")
        server.wait_for_log(5, b"up")
        shutil.copytree(first, copy)
        with running_node(copy, server.url) as second:
            assert server.wait_for_end(5).again
            assert second.leave() == 0
            assert "is a copy" in second.log
        assert len(running_with("sleep 7005.5")) == 2
        assert node.process.poll() is None


def test_the_first_signal_lets_the_job_finish(server: ScriptedServer, tmp_path: Path) -> None:
    with running_node(tmp_path, "-w", "2", server.url) as node:
        script = "echo up; while [ ! -e go ]; do sleep 0.05; done; echo finished"
        server.give(5, script, worker="node-1", dir=str(tmp_path))
        server.wait_for_log(5, b"up")
        node.interrupt()
        server.wait_for_report(lambda report: report.leaving)
        server.give(6, "true", worker="node-2")
        assert server.wait_for_end(6).again
        (tmp_path / "go").touch()
        assert node.exit_code() == 0
    assert server.ends[5][0] == wire.End(5, 0)
    assert server.logs[5] == b"up\nfinished\n"
    assert node.outbox == set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_kills_the_job_and_asks_for_another_try(
    server: ScriptedServer, tmp_path: Path, number: signal.Signals
) -> None:
    with running_node(tmp_path, server.url) as node:
        server.give(5, "echo up; sleep 7003.5")
        server.wait_for_log(5, b"up")
        node.process.send_signal(number)
        server.wait_for_report(lambda report: report.leaving)
        node.process.send_signal(number)
        assert node.exit_code() == 0
    assert server.ends[5][0].again
    assert running_with("sleep 7003.5") == []
    assert node.outbox == set()


def test_an_idle_node_leaves_at_once(server: ScriptedServer, tmp_path: Path) -> None:
    with running_node(tmp_path, server.url) as node:
        server.wait_for(lambda: server.reports)
        node.interrupt()
        assert node.process.wait(3) == 0
    assert server.reports[-1].leaving


def test_an_idle_node_leaves_soon_when_the_server_is_away(free_port: int, tmp_path: Path) -> None:
    with running_node(tmp_path, f"http://127.0.0.1:{free_port}") as node:
        eventually(lambda: "does not answer" in node.log)
        node.interrupt()
        assert node.process.wait(8) == 0


def test_a_worker_of_the_same_name_does_not_start_twice(
    server: ScriptedServer, tmp_path: Path
) -> None:
    with running_node(tmp_path, server.url):
        server.wait_for(lambda: server.reports)
        with running_node(tmp_path, server.url) as second:
            assert second.exit_code() == 1
        assert "another worker.py of this name" in (tmp_path / "printed").read_text()


def test_a_node_that_cannot_begin_ends_also_when_nobody_reads_why(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    (tmp_path / "coalition.ini").write_text("[worker]\nname=node\n")
    command = [sys.executable, str(ROOT / "worker.py"), "--config", str(tmp_path / "coalition.ini")]
    with closing(Outboxes(tmp_path / "outbox-node", GB, 1)):
        process = subprocess.Popen([*command, "http://127.0.0.1:7"], stderr=writer)
        os.close(writer)
        try:
            assert process.wait(PATIENCE) == 1
        finally:
            process.kill()
            process.wait()
    assert "another worker.py of this name" in (tmp_path / "worker.log").read_text()


def test_the_startup_command_is_waited_for(server: ScriptedServer, tmp_path: Path) -> None:
    with running_node(tmp_path, "-u", "echo mounted; touch there", server.url) as node:
        server.wait_for(lambda: server.reports)
        assert (tmp_path / "there").exists()
        assert "startup: mounted" in node.log


def test_a_node_that_is_stopped_ends_its_startup_command(
    server: ScriptedServer, tmp_path: Path
) -> None:
    with running_node(tmp_path, "-u", "sleep 7006.5 & sleep 7006.5", server.url) as node:
        eventually(lambda: len(running_with("sleep 7006.5")) >= 2)
        assert node.leave() == 0
        eventually(lambda: not running_with("sleep 7006.5"))
    assert server.reports == []


@pytest.mark.parametrize("last", [signal.SIGUSR1, signal.SIGUSR2])
def test_the_last_signal_to_a_node_that_still_starts_says_whether_it_takes_jobs(
    server: ScriptedServer, tmp_path: Path, last: signal.Signals
) -> None:
    startup = "touch begun; while [ ! -e go ]; do sleep 0.05; done"
    with running_node(tmp_path, "-u", startup, server.url) as node:
        eventually((tmp_path / "begun").exists)
        node.process.send_signal(signal.SIGUSR1)
        eventually(lambda: "pausing between jobs" in node.log)
        if last == signal.SIGUSR2:
            node.process.send_signal(last)
            eventually(lambda: "taking jobs again" in node.log)
        (tmp_path / "go").touch()
        server.wait_for(lambda: server.reports)
        pausing = last == signal.SIGUSR1
        assert server.reports[0].workers[0].resting == pausing
        node.process.send_signal(signal.SIGUSR2 if pausing else signal.SIGUSR1)
        server.wait_for_report(lambda report: report.workers[0].resting != pausing)
        node.process.send_signal(signal.SIGUSR2)
        server.wait_for(lambda: not server.reports[-1].workers[0].resting)
        server.give(5, "echo fine")
        assert server.wait_for_end(5) == wire.End(5)


def test_nobody_else_enters_the_outbox(server: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "outbox-node").mkdir()
    (tmp_path / "outbox-node").chmod(0o777)
    with running_node(tmp_path, server.url):
        server.wait_for(lambda: server.reports)
        assert stat.S_IMODE((tmp_path / "outbox-node").stat().st_mode) == 0o700


def test_a_flood_arrives_whole(server: ScriptedServer, tmp_path: Path) -> None:
    with running_node(tmp_path, server.url):
        server.give(5, "yes 0123456789abcde | head -c 20000000; printf '\\377\\000end'")
        assert server.wait_for_end(5) == wire.End(5, 0)
    log = bytes(server.logs[5])
    assert len(log) == 20_000_000 + 5
    assert log == b"0123456789abcde\n" * 1_250_000 + b"\xff\x00end"


def test_a_gigabyte_of_output_grows_neither_the_worker_nor_its_outbox_beyond_their_bounds(
    server: ScriptedServer, tmp_path: Path
) -> None:
    with running_node(tmp_path, server.url, ini="maxoutbox=33554432\n") as node:
        script = "while [ ! -e go ]; do sleep 0.05; done; head -c 1000000000 /dev/zero; echo over"
        server.give(5, script, dir=str(tmp_path))
        server.wait_for_report(lambda report: report.workers[0].run == 5)
        server.answer(503)
        before = node.peak_memory
        (tmp_path / "go").touch()
        eventually(lambda: "run 5 ends with 0" in node.log)
        assert node.outbox_size < 40_000_000
        server.answer(200)
        assert server.wait_for_end(5) == wire.End(5)
        head, _, tail = bytes(server.logs[5]).partition(b"bytes of output were left out here\n")
        assert len(head) > 30_000_000 and len(tail) > 1_000_000 and tail.endswith(b"over\n")
        assert node.peak_memory - before < 30_000_000


@pytest.mark.parametrize("arguments", [["-n", "a\udcff"], ["-a", "\udcff"], ["http://f\u00e4:1"]])
def test_what_is_no_text_is_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str]) -> None:
    with running_node(tmp_path, *arguments) as node:
        assert node.exit_code() == 2
    assert (tmp_path / "printed").read_text().startswith("worker.py: [worker] ")


def test_wrong_settings_are_one_line_and_exit_code_2(tmp_path: Path) -> None:
    with running_node(tmp_path, ini="wokers=3\n") as node:
        assert node.exit_code() == 2
    assert "did you mean 'workers'?" in (tmp_path / "printed").read_text()
