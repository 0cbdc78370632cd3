"""Figures about the farm and the server, for Prometheus.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import get_args

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from coalition.core.changes import Changes
from coalition.core.farm import Farm
from coalition.core.states import RESERVED, RunState, WorkerState

ENDS = [state for state in get_args(RunState) if state not in (RESERVED, "WORKING")]


class Metrics:
    """Counts what becomes durable, from the start of the server on."""

    def __init__(self, farm: Farm, about: dict[str, str]) -> None:
        """Count for a farm; `about` are words that name server and farm."""
        self._farm = farm
        self._about = about
        self._jobs_created = self._jobs_deleted = self._runs_begun = self._batches = 0
        self._ends: Counter[str] = Counter()
        self._seconds = 0.0
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def on_committed(self, changes: Changes) -> None:
        """Count what has become durable."""
        self._batches += 1
        self._jobs_created += len(changes.new_jobs)
        self._jobs_deleted += len(changes.deleted_jobs)
        self._runs_begun += len(changes.begun_runs)
        self._runs_begun += sum(run.state != RESERVED for run in changes.new_runs.values())
        for run in changes.finished_runs.values():
            self._ends[run.state] += 1
            self._seconds += run.duration

    def text(self, healthy: bool, watchers: int) -> str:
        """Give all figures; `watchers` are connections that follow the stream."""
        self._healthy, self._watchers = healthy, watchers
        return generate_latest(self._registry).decode()

    def describe(self) -> Iterator[Metric]:
        """Say nothing before there are values; the registry asks."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Give the figures one by one."""
        yield InfoMetricFamily("coalition", "Which server and which farm this is.", self._about)
        yield self._jobs()
        yield self._workers()
        for name, text, value in (
            ("jobs_created", "Jobs created since the server's start.", self._jobs_created),
            ("jobs_deleted", "Jobs deleted since then.", self._jobs_deleted),
            ("runs_begun", "Runs begun since then.", self._runs_begun),
            ("run_seconds", "Seconds that the runs took which ended since then.", self._seconds),
            ("journal_batches", "Transactions since then.", self._batches),
        ):
            yield CounterMetricFamily(f"coalition_{name}", text, value)
        ends = CounterMetricFamily(
            "coalition_runs_ended", "Runs ended since then.", labels=["state"]
        )
        for state in ENDS:
            ends.add_metric([state], self._ends[state])
        yield ends
        yield GaugeMetricFamily("coalition_healthy", "1 if /health is 200.", int(self._healthy))
        yield GaugeMetricFamily("coalition_watchers", "Connections to the stream.", self._watchers)

    def _jobs(self) -> Metric:
        jobs = GaugeMetricFamily(
            "coalition_jobs",
            "Jobs, groups left out, in trees that are not finished; those that are paused or "
            "wait for others are among WAITING.",
            labels=["state"],
        )
        group = self._farm.tree.root.group
        assert group is not None
        known = {
            "WORKING": group.total_working,
            "FINISHED": group.total_finished,
            "ERROR": group.total_errors,
        }
        for state, number in {"WAITING": group.total - sum(known.values()), **known}.items():
            jobs.add_metric([state], number)
        return jobs

    def _workers(self) -> Metric:
        workers = GaugeMetricFamily("coalition_workers", "Workers.", labels=["state", "active"])
        found = Counter((one.state, one.active) for one in self._farm.workers.values())
        for state in get_args(WorkerState):
            for active in (True, False):
                workers.add_metric([state, str(int(active))], found[state, active])
        return workers
