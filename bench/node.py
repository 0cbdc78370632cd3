"""Real commands through the real server and a real node, beside what the machine itself can do."""

from __future__ import annotations

import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from bench.farm import ROOT, Server, server
from bench.figures import Figure, figure

COMMAND = "echo done"
"""What every job runs: /bin/sh -c with a builtin, and a line of log."""

MOST_TIMES = 1.49
"""850 us, as they were asked for, of the 570 that the bare command took there."""

JOBS = 4000
ROUNDS = 5

SPAWNER = """
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fcntl.h>
extern char **environ;
int main(int argc, char **argv) {
    int count = atoi(argv[1]) / 2;
    dup2(open("/dev/null", O_WRONLY), 1);
    for (int half = 0; half < 2; half++)
        if (fork() == 0) {
            char *words[] = {"sh", "-c", argv[2], 0};
            for (int i = 0; i < count; i++) {
                pid_t pid;
                posix_spawn(&pid, "/bin/sh", 0, 0, words, environ);
                waitpid(pid, 0, 0);
            }
            _exit(0);
        }
    while (wait(0) > 0)
        ;
}
"""
"""The limit: two processes that spawn and reap the same command, one after the other."""


@dataclass
class Pace:
    """What a round reached."""

    rate: float  # jobs per second
    cpu: float  # microseconds of all processors per job

    @classmethod
    def of(cls, count: int, seconds: float, cpu: float) -> Pace:
        return cls(count / seconds, cpu / count * 1e6)


@contextmanager
def node(folder: Path, port: int, workers: int) -> Iterator[psutil.Process]:
    """Run worker.py for a server that runs."""
    folder.mkdir()
    (folder / "coalition.ini").write_text(f"[worker]\nname=node\nworkers={workers}\n")
    command = [sys.executable, "worker.py", "--config", str(folder / "coalition.ini")]
    process = subprocess.Popen(
        [*command, f"http://127.0.0.1:{port}"], cwd=ROOT, start_new_session=True
    )
    try:
        while len(requests.get(f"http://127.0.0.1:{port}/api/workers", timeout=5).json()) < workers:
            time.sleep(0.05)
        yield psutil.Process(process.pid)
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait()


def _spent(top: psutil.Process) -> float:
    """Give the CPU seconds of a process, its children and all that these have waited for."""
    spent = 0.0
    for process in [top, *top.children(recursive=True)]:
        times = process.cpu_times()
        spent += times.user + times.system + times.children_user + times.children_system
    return float(spent)


def _farm_round(one: Server, worker: psutil.Process, count: int) -> Pace:
    api = f"http://127.0.0.1:{one.port}/api"
    children = [{"title": f"{n}", "command": COMMAND} for n in range(count)]
    body = json.dumps({"title": "film", "paused": True, "children": children})
    group = requests.put(f"{api}/jobs", data=body, timeout=60).json()["id"]
    time.sleep(0.5)
    spent = _spent(one.process) + _spent(worker)
    began = time.perf_counter()
    session = requests.Session()
    session.post(f"{api}/startjobs", data=json.dumps([group]), timeout=60)
    while (job := session.get(f"{api}/jobs/{group}", timeout=60).json())["state"] != "FINISHED":
        assert not job["total_errors"]
        # Rarely, for each look costs both sides a millisecond; often towards the end.
        time.sleep(0.2 if job["total_finished"] < count * 0.9 else 0.02)
    seconds = time.perf_counter() - began
    time.sleep(0.2)
    return Pace.of(count, seconds, _spent(one.process) + _spent(worker) - spent)


def _other_round(run: Callable[[], object], count: int) -> Pace:
    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before, began = spent(), time.perf_counter()
    run()
    return Pace.of(count, time.perf_counter() - began, spent() - before)


def _xargs() -> object:
    command = ["xargs", "-P2", "-n1", "sh", "-c", COMMAND]
    text = "x\n" * JOBS
    return subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.DEVNULL)


def _spawner(folder: Path) -> Path | None:
    source, program = folder / "spawner.c", folder / "spawner"
    source.write_text(SPAWNER)
    try:
        subprocess.run(["cc", "-O2", "-o", str(program), str(source)], check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return program


def run(folder: Path) -> list[Figure]:
    """Measure rates in interleaved rounds, then the latency of a start and of a kill."""
    spawner = _spawner(folder)
    limits: list[Pace] = []
    others: list[Pace] = []
    farms: dict[int, list[Pace]] = {2: [], 8: []}
    for number in range(ROUNDS):
        if spawner is not None:
            words = [str(spawner), str(JOBS), COMMAND]
            limits.append(_other_round(lambda words=words: subprocess.run(words, check=True), JOBS))  # type: ignore[misc]
        others.append(_other_round(_xargs, JOBS))
        for workers, paces in farms.items():
            place = folder / f"node-{workers}-{number}"
            with server(place, False) as one, node(place / "node", one.port, workers) as worker:
                _farm_round(one, worker, JOBS // 4)  # all is imported, and the pace is known
                paces.append(_farm_round(one, worker, JOBS))
    figures = [*_limit("posix_spawn from C, both cores", limits), *_limit("xargs -P2", others)]
    for workers, paces in farms.items():
        figures += _farm(
            f"server and a node of {workers} workers", paces, limits or others, workers
        )
    with server(folder / "latency", False) as one, node(folder / "latency/node", one.port, 8):
        return figures + _latency(one, folder)


def _limit(name: str, paces: list[Pace]) -> list[Figure]:
    if not paces:
        return []
    rate = statistics.median(pace.rate for pace in paces)
    cpu = statistics.median(pace.cpu for pace in paces)
    return [figure(f"sh -c '{COMMAND}': {name}", rate, "1/s", note=f"{cpu:.0f} us CPU each")]


def _farm(name: str, paces: list[Pace], limits: list[Pace], workers: int) -> list[Figure]:
    asked = workers == 8
    rate = statistics.median(pace.rate for pace in paces)
    share = statistics.median(p.rate / limit.rate for p, limit in zip(paces, limits, strict=True))
    cpu = statistics.median(pace.cpu for pace in paces)
    times = statistics.median(p.cpu / limit.cpu for p, limit in zip(paces, limits, strict=True))
    return [
        figure(f"{name}", rate, "jobs/s"),
        figure(f"{name}: part of the limit", share, "", least=0.6 if asked else None),
        figure(f"{name}: CPU of all of it", cpu, "us/job", most=850 if asked else None),
        figure(
            f"{name}: CPU, times that of the command alone",
            times,
            "",
            most=MOST_TIMES if asked else None,
        ),
    ]


STARTS = 300
KILLS = 50


def _latency(one: Server, folder: Path) -> list[Figure]:
    """Measure from the answer to a request until a line of the job arrives through a fifo."""
    fifo = folder / "told"
    os.mkfifo(fifo)
    told = os.open(fifo, os.O_RDWR)
    try:
        starts = sorted(_starts(one, f"echo 1 > {fifo}", told))
        kills = sorted(_kills(one, f"echo 1 > {fifo}", told))
    finally:
        os.close(told)
    note = "from the answer to the submission to a line of the command's shell"
    median, slowest = starts[len(starts) // 2], starts[int(len(starts) * 0.99)]
    return [
        figure("start on an idle farm, median", median, "ms", most=5, note=note),
        figure("start on an idle farm, p99", slowest, "ms", most=50),
        figure("kill (pause of a job), median", kills[len(kills) // 2], "ms", note="likewise"),
        figure("kill (pause of a job), slowest", kills[-1], "ms", note=f"of {len(kills)}"),
    ]


def _starts(one: Server, say: str, told: int) -> Iterator[float]:
    """Give milliseconds from answers to submissions to the starts of the commands."""
    session, body = requests.Session(), json.dumps({"title": "t", "command": say})
    for _ in range(STARTS):
        session.put(f"http://127.0.0.1:{one.port}/api/jobs", data=body, timeout=10)
        answered = time.perf_counter()
        os.read(told, 100)
        yield (time.perf_counter() - answered) * 1000
        time.sleep(0.02)


def _kills(one: Server, say: str, told: int) -> Iterator[float]:
    """Give milliseconds from answers to pauses to the signal in the jobs."""
    api, session = f"http://127.0.0.1:{one.port}/api", requests.Session()
    command = f"trap '{say}; exit 1' TERM; {say}; while :; do sleep 0.001; done"
    body = json.dumps({"title": "t", "command": command})
    for _ in range(KILLS):
        job = session.put(f"{api}/jobs", data=body, timeout=10).json()
        os.read(told, 100)
        time.sleep(0.1)
        session.post(f"{api}/pausejobs", data=json.dumps([job]), timeout=10)
        answered = time.perf_counter()
        os.read(told, 100)
        yield (time.perf_counter() - answered) * 1000
        session.delete(f"{api}/jobs", data=json.dumps([job]), timeout=10)
