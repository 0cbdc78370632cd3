"""What a worker.py without rights may run as other users, though it cannot signal that."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from coalition.worker.command.command import Way
from coalition.worker.process.cgroup import Cgroups
from tests.worker.commands import needs_cgroups, needs_root
from tests.worker.real import eventually
from tests.worker.scripted import ScriptedServer
from tests.worker.unprivileged import OWNER, WORKER, setuid_folder, unprivileged_node

pytestmark = needs_root

WARNING = "WARNING coalition.worker.app: jobs are ended by the runcommand"


@pytest.fixture
def folder() -> Iterator[Path]:
    with setuid_folder() as folder:
        yield folder


@contextmanager
def delegated() -> Iterator[Path]:
    """Give a control group to the user of worker.py, as systemd does by Delegate=yes."""
    groups = Cgroups(f"test of {os.getpid()}")
    folder = Path(groups.make(1))
    uid = pwd.getpwnam(WORKER).pw_uid
    for path in (folder, folder / "cgroup.procs"):
        os.chown(path, uid, -1)
    try:
        yield folder
    finally:
        groups.kill(str(folder))
        eventually(lambda: not (folder / "cgroup.procs").read_text())
        groups.remove()


def test_without_a_control_group_it_warns_and_refuses_exclusive_jobs(folder: Path) -> None:
    with (
        ScriptedServer().running() as server,
        unprivileged_node(folder, server.url, None) as node,
    ):
        server.give(1, "id -un", dir="/", user=OWNER)
        assert server.wait_for_end(1).code == 0
        assert server.logs[1] == b"daemon\n"
        server.give(2, f"touch {folder}/ran", dir="/", user=OWNER, exclusive=True)
        assert server.wait_for_end(2).code == 126
        server.wait_for_log(2, b"ERROR: this node cannot surely end what runs as another user")
        assert node.log.count(WARNING) == 1
        assert "Delegate=yes" in node.log and "runasuser=1" in node.log
        assert not (folder / "ran").exists()


def test_where_all_jobs_are_exclusive_it_does_not_start(folder: Path) -> None:
    with unprivileged_node(folder, "http://127.0.0.1:9", None, "exclusive=1\n") as node:
        assert node.exit_code() != 0
        assert "[worker] exclusive: runcommand changes the user" in node.log


@needs_cgroups
def test_with_a_control_group_it_ends_an_exclusive_job(folder: Path) -> None:
    with (
        delegated() as cgroup,
        ScriptedServer().running() as server,
        unprivileged_node(folder, server.url, cgroup) as node,
    ):
        server.give(1, "echo up; exec sleep 600", dir="/", user=OWNER, exclusive=True)
        server.wait_for_log(1, b"up")
        (job,) = [
            child
            for child in psutil.Process(node.process.pid).children(recursive=True)
            if child.username() == OWNER
        ]
        server.kill(1)
        server.wait_for_report(lambda report: report.workers[0].run == 0)
        assert not job.is_running()
        assert WARNING not in node.log


# --- when that matters ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "needs"),
    [
        ("sudo -u __user__ -E -- sh -c 'cd __dir__; __cmd__'", True),
        ("/usr/bin/sudo -u render -- sh -c 'cd __dir__; __cmd__'", True),
        ("mine --as=__user__ __cmd__", True),
        ("nice -n 10 sh -c 'cd __dir__; __cmd__'", False),
        ("", False),
    ],
)
def test_only_a_change_of_the_user_by_somebody_else_than_root_needs_it(
    template: str, needs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not Way(template).needs_reach
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert Way(template).needs_reach == needs
