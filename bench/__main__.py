"""Measure and write BENCHMARKS.md: python -m bench [core|load|node|floods|sqlite|mariadb ...]."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from bench import core, farm, floods, node
from bench.figures import limits, machine, table


def main(wanted: list[str]) -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as name:
        folder = Path(name)
        machine_limits = limits(folder)
        figures = machine_limits.figures()
        if not wanted or "core" in wanted:
            figures += core.run()
        if not wanted or "load" in wanted:
            figures += core.loading_a_million(folder)
        if not wanted or "node" in wanted:
            figures += node.run(folder)
        if not wanted or "floods" in wanted:
            figures += floods.run(folder)
        if "sqlite" in wanted:
            figures += farm.sqlite(folder, machine_limits)
        if not wanted or "mariadb" in wanted:
            figures += farm.both(folder, machine_limits)
    print(table(figures))
    if not wanted:
        text = Path("bench/preface.md").read_text()
        day = time.strftime("%Y-%m-%d")
        Path("BENCHMARKS.md").write_text(f"{text}\n{day}, {machine()}\n\n{table(figures)}\n")


main(sys.argv[1:])
