"""Times that a node measures are those of one clock, which goes on while the computer sleeps."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil
import pytest

from coalition.worker.process import boottime
from tests.worker.commands import Commands, with_commands
from tests.worker.real import PATIENCE, ROOT

SLEPT = """
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from coalition import wire
from tests.worker.real import eventually, running_node, running_with
from tests.worker.scripted import ScriptedServer

with ScriptedServer().running() as server, TemporaryDirectory() as folder:
    with running_node(Path(folder), server.url) as node:
        server.give(5, "echo up; exit 3", exclusive=True)
        assert server.wait_for_end(5) == wire.End(5, 3)
        server.give(6, f"echo up; sleep {15003 / 2}", exclusive=True)
        server.wait_for_log(6, b"up")
        server.send(wire.Orders(timeout=1.5))
        server.wait_for_report(lambda report: True)
        server.go_away()
        eventually(lambda: not running_with(f"sleep {15003 / 2}"))
        server.come_back()
        assert server.wait_for_end(6).again
print("well")
"""
"""A node whose server goes away, with an exclusive job."""


def test_a_lease_counts_on_a_computer_that_has_slept_for_a_day() -> None:
    asleep = ["unshare", "--time", "--boottime", "86400"]
    if subprocess.run([*asleep, "true"], check=False, capture_output=True).returncode:
        pytest.skip("time namespaces need root")
    run = subprocess.run(
        [*asleep, sys.executable, "-c", SLEPT],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )
    assert run.stdout == "well\n", run.stdout + run.stderr


def test_a_lease_that_is_over_is_not_moved() -> None:
    async def work(commands: Commands) -> None:
        runs = [commands.start("echo up; sleep 7502.5", lease=boottime() + 60)]
        runs.append(commands.start("echo no", lease=boottime() + 60))
        await commands.wrote(runs[0], b"up")
        (keeper,) = commands.keepers()
        over = boottime() + 0.2
        commands.processes.lease(over)
        asleep(keeper, over)
        commands.processes.lease(boottime() + 60)
        keeper.resume()
        exit = await commands.exit(runs[0])
        assert (exit.code, exit.lapsed) == (-signal.SIGTERM, True)
        await commands.event("dropped", runs[1])

    with_commands(work)


def asleep(keeper: psutil.Process, until: float) -> None:
    """Let a keeper stand still as if its computer slept, at least until then."""
    keeper.suspend()
    while boottime() <= until:
        pass
