"""What a benchmark gives: figures with their targets, and the machine they were taken on."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Figure:
    """One measured number. `target` is what the project asks of it, as words."""

    name: str
    value: str
    target: str = ""
    met: bool | None = None
    note: str = ""


def figure(
    name: str, value: float, unit: str, *, most: float | None = None, least: float | None = None,
    note: str = "",
) -> Figure:  # fmt: skip
    """Make a figure that should be at most or at least something."""
    shown = f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}"
    if most is not None:
        return Figure(name, shown, f"<= {most:,g} {unit}", value <= most, note)
    if least is not None:
        return Figure(name, shown, f">= {least:,g} {unit}", value >= least, note)
    return Figure(name, shown, note=note)


@dataclass
class Limits:
    """What this machine can do at this moment."""

    spawns: float  # processes a second
    syncs: float  # durable appends a second
    loop: float  # seconds of a plain Python loop

    def figures(self) -> list[Figure]:
        return [
            figure("processes spawned by xargs -P2 (sh -c true)", self.spawns, "1/s"),
            figure("fdatasync of a small append", self.syncs, "1/s"),
            figure("a Python loop of 10 million additions", self.loop, "s"),
        ]


def limits(folder: Path) -> Limits:
    return Limits(_spawns(), _syncs(folder), _python())


def _spawns(count: int = 2000) -> float:
    began = time.perf_counter()
    command = ["xargs", "-P2", "-n1", "sh", "-c", "true"]
    subprocess.run(command, input="x\n" * count, text=True, check=True)
    return count / (time.perf_counter() - began)


def _syncs(folder: Path, count: int = 300) -> float:
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        began = time.perf_counter()
        for _ in range(count):
            file.write(b"x" * 200)
            file.flush()
            os.fdatasync(file.fileno())
        return count / (time.perf_counter() - began)


def _python() -> float:
    began = time.perf_counter()
    total = 0
    for number in range(10_000_000):
        total += number
    return time.perf_counter() - began


def machine() -> str:
    """Describe the machine in a line."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.processor(),
    )  # fmt: skip
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}"
    )


def table(figures: list[Figure]) -> str:
    """Show figures as a Markdown table."""
    rows = ["| figure | measured | asked | met | note |", "|---|---|---|---|---|"]
    for one in figures:
        met = {True: "yes", False: "**no**", None: ""}[one.met]
        rows.append(f"| {one.name} | {one.value} | {one.target} | {met} | {one.note} |")
    return "\n".join(rows)
