"""Workers of 4.0 and of today in one farm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.acceptance.farm import (
    eventually,
    get,
    marked,
    processes,
    run_states,
    running_node,
    running_server,
    state,
    submit,
)

OLD = "old é 'w'"
"""4.0 had no trouble with such a name until it came to SQL."""


def python2() -> str | None:
    """The path of a Python 2.7, for which 4.0 was written, if there is one that runs."""
    found = os.environ.get("COALITION_TEST_PYTHON2") or shutil.which("python2.7")
    if found is None or subprocess.run([found, "-c", ""], capture_output=True).returncode:
        return None
    return found


@pytest.fixture(params=["python2", "python3"])
def python(request: pytest.FixtureRequest) -> str:
    """What the old worker runs on; what it evaluates means the same to both."""
    path = python2() if request.param == "python2" else sys.executable
    if path is None:
        pytest.skip("no Python 2.7 here; COALITION_TEST_PYTHON2 may name one")
    return path


@contextmanager
def old_worker(python: str, url: str, name: str = OLD) -> Iterator[None]:
    """Run a worker of 4.0 until the block is left; it must not have ended before."""
    script = Path(__file__).with_name("old_worker.py")
    command = [python, str(script), url.removeprefix("http://"), name, "0.2"]
    with subprocess.Popen(command) as process:
        try:
            yield
            assert process.poll() is None, "the worker has ended"
        finally:
            process.kill()


@pytest.fixture
def url(free_port: int, tmp_path: Path) -> Iterator[str]:
    """A server of its own."""
    database = f"sqlite:///{tmp_path / 'server' / 'coalition.db'}"
    with running_server(tmp_path / "server", database, free_port):
        yield f"http://127.0.0.1:{free_port}"


def test_old_and_new_workers_share_the_jobs_and_each_runs_once(
    url: str, python: str, tmp_path: Path
) -> None:
    group = submit(url, "", title="all")
    jobs = []
    for number in range(30):
        words = ("", f"@{OLD}", "@new-1")[number % 3]
        command = f"echo run >> {tmp_path}/{number}; echo done {number}"
        jobs.append(submit(url, command, parent=group, affinity=words))
    with old_worker(python, url), running_node(tmp_path / "new", url, "new", workers=2):
        eventually(lambda: state(url, group) == "FINISHED")

    assert [(tmp_path / str(n)).read_text() for n in range(30)] == ["run\n"] * 30
    assert [run_states(url, job) for job in jobs] == [["FINISHED"]] * 30
    assert [f"done {n}\n" in get(url, f"jobs/{jobs[n]}/log") for n in range(30)] == [True] * 30
    workers = {job["worker"] for job in get(url, f"jobs/{group}/children")}
    assert OLD in workers and len(workers) > 1


@pytest.mark.parametrize(
    "text", ["né à ☃ 😀", 'it\'s "quoted"', "back\\slash \\n \\u0041", "line\nbreak\ttab"]
)
def test_an_old_worker_gets_every_text_as_it_is(
    url: str, python: str, tmp_path: Path, text: str
) -> None:
    quoted = "'" + text.replace("'", "'\\''") + "'"
    folder = tmp_path / "né 'it'"
    folder.mkdir()
    environment = {"TOLD": "né=\"'1'"}
    command = f'printf %s {quoted} > a; printf %s "$TOLD" > b; printf %s {quoted}'
    job = submit(url, command, dir=str(folder), environment=environment)
    with old_worker(python, url):
        eventually(lambda: state(url, job) == "FINISHED")

    assert ((folder / "a").read_text("utf-8"), (folder / "b").read_text("utf-8")) == (
        text,
        environment["TOLD"],
    )
    assert text in get(url, f"jobs/{job}/log")


def test_an_old_worker_tells_how_its_job_has_ended(url: str, python: str) -> None:
    failed, killed = submit(url, "exit 3"), submit(url, "kill -9 $$")
    with old_worker(python, url):
        eventually(lambda: state(url, killed) == "ERROR")

    codes = [get(url, f"events?job={job}")[0]["code"] for job in (failed, killed)]
    assert codes == [3, -9]


@pytest.mark.parametrize("edit", [{"paused": 1}, {"state": "FINISHED"}])
def test_an_old_worker_ends_what_is_paused_or_set_by_hand(
    url: str, python: str, tmp_path: Path, edit: dict[str, object]
) -> None:
    job = submit(url, "sleep 600", environment=marked(tmp_path))
    with old_worker(python, url):
        eventually(lambda: processes(tmp_path))
        requests.post(f"{url}/api/jobs", json={job: edit}, timeout=30).raise_for_status()
        eventually(lambda: not processes(tmp_path))
        after = submit(url, "true")
        eventually(lambda: state(url, after) == "FINISHED")

    assert state(url, job) == ("PAUSED" if "paused" in edit else "FINISHED")
    assert run_states(url, job) == ["STOPPED"]
