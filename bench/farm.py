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

from bench.figures import Figure, figure

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
    process = subprocess.Popen(command, cwd=ROOT)
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


def run(folder: Path, mysql: bool = False, reached: dict[str, float] | None = None) -> list[Figure]:
    """Measure one database; `reached` are SQLite's figures, of which MariaDB should have 0.6."""
    name = "MariaDB" if mysql else "SQLite"
    mine: dict[str, float] = {}
    figures: list[Figure] = []

    def add(key: str, text: str, rate: float, cpu: float, most: float | None = None) -> None:
        mine[key] = rate
        asked = 0.6 * reached[key] if reached else ASKED[key]
        figures.append(figure(f"{name}: {text}", rate, "jobs/s", least=asked))
        figures.append(figure(f"{name}: {text}: CPU of the server", cpu, "us/job", most=most))

    with server(folder / f"{name}-nodes", mysql) as one:
        one.submit(100_000)
        got = one.load("nodes", 32, 10)
        cpu = got["cpu"] / got["done"] * 1e6
        most = None if mysql else 330
        add("nodes", "32 nodes of 8 workers", got["done"] / got["seconds"], cpu, most)
    with server(folder / f"{name}-old", mysql) as one:
        one.submit(30_000)
        got = one.load("old_workers", 64, 10)
        cpu = got["cpu"] / got["done"] * 1e6
        add("old", "64 workers of version 1", got["done"] / got["seconds"], cpu)
    with server(folder / f"{name}-submit", mysql) as one:
        got = one.load("submitters", 1000, 10)
        cpu = got["cpu"] / got["done"] * 1e6
        add("submit", "1,000 clients, one job a request", got["done"] / got["seconds"], cpu)
    with server(folder / f"{name}-bulk", mysql) as one:
        one.submit(1)
        got = one.load("bulk", 100_000, 0)
        limit = 4 / 0.6 if mysql else 4.0
        figures.append(
            figure(f"{name}: 100,000 jobs in one request", got["seconds"], "s", most=limit)
        )
        note = f"slowest of {got['asked']} requests"
        slowest = got["slowest"] * 1000
        figures.append(figure(f"{name}: others meanwhile", slowest, "ms", most=100, note=note))
    if not mysql:
        figures += _quiet(folder)
    if reached is not None:
        reached.update(mine)
    return figures if mysql else [*figures, *_remember(mine)]


_reached: dict[str, float] = {}


def _remember(mine: dict[str, float]) -> list[Figure]:
    _reached.update(mine)
    return []


def sqlite_and_mariadb(folder: Path) -> list[Figure]:
    """Measure both databases in the same run."""
    return run(folder) + run(folder, True, dict(_reached))


def _quiet(folder: Path) -> list[Figure]:
    with server(folder / "quiet", False) as one:
        got = one.load("quiet_nodes", 1250, 5)  # all come, and are made known
        got = one.load("quiet_nodes", 1250, 20)
        share = got["cpu"] / 20
        name = "10,000 workers (1,250 nodes reporting every 2 s): part of a core"
        return [figure(name, share, "", most=0.5, note=f"{got['reports'] / 20:.0f} reports/s")]
