"""A real farm for the acceptance tests: the programs themselves, on any of the databases."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import requests
from sqlalchemy import make_url

from coalition.cli import programs
from coalition.cli.programs import ROOT, Program


def settings(store_url: str) -> str:
    """Return a coalition.ini for the database of an SQLAlchemy URL."""
    url = make_url(store_url)
    if url.get_backend_name() == "sqlite":
        return f"[server]\ndb_type=sqlite\ndb_sqlite_file={url.database}\n"
    return (
        f"[server]\ndb_type=mysql\ndb_mysql_host={url.host}:{url.port}\n"
        f"db_mysql_user={url.username}\ndb_mysql_base={url.database}\n"
    )


@contextmanager
def shown_on_failure(folder: Path) -> Iterator[None]:
    """Print what the programs of a folder have said when the block fails."""
    try:
        yield
    except BaseException:
        for path in sorted([*folder.glob("*.out"), *folder.glob("*.log")]):
            print(f"--- {path.name} of {folder.name}\n{path.read_text('utf-8', 'replace')[-4000:]}")
        raise


@contextmanager
def running_server(datadir: Path, store_url: str, port: int, more: str = "") -> Iterator[Program]:
    """Run server.py on a database until the block is left; it answers when the block begins.

    `more` are lines for its settings.
    """
    datadir.mkdir(parents=True, exist_ok=True)
    (datadir / "coalition.ini").write_text(settings(store_url) + more, "utf-8")
    with shown_on_failure(datadir), programs.server(datadir, port) as program:
        yield program


@contextmanager
def running_node(
    folder: Path, url: str, name: str, workers: int = 1, more: str = ""
) -> Iterator[Program]:
    """Run worker.py in a folder of its own until the block is left.

    Without `url` it looks for its server. `more` are lines for its settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ini = folder / "coalition.ini"
    ini.write_text(f"[worker]\nsleep=0.5\n{more}", "utf-8")
    arguments = ["--config", str(ini), "-n", name, "-w", str(workers), *([url] if url else [])]
    with (
        shown_on_failure(folder),
        programs.running("worker.py", arguments, folder, name) as program,
    ):
        yield program


def wait(url: str, job: str, seconds: float) -> int:
    """Return how `control.py wait` ended; fails when that takes longer."""
    command = [sys.executable, str(ROOT / "control.py"), url, "wait", job]
    return subprocess.run(command, check=False, timeout=seconds).returncode


def eventually(is_so: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait until something is so; fails when that takes longer."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def submit(url: str, command: str, **more: Any) -> int:
    """Submit a job; return its number."""
    answer = requests.put(f"{url}/api/jobs", json={"command": command, **more}, timeout=30)
    answer.raise_for_status()
    job: int = answer.json()
    return job


def state(url: str, job: int) -> str:
    """Return the state of a job."""
    return str(get(url, f"jobs/{job}")["state"])


def run_states(url: str, job: int) -> list[str]:
    """Return the states of a job's runs, the oldest first."""
    return [event["state"] for event in get(url, f"events?job={job}")]


def worker_states(url: str) -> dict[str, str]:
    """Return the states of all workers by their names."""
    return {worker["name"]: worker["state"] for worker in get(url, "workers")}


def marked(folder: Path) -> dict[str, str]:
    """Return the environment of a job by which `processes` finds all that it starts."""
    return {"COALITION_TEST": str(folder)}


def processes(folder: Path) -> list[psutil.Process]:
    """Return the living processes of jobs that have the mark of a folder."""
    mark = marked(folder).items()
    return [
        process
        for process in psutil.process_iter(["environ", "status"])
        if mark <= (process.info["environ"] or {}).items()
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def get(url: str, path: str) -> Any:
    """Return what a GET of the REST API answers."""
    answer = requests.get(f"{url}/api/{path}", timeout=30)
    answer.raise_for_status()
    return answer.json()
