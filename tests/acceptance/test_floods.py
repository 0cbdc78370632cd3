"""Jobs that write far too much, or what is no text: it arrives, and nobody else suffers."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from coalition import wire
from coalition.cli.programs import Program
from tests.acceptance.farm import (
    eventually,
    run_states,
    running_node,
    running_server,
    state,
    submit,
)
from tests.disks import fill, small_disk

MB = 1024 * 1024
GROWTH = 50 * MB
"""Bytes by which the memory of a program may grow for any flood."""

PATIENCE = 1.0
"""Seconds for 99 of 100 requests of others; the aim, on a computer that is not shared, is 0.2."""

LEFT_OUT = re.compile(rb"\* (\d+) bytes of output were left out here\n")


class Farm:
    """A server and a node, whose memory and whose answers to others are watched."""

    def __init__(self, url: str, folder: Path, programs: list[Program]) -> None:
        self.url = url
        self.folder = folder
        self.programs = programs

    def logged(self, job: int) -> bytes:
        """Return what the log of a job's only run has between its head and its tail."""
        log = (self.folder / "server" / "logs" / f"{job}.log").read_bytes()
        assert re.fullmatch(rb"\* RUN \d+ FINISHED [^\n]*\n", log[log.rindex(b"* RUN ") :])
        return log[log.index(b"\n") + 1 : log.rindex(b"* RUN ")]


def peak(program: Program) -> int:
    """Return the most memory that a program has had, in bytes."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s*(\d+) kB", status)[0]) * 1024


@pytest.fixture
def farm(free_port: int, tmp_path: Path) -> Iterator[Farm]:
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc tells of memory here")
    url, store = f"http://127.0.0.1:{free_port}", f"sqlite:///{tmp_path / 'coalition.db'}"
    with (
        running_server(tmp_path / "server", store, free_port) as server,
        running_node(tmp_path / "node", url, "node", workers=20) as node,
    ):
        job = submit(url, "echo warm")
        eventually(lambda: state(url, job) == "FINISHED")
        yield Farm(url, tmp_path, [server, node])


@contextmanager
def unharmed(farm: Farm) -> Iterator[Callable[[list[int]], None]]:
    """Give a way to wait for jobs; fails when memory or the requests of others suffer meanwhile."""
    before = [peak(program) for program in farm.programs]
    seconds: list[float] = []

    def wait_for(jobs: list[int]) -> None:
        with requests.Session() as session:
            while any(seconds_of(session, farm.url, job, seconds) for job in jobs):
                time.sleep(0.02)

    yield wait_for
    growth = [peak(program) - old for program, old in zip(farm.programs, before, strict=True)]
    slow = sorted(seconds)[int(len(seconds) * 0.99)]
    print(f"p99 {slow * 1e3:.0f} ms of {len(seconds)}, growth {[size // MB for size in growth]} MB")
    assert max(growth) <= GROWTH
    assert slow <= PATIENCE


def seconds_of(session: requests.Session, url: str, job: int, seconds: list[float]) -> bool:
    """Ask for a job, note how long that took, and say whether it is still to end."""
    began = time.monotonic()
    answer = session.get(f"{url}/api/jobs/{job}", timeout=30).json()
    seconds.append(time.monotonic() - began)
    return answer["state"] in ("WAITING", "WORKING")


def test_of_a_log_of_a_gigabyte_the_first_part_and_the_last_are_kept(farm: Farm) -> None:
    block = farm.folder / "block"
    data = random.Random(1).randbytes(16 * MB - 9)
    block.write_bytes(data)
    with unharmed(farm) as wait_for:
        job = submit(farm.url, f"for i in $(seq 100 163); do echo block$i; cat '{block}'; done")
        wait_for([job])

    written = b"".join(b"block%d\n" % number + data for number in range(100, 118))
    log = farm.logged(job)
    assert log[: wire.MAXLOG] == written[: wire.MAXLOG]
    mark = LEFT_OUT.search(log, wire.MAXLOG, wire.MAXLOG + 100)
    assert mark is not None
    last = log[mark.end() :].rstrip(b"\n")
    assert len(last) >= MB // 2
    assert (b"block163\n" + data).rstrip(b"\n").endswith(last)
    assert len(last) + int(mark[1]) + wire.MAXLOG == pytest.approx(64 * 16 * MB, abs=2)


def test_twenty_jobs_that_write_ten_megabytes_a_second_each_lose_nothing(farm: Farm) -> None:
    block = farm.folder / "block"
    block.write_bytes(random.Random(2).randbytes(MB - 1) + b"\n")
    with unharmed(farm) as wait_for:
        command = f"for i in $(seq 20); do cat '{block}'; sleep 0.1; done"
        jobs = [submit(farm.url, command) for _ in range(20)]
        wait_for(jobs)

    assert all(farm.logged(job) == block.read_bytes() * 20 for job in jobs)


def test_a_line_of_a_hundred_megabytes_arrives_unchanged(farm: Farm) -> None:
    with unharmed(farm) as wait_for:
        job = submit(farm.url, "head -c 100000000 /dev/zero | tr '\\0' x; echo")
        wait_for([job])

    assert farm.logged(job) == b"x" * 100_000_000 + b"\n"


def test_a_node_with_a_full_disk_loses_nothing_while_its_server_is_there(
    farm: Farm, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        more = f"scratch={tmp_path}\n"
        with running_node(disk / "node", farm.url, "full", more=more):
            warm = submit(farm.url, "echo warm", affinity="@full")
            eventually(lambda: state(farm.url, warm) == "FINISHED")
            fill(disk)
            job = submit(farm.url, "seq 1000000; echo over", affinity="@full")
            eventually(lambda: state(farm.url, job) == "FINISHED")

    assert farm.logged(job) == b"".join(b"%d\n" % n for n in range(1, 1_000_001)) + b"over\n"


def test_bytes_that_are_no_text_arrive_unchanged(farm: Farm) -> None:
    output = bytes(range(256)) * 300 + b"\xff\xfe\xed\xa0\x80 \x1b[31mred\x1b[0m \0 \r\n"
    (farm.folder / "output").write_bytes(output)
    job = submit(farm.url, f"cat '{farm.folder}/output'")
    eventually(lambda: state(farm.url, job) == "FINISHED")

    assert farm.logged(job) == output
    assert run_states(farm.url, job) == ["FINISHED"]
