"""What was stored, loaded again, is the same farm."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis.stateful import rule

from coalition.core.changes import Changes
from coalition.core.farm import Farm
from coalition.core.model import Job
from coalition.core.states import FINISHED
from coalition.store import loading, writing
from coalition.store.engine import open_store
from tests.core.test_machine import FarmMachine

JOB_FIELDS = (
    "title", "command", "dir", "environment", "affinity", "priority", "timeout", "retry", "url",
    "user", "progress_pattern", "globalprogress", "paused", "state", "worker", "start_time",
    "run_done", "progress", "local_progress", "unmet",
)  # fmt: skip

WORKER_FIELDS = (
    "name", "ip", "node", "affinity", "state", "finished", "error", "last_job", "active",
)  # fmt: skip


def job_row(job: Job) -> tuple[Any, ...]:
    group = job.group
    counters = group and (group.total, group.total_finished, group.total_errors, group.links)
    parent = job.parent.id if job.parent is not None else 0
    links = sorted(dependency.id for dependency in job.dependencies)
    fields = (getattr(job, name) for name in JOB_FIELDS)
    return job.id, parent, links, counters, round(job.duration, 3), *fields


def picture(farm: Farm) -> dict[str, Any]:
    return {
        "jobs": {id: job_row(job) for id, job in farm.tree.jobs.items()},
        "workers": {
            name: [getattr(worker, field) for field in WORKER_FIELDS]
            for name, worker in farm.workers.items()
        },
        "runs": {id: (r.job.id, r.worker.name, r.start) for id, r in farm.runs.items()},
    }


@cache
def empty_database() -> bytes:
    """A file that is copied, as setting up a database takes longer than an example."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "empty.db"
        store = open_store(f"sqlite:///{file}")
        store.init()
        store.close()
        return file.read_bytes()


class StoredFarm(FarmMachine):
    """The machine of the core, whose changes are written to a database now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        file = self.folder / "coalition.db"
        file.write_bytes(empty_database())
        self.store = open_store(f"sqlite:///{file}")

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    @rule()
    def save(self) -> None:
        writing.write(self.store, writing.snapshot(self.farm.changes.take()))

    @rule()
    def restart(self) -> None:
        self.save()
        farm = Farm(Changes(), 60)
        with self.store.writing() as connection:
            farm.load(loading.load(connection))
        farm.check_invariants()
        before, after = picture(self.farm), picture(farm)
        left = before["jobs"].keys() - after["jobs"].keys()
        assert all(self.is_archived(self.farm.tree.jobs[id]) for id in left)
        before["jobs"] = {id: row for id, row in before["jobs"].items() if id not in left}
        assert after == before
        assert farm.next_job > max(self.farm.tree.jobs, default=0)
        assert farm.next_run > max(self.farm.runs, default=0)

    @staticmethod
    def is_archived(job: Job) -> bool:
        """Trees that are FINISHED stay in the database when a server starts."""
        while job.parent is not None and job.parent.id:
            job = job.parent
        return job.state == FINISHED


TestStoredFarm = StoredFarm.TestCase
TestStoredFarm.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
