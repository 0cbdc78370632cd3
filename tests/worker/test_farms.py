"""The real worker.py, whose farm gets another address, or whose address gets another farm."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.web.server import Request

from coalition import wire
from coalition.config import load_worker
from coalition.worker import app
from coalition.worker.app import App
from coalition.worker.node import leaving
from coalition.worker.reactor import sleep
from coalition.worker.runs import Runs
from tests.worker.real import Node, eventually, in_reactor, running_node, running_with
from tests.worker.scripted import ScriptedServer
from tests.worker.test_labels import MOON, SUN, copies, runs, working_for


def leave_result(folder: Path, farm: str) -> int:
    """Have the result of run 5, which its farm did not acknowledge; return the farm's port."""
    with ScriptedServer(farm=farm).running() as server, running_node(folder, server.url) as node:
        server.acknowledge(False)
        server.give(5, "echo first; exit 4")
        server.wait_for_end(5)
        node.process.kill()
        return server.port


def results(folder: Path, farm: str) -> list[int]:
    """The runs in the outbox of a farm, when no node runs."""
    with working_for(folder / "outbox-node", "http://127.0.0.1:9", farm) as (_, outbox):
        return runs(outbox)


def assert_told(server: ScriptedServer, node: Node) -> None:
    assert server.wait_for_end(5) == wire.End(5, 4)
    assert server.logs == {5: b"first\n"}
    eventually(lambda: not node.outbox)


def untold(server: ScriptedServer) -> bool:
    """Say that a server has heard of nothing that is not its own."""
    runs = [slot.run for report in server.reports for slot in report.workers]
    return not server.ends and not server.logs and not any(runs)


def test_results_follow_their_farm_to_its_new_address(tmp_path: Path) -> None:
    leave_result(tmp_path, SUN)
    with ScriptedServer(farm=SUN).running() as moved, running_node(tmp_path, moved.url) as node:
        assert_told(moved, node)
        assert {report.farm for report in moved.reports} == {SUN}
        assert "is the server that was called" in node.log
        assert "another server" not in node.log


def test_another_farm_at_the_old_address_gets_nothing(tmp_path: Path) -> None:
    port = leave_result(tmp_path, SUN)
    for farm in (MOON, ""):
        with ScriptedServer(port, farm).running() as other:
            with running_node(tmp_path, other.url) as node:
                other.wait_for(lambda: other.reports)
                assert f"1 results for another server, {other.url}, stay" in node.log
                assert node.leave() == 0
            assert untold(other)
    with ScriptedServer(port, SUN).running() as back, running_node(tmp_path, back.url) as node:
        assert_told(back, node)


@pytest.mark.parametrize("moved", [False, True])
def test_results_arrive_where_the_farm_was_away_when_the_node_started(
    tmp_path: Path, free_port: int, moved: bool
) -> None:
    port = leave_result(tmp_path, SUN)
    port = free_port if moved else port
    with running_node(tmp_path, f"http://127.0.0.1:{port}") as node:
        eventually(lambda: "the server does not answer" in node.log)
        with ScriptedServer(port, SUN).running() as server:
            assert_told(server, node)
            server.give(6, "echo fine")
            assert server.wait_for_end(6) == wire.End(6)


@pytest.mark.parametrize("farm", [MOON, ""])
def test_another_farm_that_comes_where_the_old_one_was_awaited_gets_nothing(
    tmp_path: Path, farm: str
) -> None:
    port = leave_result(tmp_path, SUN)
    with running_node(tmp_path, f"http://127.0.0.1:{port}") as node:
        eventually(lambda: "the server does not answer" in node.log)
        with ScriptedServer(port, farm).running() as other:
            other.wait_for(lambda: other.reports)
            assert node.leave() == 0
            assert untold(other)
            assert {report.farm for report in other.reports} == {farm}
    assert results(tmp_path, SUN) == [5]


@pytest.mark.parametrize("farm", [MOON, ""])
def test_when_another_farm_takes_the_address_what_runs_is_ended_and_kept_for_the_first(
    tmp_path: Path, farm: str
) -> None:
    with (
        ScriptedServer(farm=SUN).running() as sun,
        running_node(tmp_path, "-w", "2", sun.url) as node,
    ):
        sun.acknowledge(False)
        sun.give(5, "echo first; exit 4", worker="node-1")
        sun.give(6, "echo up; sleep 7201.5", worker="node-2")
        sun.wait_for_end(5)
        sun.wait_for_log(6, b"up")
        sun.go_away()
        with ScriptedServer(sun.port, farm).running() as other:
            other.wait_for(lambda: other.reports)
            assert running_with("sleep 7201.5") == []
            other.give(5, "echo second", worker="node-1")
            assert other.wait_for_end(5) == wire.End(5)
            assert other.logs == {5: b"second\n"}
            assert other.ends.keys() == {5}
            assert other.reports[0].workers[1].last == 0
        assert node.log.count("the server is that of another farm now") == 1
        assert f"2 results for another server, {sun.url}, stay in the outbox" in node.log
        sun.ends.clear()
        sun.acknowledge(True)
        sun.come_back()
        assert sun.wait_for_end(5) == wire.End(5, 4)
        assert sun.wait_for_end(6).again
        assert sun.logs == {5: b"first\n", 6: b"up\n"}
        eventually(lambda: not node.outbox)
        assert node.leave() == 0
        assert " ERROR " not in node.log


def test_a_farm_that_changes_between_two_reports_refuses_the_second(tmp_path: Path) -> None:
    """The connection is a proxy's: the node cannot see that there is another server behind it."""
    with ScriptedServer(farm=SUN).running() as server, running_node(tmp_path, server.url) as node:
        server.give(5, "echo up; sleep 7202.5")
        server.wait_for_log(5, b"up")
        seen = len(server.reports)
        server.become(MOON)
        server.wait_for(lambda: any(report.farm == MOON for report in server.reports[seen:]))
        assert running_with("sleep 7202.5") == []
        after = [report for report in server.reports[seen:] if report.farm == MOON]
        assert {slot.run for report in after for slot in report.workers} == {0}
        assert server.ends == {}
        assert node.leave() == 0
    assert results(tmp_path, SUN) == [5]


def mute(server: ScriptedServer) -> None:
    """Let a proxy stand before a server that lets only reports through."""

    def render_GET(request: Request) -> bytes:
        request.setResponseCode(404)
        return b"not here"

    server.render_GET = render_GET  # type: ignore[method-assign]


def test_behind_a_proxy_that_hides_who_answers_the_reports_tell_it(tmp_path: Path) -> None:
    server = ScriptedServer(farm=SUN)
    mute(server)
    with server.running(), running_node(tmp_path, server.url) as node:
        server.acknowledge(False)
        server.give(5, "echo first; exit 4")
        server.wait_for_end(5)
        server.wait_for(lambda: server.reports[-1].farm == SUN)
        seen = len(server.reports)
        server.become(MOON)
        server.wait_for(lambda: any(report.farm == MOON for report in server.reports[seen:]))
        assert [len(report.ends) for report in server.reports[seen:] if report.farm != SUN] == [0]
        assert node.leave() == 0
    assert results(tmp_path, SUN) == [5]


def test_a_page_that_stands_in_for_the_server_ends_no_run(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def page(request: Request) -> bytes:
        asked.append(request.method)
        return b'{"status": "maintenance"}'

    with ScriptedServer(farm=SUN).running() as server, running_node(tmp_path, server.url) as node:
        server.give(5, "echo up; while [ ! -e go ]; do sleep 0.05; done", dir=str(tmp_path))
        server.wait_for_log(5, b"up")
        server.go_away()
        instead = ScriptedServer(server.port)
        instead.render_GET = instead.render_POST = page  # type: ignore[method-assign]
        with instead.running():
            eventually(lambda: asked.count(b"POST") > 1)
        server.come_back()
        (tmp_path / "go").touch()
        assert server.wait_for_end(5) == wire.End(5)
        assert "does not say that it is of a Coalition server" in node.log
        assert "another farm" not in node.log


def test_a_server_that_learns_to_tell_its_farm_costs_no_run(tmp_path: Path) -> None:
    with ScriptedServer().running() as old, running_node(tmp_path, old.url) as node:
        old.give(5, "echo up; while [ ! -e go ]; do sleep 0.05; done; exit 3", dir=str(tmp_path))
        old.wait_for_log(5, b"up")
        old.go_away()
        with ScriptedServer(old.port, SUN).running() as new:
            new.acknowledge(False)
            new.wait_for(lambda: new.reports)
            assert new.reports[-1].workers[0].run == 5
            (tmp_path / "go").touch()
            assert new.wait_for_end(5) == wire.End(5, 3)
            node.process.kill()
            node.process.wait()
    with (
        ScriptedServer(old.port, MOON).running() as other,
        running_node(tmp_path, other.url) as node,
    ):
        other.wait_for(lambda: other.reports)
        assert node.leave() == 0
        assert untold(other)
    assert results(tmp_path, SUN) == [5]


def test_a_node_that_leaves_finishes_what_runs_although_another_farm_is_there(
    tmp_path: Path,
) -> None:
    with ScriptedServer(farm=SUN).running() as sun, running_node(tmp_path, sun.url) as node:
        sun.give(5, "echo up; while [ ! -e go ]; do sleep 0.05; done; exit 3", dir=str(tmp_path))
        sun.wait_for_log(5, b"up")
        node.interrupt()
        sun.wait_for_report(lambda report: report.leaving)
        sun.go_away()
        with ScriptedServer(sun.port, MOON).running() as moon:
            eventually(lambda: "is that of another farm now" in node.log)
            (tmp_path / "go").touch()
            eventually(lambda: "run 5 ends with 3" in node.log)
            assert moon.reports == []
        sun.come_back()
        assert sun.wait_for_end(5) == wire.End(5, 3)
        assert node.exit_code() == 0


def test_a_node_that_pauses_does_so_for_the_next_farm_too(tmp_path: Path) -> None:
    with ScriptedServer(farm=SUN).running() as sun, running_node(tmp_path, sun.url) as node:
        sun.wait_for(lambda: sun.reports)
        node.process.send_signal(signal.SIGUSR1)
        sun.wait_for_report(lambda report: report.workers[0].resting)
        sun.go_away()
        with ScriptedServer(sun.port, MOON).running() as moon:
            moon.wait_for(lambda: moon.reports)
            assert moon.reports[0].workers[0].resting
            assert node.leave() == 0


def test_a_request_that_the_first_farm_still_holds_is_given_up(tmp_path: Path) -> None:
    with ScriptedServer(farm=SUN).running() as sun, running_node(tmp_path, sun.url) as node:
        sun.give(5, "while [ ! -e go ]; do sleep 0.05; done", dir=str(tmp_path))
        sun.wait_for(lambda: sun.holds and sun.reports[-1].workers[0].run == 5)
        sun.go_away(hang_up=False)
        with ScriptedServer(sun.port, MOON).running() as moon:
            assert sun.holds
            (tmp_path / "go").touch()
            moon.wait_for(lambda: moon.reports)
            sun.wait_for(lambda: not sun.holds)
            assert untold(moon)
            assert node.leave() == 0
        assert " ERROR " not in node.log and "does not answer" not in node.log
    assert results(tmp_path, SUN) == [5]


# --- the same in this process ----------------------------------------------------------------


def node_in(folder: Path, url: str, reactor: Any) -> App:
    config = load_worker({"server_url": url, "name": "node"}, None, folder, {})
    environ = dict(os.environ)
    return App(config, reactor, port=0, random=Random(1), environ=environ, version="5")


def in_life(folder: Path, url: str, talk: Callable[[App, Any], None]) -> None:
    """Run a node in this process until it ends; `talk(node, reactor)` goes on in a thread."""

    async def work(reactor: Any) -> None:
        node = node_in(folder, url, reactor)
        reactor.callInThread(talk, node, reactor)
        await node.start()

    in_reactor(work)


def test_a_node_works_for_the_next_farm_once_nothing_runs_for_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for as long as a node that leaves tries to deliver."""
    monkeypatch.setattr(leaving, "ABORT_TIME", 1000.0)
    kept: list[Path] = []

    async def close(runs: Runs) -> None:
        kept.append(copies(tmp_path / "outbox-node"))
        await closing(runs)

    closing = Runs.close
    monkeypatch.setattr(Runs, "close", lambda runs: close(runs) if not kept else closing(runs))
    with ScriptedServer(farm=SUN).running() as server:

        def talk(node: App, reactor: Any) -> None:
            server.give(5, "echo up; sleep 7203.5")
            server.wait_for_log(5, b"up")
            server.become(MOON)
            server.wait_for(lambda: server.reports[-1].farm == MOON)
            reactor.callFromThread(node.stop)

        in_life(tmp_path, server.url, talk)
        assert server.ends == {}
    assert running_with("sleep 7203.5") == []
    with working_for(kept[0], server.url, SUN) as (_, outbox):
        assert [(record.run, record.again) for record in outbox.records()] == [(5, True)]


@pytest.fixture
def too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a node hears before it begins is not so any more when it does."""

    async def late(*_: object) -> str:
        return SUN

    monkeypatch.setattr(app, "_farm_at", late)


@pytest.mark.usefixtures("too_late")
def test_who_comes_before_the_first_report_gets_nothing_that_is_not_his(tmp_path: Path) -> None:
    port = leave_result(tmp_path, SUN)
    with ScriptedServer(port).running() as other:

        def talk(node: App, reactor: Any) -> None:
            other.wait_for(lambda: other.reports)
            reactor.callFromThread(node.stop)

        in_life(tmp_path, other.url, talk)
        assert untold(other)
    assert results(tmp_path, SUN) == [5]


@pytest.mark.usefixtures("too_late")
def test_a_node_that_is_stopped_between_two_farms_works_for_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(farm=MOON).running() as server:

        async def work(reactor: Any) -> None:
            node = node_in(tmp_path, server.url, reactor)

            async def close(runs: Runs) -> None:
                node.stop()
                await closing(runs)

            monkeypatch.setattr(Runs, "close", close)
            await node.start()

        closing = Runs.close
        in_reactor(work)
        assert server.reports == []


def test_a_node_that_is_stopped_while_it_ends_what_was_left_does_that_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tidy: Deferred[None] = Deferred()

    async def recover(*_: object, **__: object) -> None:
        await tidy

    monkeypatch.setattr(Runs, "recover", recover)
    with ScriptedServer(farm=SUN).running() as server:

        async def work(reactor: Any) -> None:
            node = node_in(tmp_path, server.url, reactor)
            over = node.start()
            while not node._tidying:
                await sleep(reactor, 0.01)
            node.stop()
            assert not over.called
            tidy.callback(None)
            await over

        in_reactor(work)
        assert server.reports[-1].leaving
