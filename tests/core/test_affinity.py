"""Which jobs a worker is given, by the words of jobs, groups and workers."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from coalition.core.affinity import MOST_KNOWN, Line, join, parse_words
from tests.core.builders import farm, group, order, submit, worker


@pytest.mark.parametrize(
    ("job", "line", "runs"),
    [
        ("LINUX,24GB", "LINUX,24GB", True),
        ("LINUX,24GB", "LINUX,24GB,GL", True),
        ("LINUX,24GB", "24GB,LINUX", True),
        ("LINUX,24GB", "LINUX", False),
        ("LINUX,24GB", "24GB", False),
        ("LINUX,24GB", "", False),
        ("", "LINUX", True),
        ("", "", True),
        (" LINUX , 24GB ", "LINUX,24GB", True),
        (",", "", True),
        ("linux", "LINUX", False),
    ],
)
def test_a_job_runs_where_one_line_of_the_worker_has_all_its_words(
    job: str, line: str, runs: bool
) -> None:
    f = farm()
    wanted = submit(f, affinity=job)

    assert order(f, worker(f, affinity=line)) == ([wanted] if runs else [])
    f.check_invariants()


def test_words_of_two_lines_do_not_add_up() -> None:
    f = farm()
    submit(f, affinity="LINUX,GL")

    assert order(f, worker(f, affinity="LINUX\nGL")) == []


def test_the_words_of_all_groups_above_are_asked_for_too() -> None:
    f = farm()
    inner = group(f, group(f, affinity="LINUX"), affinity="24GB")
    job = submit(f, inner, affinity="GL")

    for line in ("GL", "LINUX,GL", "24GB,GL", "LINUX,24GB"):
        assert order(f, worker(f, line, line)) == []
    assert order(f, worker(f, "all", "LINUX,24GB,GL")) == [job]


def test_a_worker_tries_its_lines_in_order_and_then_jobs_without_affinity() -> None:
    f = farm()
    plain = submit(f, priority=10**9)
    second = submit(f, affinity="B", priority=2000)
    first = submit(f, affinity="A")

    assert order(f, worker(f, affinity="A\nB")) == [first, second, plain]


def test_one_comma_list_of_an_old_worker_is_one_line() -> None:
    f = farm()
    jobs = [submit(f, affinity=words) for words in ("A", "B", "A,B", "")]

    assert order(f, worker(f, affinity="A,B")) == jobs


def test_any_number_of_words_may_be_used_without_declaring_them() -> None:
    f = farm()
    jobs = [submit(f, affinity=f"word{number},all") for number in range(300)]

    assert order(f, worker(f, affinity="word17,word290,all")) == [jobs[17], jobs[290]]


def test_new_words_of_a_group_count_at_once() -> None:
    f = farm()
    render = group(f)
    job = submit(f, render)
    f.on_edit({render.id: {"affinity": "GPU"}}, 0)

    assert order(f, worker(f, "plain")) == []
    assert order(f, worker(f, "fast", "GPU")) == [job]


def test_new_lines_of_a_worker_count_at_once() -> None:
    f = farm()
    job = submit(f, affinity="GPU")
    w = worker(f)
    assert order(f, w) == []
    f.on_edit_workers({"w": {"affinity": "CPU\nGPU"}}, 0)

    assert order(f, w) == [job]


def test_what_a_worker_announces_counts_only_where_nobody_has_said_otherwise() -> None:
    f = farm()
    w = worker(f, affinity="A")
    f.on_edit_workers({"w": {"affinity": "B"}}, 0)
    f.on_announce(w, "A")

    assert w.affinity == "B"


def test_words_that_are_new_with_every_job_do_not_fill_the_memory() -> None:
    line = Line(parse_words("A,B"))
    gc.collect()
    tracemalloc.start()
    for number in range(3 * MOST_KNOWN):
        own = parse_words(f"SHOT{number}")
        assert not line.holds(join(own, parse_words("A")))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < MOST_KNOWN * 3000
