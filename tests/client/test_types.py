"""A type checker understands scripts, and finds their slips."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.test_layers import ROOT

SCRIPT = """
import coalition
from coalition import Connection, Job, JobId, NewJob

farm = Connection("farm", 19211, user="bob", password="secret", timeout=5)
film: JobId = farm.addJobs(NewJob("Film", children=[NewJob("Frame", "render", retry=2)]))
both: list[JobId] = farm.addJobs([NewJob("a", "a"), {"title": "b"}])
job: Job = farm.getJob(film)
job.update(priority=5, title="x", environment={"A": "1"})
with farm:
    job.priority = job.priority + 1
    job.priority = job.priority / 3
    job.parent = "films|shot 12"
    job.parent = job
    job.dependencies = [job, film, 12]
group: int = job.parent
waits: list[int] = job.dependencies
job.update(state="FINISHED", parent=job, dependencies=[job, 12], priority=1000 / 3)
farm.editJobs({film: {"state": "ERROR"}, 12: {"state": "PAUSED", "parent": "films"}})
farm.newJob(job, priority=1000 / 3, dependencies=[job])
farm.setAffinities(farm.getAffinities())
farm.setAffinities({1: "LINUX"})
for found in farm.jobs(user="bob", state=["ERROR", "WORKING"], sort="-priority,id", page=100):
    found.reset().wait(timeout=60)
names: list[str] = [worker["name"] for worker in farm.getWorkers() if worker["cores"] > 8]
seconds: float = sum(event["duration"] for event in farm.events(job=job))
text: str = "".join(job.log(follow=True))
try:
    farm.wait([job, film, 12], timeout=1.5)
except coalition.TimedOut as error:
    print(error)
"""

SLIPS = {
    "farm.newJob(titel='x')": "Unexpected keyword argument",
    "farm.getJob(1).tilte": "has no attribute",
    "farm.getJob(1).update(prio=1)": "Unexpected keyword argument",
    "farm.getWorkers()[0]['nam']": 'has no key "nam"',
    "farm.getJob(1).update(state='WORKING')": "incompatible type",
    "farm.getJob(1).priority = 'high'": "Incompatible types in assignment",
    "farm.getJob(1).dependencies = [1.5]": "incompatible type",
    "farm.setAffinities({1.5: 'LINUX'})": "incompatible type",
    "farm.jobs(usr='bob')": "incompatible type",
    "farm.addJobs(NewJob(title=1))": "incompatible type",
}


def checked(folder: Path, text: str) -> str:
    script = folder / "script.py"
    script.write_text(text, "utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder), str(script)]
    # With settings of its own, not those of the project, as a user would have it.
    config = ["--config-file", str(folder / "none.ini")]
    (folder / "none.ini").write_text("[mypy]\n")
    run = subprocess.run([*command, *config], cwd=ROOT, capture_output=True, text=True, check=False)
    return run.stdout + run.stderr


def test_a_script_passes_and_its_slips_are_found(tmp_path: Path) -> None:
    assert checked(tmp_path, SCRIPT).startswith("Success")
    said = checked(tmp_path, SCRIPT + "\n".join(SLIPS)).splitlines()
    told = [line for line in said if "error:" in line]
    first = len(SCRIPT.splitlines()) + 1
    for line, (slip, fault) in enumerate(SLIPS.items(), first):
        assert any(f"script.py:{line}:" in one and fault in one for one in told), slip
    assert len(told) == len(SLIPS)


def test_the_types_are_installed_with_the_package(tmp_path: Path) -> None:
    build = ["setup.py", "--quiet", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run([sys.executable, *build], cwd=ROOT, check=True, capture_output=True)
    assert (tmp_path / "coalition" / "py.typed").exists()
    assert (tmp_path / "coalition" / "client" / "jobs.py").exists()
