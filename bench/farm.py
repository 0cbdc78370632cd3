"""Through HTTP: the real server as a process, its clients in another."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pymysql
import requests

from bench.figures import Figure, Limits, figure

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Server:
    """A server under test."""

    port: int
    process: psutil.Process

    def cpu(self) -> float:
        """Give the CPU seconds the server has used."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def submit(self, count: int) -> None:
        """Queue jobs in groups of 10,000."""
        for start in range(0, count, 10_000):
            children = [
                {"title": f"frame {n}", "command": f"render scene -frame {n}", "user": "somebody"}
                for n in range(start, min(start + 10_000, count))
            ]
            body = json.dumps({"title": f"film {start}", "children": children})
            requests.put(
                f"http://127.0.0.1:{self.port}/api/jobs", data=body, timeout=60
            ).raise_for_status()

    def load(self, what: str, count: int, seconds: float) -> dict[str, Any]:
        """Run clients and give what they counted, with the server's CPU seconds."""
        before = self.cpu()
        command = [
            sys.executable,
            "-m",
            "bench.load",
            what,
            str(self.port),
            str(count),
            str(seconds),
        ]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if result.returncode:
            raise RuntimeError(result.stderr)
        counted: dict[str, Any] = json.loads(result.stdout)
        return {**counted, "cpu": self.cpu() - before}


@contextmanager
def server(folder: Path, mysql: bool) -> Iterator[Server]:
    """Run server.py on an empty database."""
    folder.mkdir(parents=True)
    base = f"coalition_bench_{uuid.uuid4().hex[:8]}"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ini = "[server]\n"
    if mysql:
        with pymysql.connect(host="127.0.0.1", user="root") as connection:
            connection.cursor().execute(f"CREATE DATABASE {base}")
        ini += f"db_type=mysql\ndb_mysql_user=root\ndb_mysql_base={base}\n"
    (folder / "coalition.ini").write_text(ini)
    command = [sys.executable, "server.py", "--datadir", str(folder), "-p", str(port)]
    # Like a service: some systems share out the processors by session.
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        _await(port, process)
        yield Server(port, psutil.Process(process.pid))
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait()
        if mysql:
            with pymysql.connect(host="127.0.0.1", user="root") as connection:
                connection.cursor().execute(f"DROP DATABASE {base}")


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            requests.get(f"http://127.0.0.1:{port}/api/workers", timeout=5)
            return
        except requests.ConnectionError:
            time.sleep(0.05)
    raise RuntimeError("the server did not start")


ASKED = {"nodes": 3000.0, "old": 1200.0, "submit": 2500.0}
"""Jobs per second that SQLite should reach; MariaDB should reach SHARE of what SQLite did."""

SHARE = 0.6

LOADS = {
    "nodes": ("32 nodes of 8 workers", "nodes", 32, 10.0, 120_000),
    "old": ("64 workers of version 1", "old_workers", 64, 10.0, 30_000),
    "submit": ("1,000 clients submit a job each", "submitters", 1000, 1.0, 0),
}
"""What is measured: its name, the clients, how many, for how long, jobs queued before."""


def sqlite(folder: Path, limits: Limits) -> list[Figure]:
    """Measure on SQLite alone."""
    figures, _ = _loads(folder, "SQLite", ASKED, limits)
    return [*figures, *_bulk(folder, "SQLite", 4.0), *_quiet(folder)]


def both(folder: Path, limits: Limits) -> list[Figure]:
    """Measure on SQLite, then on MariaDB against what SQLite reached."""
    figures, reached = _loads(folder, "SQLite", ASKED, limits)
    figures += [*_bulk(folder, "SQLite", 4.0), *_quiet(folder)]
    asked = {key: SHARE * rate for key, rate in reached.items()}
    return (
        figures
        + _loads(folder, "MariaDB", asked, limits)[0]
        + _bulk(folder, "MariaDB", 4.0 / SHARE)
    )


def _loads(
    folder: Path, database: str, asked: dict[str, float], limits: Limits
) -> tuple[list[Figure], dict[str, float]]:
    """Measure the rates of LOADS; give figures, and the rates by key."""
    figures: list[Figure] = []
    reached: dict[str, float] = {}
    for key, (text, clients, count, seconds, queued) in LOADS.items():
        with server(folder / f"{database}-{key}", database == "MariaDB") as one:
            one.submit(queued)
            got = one.load(clients, count, seconds)
        rate = reached[key] = got["done"] / got["seconds"]
        cpu = got["cpu"] / got["done"] * 1e6
        most = 330 if (database, key) == ("SQLite", "nodes") else None
        note = f"{rate / limits.spawns:.2g} x spawns, {rate / limits.syncs:.2g} x syncs"
        figures.append(figure(f"{database}: {text}", rate, "jobs/s", least=asked[key], note=note))
        figures.append(figure(f"{database}: {text}: CPU of the server", cpu, "us/job", most=most))
    return figures, reached


def _bulk(folder: Path, database: str, most: float) -> list[Figure]:
    with server(folder / f"{database}-bulk", database == "MariaDB") as one:
        one.submit(1)
        got = one.load("bulk", 100_000, 0)
    slowest, note = got["slowest"] * 1000, f"slowest of {got['asked']} requests"
    return [
        figure(f"{database}: 100,000 jobs in one request", got["seconds"], "s", most=most),
        figure(f"{database}: another's request meanwhile", slowest, "ms", most=100, note=note),
    ]


def _quiet(folder: Path) -> list[Figure]:
    with server(folder / "quiet", False) as one:
        one.load("quiet_nodes", 1250, 5)  # all come, and are made known
        got = one.load("quiet_nodes", 1250, 20)
    name = "10,000 workers (1,250 nodes reporting every 2 s): part of a core"
    note = f"{got['reports'] / 20:.0f} reports/s"
    return [figure(name, got["cpu"] / 20, "", most=0.5, note=note)]
