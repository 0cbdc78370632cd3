"""The core alone: no HTTP, no database, one process."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path

from bench.figures import Figure, figure
from coalition.core.changes import Changes
from coalition.core.farm import Farm
from coalition.core.model import Job
from coalition.core.submission import Submission
from coalition.store import loading, writing
from coalition.store.engine import open_store

NOW = 1_000_000.0


def run() -> list[Figure]:
    """Measure submit, pick and end, memory, and orders on groups of 100,000."""
    _measure(1000)  # warm up
    small, large = _measure(1000), _measure(1_000_000)
    figures = [
        figure("core: submit, per job, among 1,000", small[0], "us", most=15),
        figure("core: submit, per job, among 1,000,000", large[0], "us", most=15),
        figure("core: pick and end, at 1,000 queued jobs", small[1], "us", most=40),
        figure("core: pick and end, at 1,000,000 queued jobs", large[1], "us", most=40),
        figure("core: the two above, as a ratio", large[1] / small[1], "x", most=1.5),
        figure("core: memory per queued job, of 1,000,000", large[2] / 1000, "KB", most=1.0),
    ]
    return figures + _orders()


def loading_a_million(folder: Path) -> list[Figure]:
    """Measure the load of 1,000,000 jobs from SQLite, with the check of all invariants."""
    store = open_store(f"sqlite:///{folder / 'million.db'}")
    store.prepare()
    farm = _farm(1_000_000)
    began = time.perf_counter()
    writing.write(store, writing.snapshot(farm.changes.take()))
    wrote = time.perf_counter() - began
    del farm
    gc.unfreeze()
    gc.collect()
    gc.disable()
    began = time.perf_counter()
    farm = Farm(Changes())
    with store.writing() as connection:
        farm.load(loading.load(connection))
    took = time.perf_counter() - began
    gc.enable()
    assert len(farm.tree.jobs) == 1_000_001
    began = time.perf_counter()
    farm.check_invariants()
    checked = time.perf_counter() - began
    store.close()
    note = f"and {checked:.1f} s to check every invariant; written in {wrote:.1f} s"
    return [figure("loading 1,000,000 jobs at start", took, "s", most=20, note=note)]


def _farm(jobs: int) -> Farm:
    farm = Farm(Changes())
    first = Submission()
    first.add(Job(farm.new_id(), title="group"), 0, is_group=True)
    farm.on_submit(first)
    for number in range(jobs):
        one = Submission()
        one.add(_job(farm, number), 1)
        farm.on_submit(one)
    return farm


def _job(farm: Farm, number: int) -> Job:
    return Job(
        farm.new_id(),
        title=f"frame {number}",
        command=f"render scene.pov -frame {number} -o /out/{number}.png",
        dir="/scene",
        retry=1,
        user="somebody",
    )


def _measure(jobs: int) -> tuple[float, float, float]:
    """Give microseconds per submit, per pick and end, and bytes per queued job."""
    gc.collect()
    before = _resident()
    began = time.process_time()
    farm = _farm(jobs)
    submit = (time.process_time() - began) / jobs * 1e6
    farm.changes.take()
    gc.collect()
    memory = (_resident() - before) / jobs
    gc.freeze()
    workers = [farm.on_contact(f"worker-{number}", NOW) for number in range(8)]
    rounds = min(jobs - 100, 20_000)
    began = time.process_time()
    for number in range(rounds):
        worker = workers[number % 8]
        run = farm.on_pick(worker, NOW)
        assert run is not None
        farm.on_end(worker, run.id, 0, NOW + 1)
        if number % 1000 == 0:
            farm.changes.take()
    pick = (time.process_time() - began) / rounds * 1e6
    gc.unfreeze()
    return submit, pick, memory


def _orders() -> list[Figure]:
    farm = _farm(100_000)
    farm.on_pick(farm.on_contact("worker", NOW), NOW)
    orders: dict[str, Callable[[], None]] = {
        "pausing": lambda: farm.on_pause([1], NOW),
        "starting": lambda: farm.on_start([1], NOW),
        "re-ordering": lambda: farm.on_edit({1: {"priority": 5}}, NOW),
    }
    figures = []
    for name, order in orders.items():
        began = time.perf_counter()
        order()
        took = (time.perf_counter() - began) * 1000
        figures.append(figure(f"core: {name} a group of 100,000", took, "ms", most=5))
    return figures


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
