"""Jobs that write without end: what it costs in memory, and others in time."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import psutil
import requests

from bench.farm import Server, server
from bench.figures import Figure, figure
from bench.node import node

MB = 1e6

ONE = "head -c 1000000000 /dev/zero | tr '\\\\0' x"
"""A job that writes 1 GB as fast as it can."""

PIECE = "head -c 1000000 /dev/zero | tr '\\\\0' x"
PART = f"i=0; while [ $i -lt 50 ]; do {PIECE}; i=$((i+1)); sleep 0.1; done"
"""A job that writes 10 MB/s for five seconds, if it is let."""


def run(folder: Path) -> list[Figure]:
    """Measure one flood of 1 GB, then a hundred of 10 MB/s each."""
    return [
        *_flood(folder / "one", "one job writing 1 GB", [ONE], 2),
        *_flood(folder / "hundred", "100 jobs writing 10 MB/s each", [PART] * 100, 100),
    ]


def _flood(folder: Path, name: str, commands: list[str], workers: int) -> list[Figure]:
    with server(folder, False) as one, node(folder / "node", one.port, workers) as worker:
        api = f"http://127.0.0.1:{one.port}/api"
        _submit(api, ["true"] * workers)  # what is needed once is there before it is measured
        before = _memory([worker, *worker.children()]), _memory([one.process])
        began = time.perf_counter()
        asked = _Asked(one)
        group = _submit(api, commands, wait=False)
        most = [0.0, 0.0]
        while not _is_over(api, group):
            now = _memory([worker, *worker.children()]), _memory([one.process])
            most = [max(old, new) for old, new in zip(most, now, strict=True)]
            time.sleep(0.1)
        seconds = time.perf_counter() - began
        waits = sorted(asked.stop())
        slow = waits[int(len(waits) * 0.99)] * 1000
    grown = [(new - old) / MB for new, old in zip(most, before, strict=True)]
    note = f"{len(waits)} requests in {seconds:.0f} s"
    return [
        figure(f"{name}: growth of the node", grown[0], "MB", most=50),
        figure(f"{name}: growth of the server", grown[1], "MB", most=50),
        figure(f"{name}: another's request meanwhile, p99", slow, "ms", most=200, note=note),
    ]


def _memory(processes: Iterable[psutil.Process]) -> float:
    """Give the bytes of memory that are these processes' alone, the keepers of a node included."""
    total = 0.0
    for process in processes:
        try:
            total += process.memory_full_info().uss
        except psutil.Error:
            continue
    return total


def _submit(api: str, commands: list[str], *, wait: bool = True) -> int:
    children = [{"title": f"{n}", "command": command} for n, command in enumerate(commands)]
    body = json.dumps({"title": "flood", "children": children})
    group: int = requests.put(f"{api}/jobs", data=body, timeout=30).json()["id"]
    while wait and not _is_over(api, group):
        time.sleep(0.05)
    return group


def _is_over(api: str, group: int) -> bool:
    job = requests.get(f"{api}/jobs/{group}", timeout=30).json()
    return bool(job["total_finished"] + job["total_errors"] == job["total"])


class _Asked:
    """Another client, that asks for the jobs again and again."""

    def __init__(self, one: Server) -> None:
        self._url = f"http://127.0.0.1:{one.port}/api/jobs"
        self._waits: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        session = requests.Session()
        while not self._over.wait(0.02):
            began = time.perf_counter()
            session.get(self._url, timeout=30).raise_for_status()
            self._waits.append(time.perf_counter() - began)

    def stop(self) -> list[float]:
        """End, and give the seconds that each request took."""
        self._over.set()
        self._thread.join()
        return self._waits
