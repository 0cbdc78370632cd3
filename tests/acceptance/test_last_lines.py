"""A server that is killed as a run ends leaves no log without its last line."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from coalition.cli import programs
from coalition.cli.programs import ROOT
from tests.acceptance.farm import (
    eventually,
    running_node,
    running_server,
    settings,
    shown_on_failure,
    state,
    submit,
)

KILLED = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from coalition.cli.server import main
from coalition.server.joblog import JobLogs

write = JobLogs.on_committed

def on_committed(self, changes):
    if changes.finished_runs:
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, changes)

JobLogs.on_committed = on_committed
sys.exit(main())
"""
"""server.py, which is killed when the end of a run is in the database and not yet in the log."""


@pytest.mark.parametrize(("command", "output"), [("true", []), ("printf hello", ["hello"])])
def test_the_last_line_of_a_log_is_there_after_the_next_start_of_the_server(
    store_url: str, free_port: int, tmp_path: Path, command: str, output: list[str]
) -> None:
    url, folder = f"http://127.0.0.1:{free_port}", tmp_path / "server"
    folder.mkdir()
    (folder / "coalition.ini").write_text(settings(store_url), "utf-8")
    (tmp_path / "killed.py").write_text(KILLED, "utf-8")
    options = ["--datadir", str(folder), "--port", str(free_port)]
    with (
        shown_on_failure(folder),
        programs.running(str(tmp_path / "killed.py"), options, folder, "killed") as program,
        running_node(tmp_path / "node", url, "node") as node,
    ):
        eventually(lambda: programs.answers(f"{url}/health"))
        job = submit(url, command)
        assert program.process.wait(60) == -signal.SIGKILL
        assert " FINISHED at " not in (folder / "logs" / f"{job}.log").read_text()
        log, logs = folder / "logs" / f"{job}.log", []
        for is_last in (False, True):
            with running_server(folder, store_url, free_port):
                logs.append(log.read_text())
                assert state(url, job) == "FINISHED"
                assert not is_last or node.end() == 0

    head, *written, tail = logs[0].splitlines()
    assert (head[:8], written, tail[:20]) == ("* RUN 1 ", output, "* RUN 1 FINISHED at ")
    assert logs[0] == logs[1]
