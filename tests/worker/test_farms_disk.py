"""A node whose disk takes nothing when it meets a farm, or the next one."""

from __future__ import annotations

import errno
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from coalition import wire
from coalition.worker import app
from coalition.worker import runs as worker_runs
from coalition.worker.app import App
from coalition.worker.outbox.outbox import Outbox
from tests.worker.real import eventually, running_node
from tests.worker.scripted import ScriptedServer
from tests.worker.test_farms import in_life, mute, results, untold
from tests.worker.test_labels import MOON, SUN


@pytest.mark.parametrize("hidden", [False, True])
def test_nothing_is_taken_from_a_farm_while_no_note_says_whose_it_would_be(
    tmp_path: Path, free_port: int, hidden: bool
) -> None:
    url, job = f"http://127.0.0.1:{free_port}", f"touch {tmp_path}/begun; exit 4"
    with running_node(tmp_path, url) as node:
        eventually(lambda: "the server does not answer" in node.log)
        obstacle = next(tmp_path.glob("outbox-node/http*")) / "farm.new"
        obstacle.mkdir()
        server = ScriptedServer(free_port, SUN)
        server.give(5, job)
        if hidden:
            mute(server)
        with server.running():
            eventually(lambda: f"nothing is taken from farm {SUN}, as this cannot" in node.log)
            if hidden:
                server.wait_for(lambda: len(server.reports) > 2)
            assert hidden or server.reports == []
            assert not (tmp_path / "begun").exists()
            obstacle.rmdir()
            server.acknowledge(False)
            assert server.wait_for_end(5) == wire.End(5, 4)
            node.process.kill()
    with ScriptedServer(free_port, MOON).running() as moon, running_node(tmp_path, url) as node:
        moon.wait_for(lambda: moon.reports)
        assert node.leave() == 0
        assert untold(moon)
    assert results(tmp_path, SUN) == [5]


def in_the_way(folder: Path, farm: str) -> Path:
    """Have the disk refuse the outbox of a farm, until the file that is returned is deleted."""
    path = folder / "outbox-node" / farm
    path.parent.mkdir(exist_ok=True)
    path.write_text("in the way")
    return path


def test_a_node_that_waits_for_room_for_the_next_farm_can_be_stopped(tmp_path: Path) -> None:
    in_the_way(tmp_path, MOON)
    with ScriptedServer(farm=SUN).running() as sun, running_node(tmp_path, sun.url) as node:
        sun.wait_for(lambda: sun.reports)
        sun.become(MOON)
        eventually(lambda: "there is no outbox for the farm that is at" in node.log)
        assert node.leave() == 0
    assert (tmp_path / "printed").read_text() == ""


def test_a_node_waits_until_there_is_room_for_the_next_farm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(app, "OPEN_AGAIN", 0.01)
    obstacle = in_the_way(tmp_path, MOON)
    with ScriptedServer(farm=SUN).running() as server:

        def talk(node: App, reactor: Any) -> None:
            server.wait_for(lambda: server.reports)
            server.become(MOON)
            eventually(lambda: "there is no outbox for the farm" in caplog.text)
            obstacle.unlink()
            server.wait_for(lambda: server.reports[-1].farm == MOON)
            reactor.callFromThread(node.stop)

        in_life(tmp_path, server.url, talk)
    assert caplog.text.count("there is no outbox for the farm") == 1


def test_results_that_the_disk_does_not_take_hold_up_the_next_farm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_runs, "SAVE_AGAIN", 0.01)
    full, sync = Event(), Outbox.sync
    tries: list[bool] = []

    def try_to_sync(outbox: Outbox) -> None:
        tries.append(full.is_set())
        if full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(outbox)

    monkeypatch.setattr(Outbox, "sync", try_to_sync)
    with ScriptedServer(farm=SUN).running() as server:

        def talk(node: App, reactor: Any) -> None:
            server.wait_for(lambda: server.reports)
            full.set()
            server.acknowledge(False)
            server.give(5, "exit 4")
            server.wait_for_end(5)
            server.become(MOON)
            seen = len(tries)
            eventually(lambda: len(tries) > seen + 20)
            assert "begins anew" not in caplog.text
            full.clear()
            server.wait_for(lambda: server.reports[-1].farm == MOON)
            reactor.callFromThread(node.stop)

        in_life(tmp_path, server.url, talk)
    assert results(tmp_path, SUN) == [5]
    assert caplog.text.count("the ends of runs are not in the outbox") == 1
