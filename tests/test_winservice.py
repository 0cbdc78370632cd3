"""server.py as a service of Windows, whose part is played by tests/scm.py."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests

from coalition.cli import programs
from coalition.cli.programs import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows plays its own part there")

PATIENCE = 60.0


class Started:
    """server.py as Windows has started it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def reported(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def control(self, name: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()

    def rest(self) -> list[str]:
        """What was reported until the program has ended."""
        return self.process.communicate(timeout=PATIENCE)[0].splitlines()


@contextmanager
def started(system32: Path, *options: object, **environ: str) -> Iterator[Started]:
    system32.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.scm", *map(str, options)],
        cwd=system32,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield Started(process)
        finally:
            process.kill()


def answers(port: int) -> bool:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if programs.answers(f"http://127.0.0.1:{port}/api/jobs"):
            return True
        time.sleep(programs.GLANCE)
    return False


def log(datadir: Path) -> str:
    return (datadir / "server.log").read_text("utf-8")


@pytest.mark.parametrize("control", ["STOP", "SHUTDOWN"])
def test_a_service_keeps_what_it_was_told_when_windows_ends_it(
    tmp_path: Path, free_port: int, control: str
) -> None:
    options = ("--service", "--datadir", tmp_path, "--port", free_port)
    with started(tmp_path / "System32", *options) as service:
        assert service.reported() == "RUNNING"
        assert answers(free_port)
        requests.put(f"http://127.0.0.1:{free_port}/api/jobs", json={"title": "Kept"}, timeout=30)
        service.control(control)
        assert service.rest() == ["STOP_PENDING", "STOP_PENDING", "STOPPED 0"]
    assert service.process.returncode == 0
    with closing(sqlite3.connect(tmp_path / "coalition.db")) as database:
        assert database.execute("SELECT title FROM Jobs").fetchall() == [("Kept",)]
    assert log(tmp_path).rstrip().endswith("stopping")


def test_a_service_that_is_stopped_while_it_starts_and_once_more_ends_well(
    tmp_path: Path, free_port: int
) -> None:
    options = ("--service", "--datadir", tmp_path, "--port", free_port)
    with started(tmp_path / "System32", *options) as service:
        assert service.reported() == "RUNNING"
        service.control("STOP SHUTDOWN")
        assert service.rest() == ["STOP_PENDING"] * 3 + ["STOPPED 0"]
    assert "Traceback" not in log(tmp_path)


def test_a_service_that_cannot_serve_has_failed(tmp_path: Path, free_port: int) -> None:
    with socket.create_server(("0.0.0.0", free_port)):
        options = ("--service", "--datadir", tmp_path, "--port", free_port)
        with started(tmp_path / "System32", *options) as service:
            reported = service.rest()
    reason = "the server has ended with code 1; server.log says why"
    assert reported == ["RUNNING", f"event Coalition {reason}", "STOPPED 1066"]
    assert f"port {free_port} cannot be used" in log(tmp_path)


def test_relative_paths_of_a_service_start_where_server_py_stands(
    tmp_path: Path, free_port: int
) -> None:
    (tmp_path / "farm.ini").write_text(f"[server]\nport={free_port}\n", "utf-8")
    farm = Path(os.path.relpath(tmp_path, ROOT))
    options = ("--service", "--datadir", farm / "data", "--config", farm / "farm.ini")
    with started(tmp_path / "System32", *options) as service:
        assert answers(free_port)
        service.control("STOP")
        assert service.rest()[-1] == "STOPPED 0"
    assert (tmp_path / "data" / "coalition.db").exists()
    assert list((tmp_path / "System32").iterdir()) == []


def test_the_setting_service_is_enough(tmp_path: Path, free_port: int) -> None:
    (tmp_path / "coalition.ini").write_text("[server]\nservice=1\n", "utf-8")
    options = ("--datadir", tmp_path, "--port", free_port)
    with started(tmp_path / "System32", *options) as service:
        assert service.reported() == "RUNNING"
        service.control("STOP")
        assert service.rest()[-1] == "STOPPED 0"


def test_the_option_console_goes_before_the_setting_service(tmp_path: Path, free_port: int) -> None:
    (tmp_path / "coalition.ini").write_text("[server]\nservice=1\n", "utf-8")
    options = ("--console", "--datadir", tmp_path, "--port", free_port)
    with started(tmp_path / "System32", *options) as console:
        assert answers(free_port)
        console.process.send_signal(signal.SIGTERM)
        assert console.rest() == []
    assert console.process.returncode == 0


def test_the_databases_upkeep_runs_in_the_console(tmp_path: Path) -> None:
    (tmp_path / "coalition.ini").write_text("[server]\nservice=1\n", "utf-8")
    with started(tmp_path / "System32", "--init", "--datadir", tmp_path) as upkeep:
        assert upkeep.rest() == ["The database is set up."]
    assert upkeep.process.returncode == 0


def test_a_wrong_setting_of_a_service_stands_in_the_event_log(tmp_path: Path) -> None:
    (tmp_path / "coalition.ini").write_text("[server]\nport=many\n", "utf-8")
    with started(tmp_path / "System32", "--service", "--datadir", tmp_path) as service:
        (event,) = service.rest()
    assert event.startswith("event Coalition server.py: ")
    assert event.endswith("coalition.ini: [server] port: 'many' is not a whole number")
    assert service.process.returncode == 2


def test_a_service_that_somebody_starts_in_a_console_says_what_to_do(tmp_path: Path) -> None:
    options = ("--service", "--datadir", tmp_path)
    with started(tmp_path / "System32", *options, NOBODY="1") as alone:
        reported, said = alone.process.communicate(timeout=PATIENCE)
    reason = "Windows has not started this as a service; in a console, use --console"
    assert (reported, said) == ("", f"server.py: {reason}\n")
    assert alone.process.returncode == 1
    assert not (tmp_path / "coalition.db").exists()


def test_other_systems_pass_the_setting_over_and_say_so_once(
    tmp_path: Path, free_port: int
) -> None:
    (tmp_path / "coalition.ini").write_text("[server]\nservice=1\n", "utf-8")
    with programs.server(tmp_path, free_port) as console:
        assert console.end() == 0
    assert log(tmp_path).count("service is for Windows only") == 1


@pytest.mark.parametrize("option", ["--service", "-s", "--console", "-c"])
def test_other_systems_have_no_options_for_it(tmp_path: Path, option: str) -> None:
    command = [sys.executable, str(ROOT / "server.py"), "--datadir", str(tmp_path), option]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert f"unrecognized arguments: {option}" in run.stderr
