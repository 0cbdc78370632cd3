from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coalition.cli import progressbar
from coalition.cli.control import ACTIONS, read
from coalition.client import Connection, Job
from tests.scripted import LOST, Scripted, as_json, free_port, job, refused, scripted_server

CONTROL = Path(__file__).parent.parent / "control.py"

DEADLINE = 60.0
"""Seconds after which a call of control.py is given up; a second or less is usual."""


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted_server() as script:
        yield script


def environment(**more: str) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if name != "COALITION_SERVER"},
            "PYTHONIOENCODING": "utf-8", **more}  # fmt: skip


def control(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run control.py as a user would."""
    return subprocess.run(
        [sys.executable, str(CONTROL), *words],
        capture_output=True, encoding="utf-8", timeout=DEADLINE, env=environment(**environ),
    )  # fmt: skip


def printed(*words: str, **environ: str) -> str:
    run = control(*words, **environ)
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


def complaint(code: int, *words: str, **environ: str) -> str:
    """What is said on stderr, in one line, by a call that ends with `code` and prints nothing."""
    run = control(*words, **environ)
    assert (run.returncode, run.stdout) == (code, "")
    assert run.stderr.startswith("control.py: ")
    assert run.stderr.count("\n") == 1
    return run.stderr


def submitted(server: Scripted) -> dict[str, Any]:
    [(method, path, body)] = server.sent()
    assert (method, path) == ("PUT", "/api/jobs")
    assert isinstance(body, dict)
    return body


def test_add_as_the_manual_shows_it_prints_the_id_alone(server: Scripted) -> None:
    server.on("PUT", "/api/jobs", 12)
    words = ["--cmd=echo toto", "--priority=900", "--affinity=linux", "--retry=10"]
    assert printed(*words, server.url, "add") == "12\n"
    body = submitted(server)
    assert (body["command"], body["priority"]) == ("echo toto", 900)
    assert (body["affinity"], body["retry"], body["title"]) == ("linux", 10, "New job")


def test_every_option_of_add_becomes_an_attribute(server: Scripted) -> None:
    server.on("PUT", "/api/jobs", 12)
    words = ["-c", "render 1", "-d", "/shots", "-t", "Zoé", "-p", "-5", "-r", "2", "-a", "GPU",
             "-T", "90", "-D", "1,3", "-P", "film|frames", "-e", r"A=1\nB=2", "-e", "C=3",
             "--globalprogress", "G:%percent", "--localprogress", "L:%one",
             "--user", "zoe@x", "--url", "http://x", "--exclusive", "--scratch"]  # fmt: skip
    assert printed(server.url, "add", *words) == "12\n"
    assert submitted(server).items() >= {
        "command": "render 1", "dir": "/shots", "title": "Zoé", "priority": -5, "retry": 2,
        "affinity": "GPU", "timeout": 90.0, "dependencies": "1,3", "parent": "film|frames",
        "environment": r"A=1\nB=2\nC=3", "globalprogress": "G:%percent",
        "progress_pattern": "L:%one", "user": "zoe@x", "url": "http://x", "exclusive": True,
        "scratch": True,
    }.items()  # fmt: skip


def test_a_number_is_the_id_of_the_parent(server: Scripted) -> None:
    server.on("PUT", "/api/jobs", 12)
    printed(server.url, "add", "-t", "Frames", "-P", "7")
    assert submitted(server)["parent"] == 7


def test_options_may_stand_between_the_words(server: Scripted) -> None:
    server.on("PUT", "/api/jobs", 12)
    assert printed("-c", "a", server.url, "-t", "b", "add", "-p", "1") == "12\n"
    assert submitted(server)["title"] == "b"


def test_a_job_submits_a_job_without_naming_the_server(server: Scripted) -> None:
    server.on("PUT", "/api/jobs", 12)
    assert printed("add", "-c", "a", COALITION_SERVER=server.url) == "12\n"


def test_a_server_that_is_named_goes_before_the_environment(server: Scripted) -> None:
    server.on("GET", "/api/workers", [])
    nowhere = f"http://127.0.0.1:{free_port()}"
    without_scheme = server.url.removeprefix("http://")
    assert printed(without_scheme, "workers", COALITION_SERVER=nowhere).startswith("NAME")


@pytest.mark.parametrize(
    ("word", "url"),
    [
        ("farm", "http://farm:19211"),
        ("https://farm", "https://farm"),
        ("https://farm:19443", "https://farm:19443"),
    ],
)
def test_a_server_has_the_usual_port_unless_another_is_named(word: str, url: str) -> None:
    assert read([word, "list"], {}).farm.url == url


def test_add_can_wait_for_the_job(server: Scripted) -> None:
    server.on("PUT", "/api/jobs", 12)
    server.on("GET", "/api/jobs/12", job(12), job(12, state="ERROR"))
    run = control(server.url, "add", "-c", "false", "--wait")
    assert (run.returncode, run.stdout, run.stderr) == (1, "12\n", "")


def test_list_shows_a_table_of_the_root(server: Scripted) -> None:
    group = job(1, title="Film", state="WORKING", total=8, total_finished=2, progress=0.25)
    frame = job(20, title="Bad\x1b[31m\nname", user="zoe", worker="w-1", priority=5)
    server.on("GET", "/api/jobs", [group, frame])
    assert printed(server.url, "list").splitlines() == [
        "ID  STATE    PRIORITY  PROGRESS  DONE  WORKER  USER  TITLE",
        " 1  WORKING      1000  25%       2/8                 Film",
        "20  WAITING         5                  w-1     zoe   Bad?[31m?name",
    ]


@pytest.mark.parametrize("words", [["-P", "7"], ["-i", "7"], ["7"]])
def test_list_shows_a_group(server: Scripted, words: list[str]) -> None:
    server.on("GET", "/api/jobs/7/children", [job(8)])
    assert "Job 8" in printed(server.url, "list", *words)


def test_tables_come_as_json_too(server: Scripted) -> None:
    worker = {"name": "w-1", "state": "WAITING", "active": 1}
    server.on("GET", "/api/jobs", [job(1, title="Zoé")])
    server.on("GET", "/api/workers", [worker])
    assert json.loads(printed(server.url, "list", "--json")) == [job(1, title="Zoé")]
    assert json.loads(printed("--json", server.url, "workers")) == [worker]


def test_workers_shows_who_works_on_what(server: Scripted) -> None:
    both = {"finished": 3, "error": 0, "free_memory": 512}
    works = {"state": "WORKING", "active": 1, "last_job": 12, "affinity": "L,GPU\nL"}
    away = {"state": "TIMEOUT", "active": 0, "last_job": 11, "affinity": ""}
    workers = [{"name": "a", **works, **both}, {"name": "b", **away, **both}]
    server.on("GET", "/api/workers", workers)
    assert [line.split() for line in printed(server.url, "workers").splitlines()[1:]] == [
        ["a", "WORKING", "yes", "12", "3", "0", "512", "L,GPU", "/", "L"],
        ["b", "TIMEOUT", "no", "3", "0", "512"],
    ]


@pytest.mark.parametrize(
    ("verb", "method", "path"),
    [
        ("start", "POST", "/api/startworkers"),
        ("stop", "POST", "/api/stopworkers"),
        ("pause", "POST", "/api/pauseworkers"),
        ("drain", "POST", "/api/drainworkers"),
        ("delete", "DELETE", "/api/workers"),
    ],
)
def test_orders_to_workers_name_them_one_by_one_or_by_patterns(
    server: Scripted, verb: str, method: str, path: str
) -> None:
    server.on("GET", "/api/workers", [{"name": name} for name in ("a-1", "a-2", "b", "c")])
    server.on(method, path, 1)
    assert printed(server.url, "workers", verb, "b", "a-*", "a-2") == ""
    assert server.sent()[1:] == [(method, path, ["b", "a-1", "a-2"])]


def test_a_worker_whose_name_is_a_pattern_can_be_named(server: Scripted) -> None:
    server.on("GET", "/api/workers", [{"name": "a*"}, {"name": "ab"}])
    server.on("POST", "/api/drainworkers", 1)
    printed(server.url, "workers", "drain", "a*")
    assert server.sent()[1:] == [("POST", "/api/drainworkers", ["a*"])]


@pytest.mark.parametrize("name", ["nobody", "x*"])
def test_nobody_is_ordered_when_a_name_fits_no_worker(server: Scripted, name: str) -> None:
    server.on("GET", "/api/workers", [{"name": "a"}])
    error = complaint(1, server.url, "workers", "stop", "a", name)
    assert f"there is no worker '{name}'" in error
    assert [method for method, _, _ in server.sent()] == ["GET"]


@pytest.mark.parametrize(
    ("action", "method", "path"),
    [
        ("remove", "DELETE", "/api/jobs"),
        ("start", "POST", "/api/startjobs"),
        ("pause", "POST", "/api/pausejobs"),
        ("reset", "POST", "/api/resetjobs"),
        ("reseterrors", "POST", "/api/reseterrorjobs"),
    ],
)
def test_orders_name_jobs_by_option_or_word(
    server: Scripted, action: str, method: str, path: str
) -> None:
    server.on(method, path, 1)
    assert printed("-i", "3", server.url, action, "4", "5") == ""
    assert server.sent() == [(method, path, [3, 4, 5])]


def test_log_prints_the_log(server: Scripted) -> None:
    server.logs[3] = "one\nZoé\n".encode()
    assert printed(server.url, "log", "3") == "one\nZoé\n"


def test_log_follows_until_the_job_has_ended(server: Scripted) -> None:
    server.logs[3] = b"one\n"

    def ends() -> Any:
        server.logs[3] += b"two\n"
        return as_json(job(3, state="FINISHED"))

    server.on("GET", "/api/jobs/3", job(3, state="WORKING"), ends)
    assert printed(server.url, "log", "-i", "3", "--follow") == "one\ntwo\n"


def test_wait_is_quiet_and_says_how_the_jobs_ended(server: Scripted) -> None:
    server.on("GET", "/api/jobs/3", job(3, state="FINISHED"))
    server.on("GET", "/api/jobs/4", job(4, state="ERROR"))
    server.lists["/api/jobs"] = [job(3, state="FINISHED"), job(4, state="WORKING")]
    assert printed(server.url, "wait", "3") == ""
    run = control(server.url, "wait", "3", "4")
    assert (run.returncode, run.stdout, run.stderr) == (1, "", "")


def test_wait_draws_a_progress_bar_on_a_terminal(server: Scripted) -> None:
    server.on("GET", "/api/jobs/3", job(3, total=4, total_finished=1, progress=0.25),
              job(3, total=4, total_finished=4, progress=1.0, state="FINISHED"))  # fmt: skip
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as terminal:
        run = subprocess.run(
            [sys.executable, str(CONTROL), server.url, "wait", "3"],
            stderr=theirs, timeout=DEADLINE, env=environment(COLUMNS="60"),
        )  # fmt: skip
        drawn = terminal.read(4096).decode()
        os.close(theirs)
    assert run.returncode == 0
    assert "25%  1 of 4 finished" in drawn
    assert drawn.endswith("] 100%  4 of 4 finished\x1b[K\r\n")


def shown(*jobs: dict[str, Any], width: int = 60) -> str:
    farm = Connection()
    return progressbar.line([Job(fields, farm) for fields in jobs], width)


def test_the_bar_counts_the_jobs_of_a_group_and_those_beside_it() -> None:
    group = job(1, state="ERROR", total=3, total_finished=1, total_errors=1, progress=1 / 3)
    single = job(2, state="WORKING", progress=0.5)
    assert shown(group, single, width=50) == "[######..........]  38%  1 of 4 finished, 1 failed"
    assert shown(job(2, state="FINISHED")).endswith("] 100%  1 of 1 finished")


def test_the_bar_fits_a_narrow_terminal() -> None:
    assert shown(job(2, state="WORKING", progress=0.5), width=10) == "  50%  0 o"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "SERVER_URL and ACTION are needed; COALITION_SERVER may name the server"),
        (["farm"], "SERVER_URL and ACTION are needed"),
        (["farm", "ad"], "there is no action 'ad', only add, list, remove"),
        (["farm:many", "list"], "'farm:many' is not the address of a server"),
        (["farm", "remove"], "remove needs the id of a job"),
        (["farm", "remove", "x"], "'x' is not the id of a job"),
        (["farm", "log", "1", "2"], "log takes one id"),
        (["farm", "add", "1"], "add takes no ids"),
        (["farm", "workers", "kill", "a"], "there is no order 'kill' to workers, only start"),
        (["farm", "workers", "drain"], "workers drain needs the names of workers, or patterns"),
        (["farm", "list", "-P", "film|frames"], "'film|frames' is not the id of a job"),
        (["farm", "add", "-p", "high"], "argument -p/--priority: invalid int value: 'high'"),
        (["farm", "add", "--comm", "x"], "unrecognized arguments: --comm"),
    ],
)
def test_wrong_use_is_explained_in_one_line(words: list[str], reason: str) -> None:
    assert reason in complaint(2, *words)


def test_a_server_that_is_away_has_an_exit_code_of_its_own() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    said = f"control.py: the server at {url} does not answer (Connection refused)\n"
    assert complaint(3, url, "list") == said


def test_a_submission_whose_answer_was_lost_has_an_exit_code_of_its_own(server: Scripted) -> None:
    server.on("PUT", "/api/jobs", LOST)
    assert "whether it has done what it was asked is unknown" in complaint(
        4, server.url, "add", "-c", "a"
    )
    assert len(server.sent()) == 1


def test_a_refusal_says_what_the_server_said(server: Scripted) -> None:
    server.on("PUT", "/api/jobs", refused(404, "unknown_parent", "There is no\nparent 7."))
    assert complaint(1, server.url, "add", "-P", "7") == "control.py: There is no parent 7.\n"


def test_an_argument_that_is_no_text_is_refused(server: Scripted) -> None:
    assert "not Unicode" in complaint(1, server.url, "add", "-t", os.fsdecode(b"\xff"))
    assert server.sent() == []


def test_verbose_shows_the_requests(server: Scripted) -> None:
    server.on("PUT", "/api/jobs", 12)
    run = control("-v", server.url, "add")
    assert (run.stdout, run.stderr) == ("12\n", f"PUT {server.url}/api/jobs\n")


def test_help_names_every_action() -> None:
    text = printed("--help")
    for action in ACTIONS:
        assert f"\n  {action} " in text


def test_a_reader_that_leaves_ends_it_quietly(server: Scripted) -> None:
    server.on("GET", "/api/jobs", [job(1)])
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as nobody:
        run = subprocess.run(
            [sys.executable, str(CONTROL), server.url, "list"],
            stdout=nobody, stderr=subprocess.PIPE, timeout=DEADLINE, env=environment(),
        )  # fmt: skip
    assert (run.returncode, run.stderr) == (130, b"")


def test_ctrl_c_ends_it_quietly(server: Scripted) -> None:
    server.on("GET", "/api/jobs/3", job(3, state="WORKING"))
    with subprocess.Popen(
        [sys.executable, str(CONTROL), server.url, "wait", "3"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
    ) as waiting:  # fmt: skip
        assert server.asked.wait(DEADLINE)
        waiting.send_signal(signal.SIGINT)
        out, err = waiting.communicate(timeout=DEADLINE)
    assert (waiting.returncode, out, err) == (130, b"", b"")
