"""Clocks that somebody sets while a farm works; by libfaketime, where that is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.farm import (
    eventually,
    get,
    run_states,
    running_node,
    running_server,
    state,
    submit,
    worker_states,
)

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)

pytestmark = [
    pytest.mark.skipif(LIBRARY is None, reason="there is no libfaketime"),
    pytest.mark.parametrize("hours", [1, -1]),
]


class Wall:
    """The time of day as programs see it that are started now."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    def set(self, hours: int) -> None:
        self._file.write_text(f"{3600 * hours:+d}")


@pytest.fixture
def wall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wall]:
    monkeypatch.setenv("LD_PRELOAD", str(LIBRARY))
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(tmp_path / "clock"))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    yield Wall(tmp_path / "clock")


def test_a_clock_that_is_set_loses_no_worker_and_ends_no_job(
    free_port: int, tmp_path: Path, wall: Wall, hours: int
) -> None:
    url, store = f"http://127.0.0.1:{free_port}", f"sqlite:///{tmp_path / 'coalition.db'}"
    with (
        running_server(tmp_path / "server", store, free_port, "timeout=20\n"),
        running_node(tmp_path / "node", url, "node", workers=3),
    ):
        jobs = [submit(url, "sleep 8", timeout=30), submit(url, "sleep 8", exclusive=True)]
        eventually(lambda: {state(url, job) for job in jobs} == {"WORKING"})
        wall.set(hours)
        jobs.append(submit(url, "date +%s"))
        seen: set[str] = set()

        def finished() -> bool:
            seen.update(worker_states(url).values())
            return {state(url, job) for job in jobs} == {"FINISHED"}

        eventually(finished)
        assert [run_states(url, job) for job in jobs] == [["FINISHED"]] * 3
        assert seen == {"WAITING", "WORKING"}
        runs = [run for job in jobs for run in get(url, f"events?job={job}")]
        assert abs(runs[2]["start"] - runs[0]["start"]) < 60
        assert [run["duration"] // 8 for run in runs] == [1, 1, 0]
        date = (tmp_path / "server" / "logs" / f"{jobs[2]}.log").read_text().splitlines()[1]
        assert abs(int(date) - runs[2]["start"] - 3600 * hours) < 60  # the jobs saw it


def test_a_server_that_starts_again_with_another_time_of_day_goes_on(
    free_port: int, tmp_path: Path, wall: Wall, hours: int
) -> None:
    url, store = f"http://127.0.0.1:{free_port}", f"sqlite:///{tmp_path / 'coalition.db'}"
    with running_node(tmp_path / "node", url, "node"):
        with running_server(tmp_path / "server", store, free_port):
            job = submit(url, "sleep 4")
            eventually(lambda: state(url, job) == "WORKING")
        wall.set(hours)
        with running_server(tmp_path / "server", store, free_port):
            last = submit(url, "true")
            eventually(lambda: state(url, last) == "FINISHED")

            assert run_states(url, job) == ["FINISHED"]
            (run,) = get(url, f"events?job={job}")
            assert 3.5 < run["duration"] < 5
