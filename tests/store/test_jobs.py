"""What is written of jobs is what is read, on every database."""

from __future__ import annotations

import itertools
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from coalition.core.model import Job
from coalition.errors import StoreError
from coalition.store import loading
from coalition.store.engine import Store, open_store
from coalition.store.writing import snapshot, write
from tests.store.builders import (
    NOW,
    changes,
    events,
    ids,
    jobs_below,
    load_all,
    make_job,
    make_run,
    make_worker,
    save,
    shown,
)

TEXTS = (
    "title", "command", "dir", "environment", "affinity", "user", "url", "progress_pattern",
    "globalprogress",
)  # fmt: skip
TIMES = ("timeout", "start_time", "duration")
KEPT = (*TEXTS, *TIMES, "priority", "retry", "paused", "exclusive", "scratch", "state", "worker",
        "run_done", "progress", "local_progress")  # fmt: skip

new_ids = itertools.count(1)

texts = some.one_of(
    some.text(),  # no half of a surrogate pair
    some.text(alphabet="'\"\\%\n\r\t\0;`:?{}[] é日🎬", max_size=40),
)
seconds = some.floats(0, 1e12, allow_nan=False)
parts = some.none() | some.floats(0, 1)
values = some.fixed_dictionaries(
    {
        **dict.fromkeys(TEXTS, texts),
        **dict.fromkeys(TIMES, seconds),
        "priority": some.integers(),
        "retry": some.integers(0, 2**63 - 1),
        "paused": some.booleans(),
        "exclusive": some.booleans(),
        "scratch": some.booleans(),
        "state": some.sampled_from(["WAITING", "PENDING", "FINISHED", "ERROR"]),
        "worker": some.text(alphabet="ab'\\ \0é🎬", max_size=255),
        "run_done": some.integers(0, 1000),
        "progress": parts,
        "local_progress": parts,
    }
)


def stored(store: Store, id: int) -> Job:
    with store.reading() as connection:
        ((job, _, _),) = loading.load_trees(connection, [id]).jobs
    return job


@given(values, values)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_every_value_of_a_job_survives(
    store: Store, first: dict[str, Any], second: dict[str, Any]
) -> None:
    job = make_job(next(new_ids), **first)
    save(store, new_jobs=[job])
    assert {name: getattr(stored(store, job.id), name) for name in KEPT} == first

    for name, value in second.items():
        setattr(job, name, value)
    save(store, edited_jobs=[job])
    assert {name: getattr(stored(store, job.id), name) for name in KEPT} == second


def test_a_very_long_command_survives(store: Store) -> None:
    job = make_job(1, command="render 'ü' \\\n" * 200_000)
    save(store, new_jobs=[job, make_job(2, title="the next")])
    assert stored(store, 1).command == job.command
    assert stored(store, 2).title == "the next"


def test_a_job_is_shown_with_the_names_of_the_api(store: Store) -> None:
    job = make_job(7, title="frame 7", command="render", timeout=30, retry=2, user="anna")
    save(store, new_jobs=[job])
    assert shown(store, 7) == {
        "id": 7, "parent": 0, "title": "frame 7", "command": "render", "dir": ".",
        "environment": "", "state": "WAITING", "paused": 0, "worker": "", "start_time": 0,
        "duration": 0, "run_done": 0, "retry": 2, "timeout": 30, "priority": 1000, "affinity": "",
        "user": "anna", "finished": 0, "errors": 0, "working": 0, "total": 0, "total_finished": 0,
        "total_errors": 0, "total_working": 0, "url": "", "progress": None, "local_progress": None,
        "progress_pattern": "", "globalprogress": "", "is_group": 0, "exclusive": 0,
        "scratch": 0, "dependencies": [],
    }  # fmt: skip
    assert shown(store, 8) is None


def test_a_change_of_state_leaves_everything_else(store: Store) -> None:
    job = make_job(1, title="it's", command="50%")
    save(store, new_jobs=[job])
    job.title = "not saved by a change of state"
    job.state, job.worker, job.start_time, job.progress = "WORKING", "sun-1", NOW + 0.25, 0.5
    save(store, jobs=[job])
    answer = shown(store, 1, now=NOW + 10)
    assert answer is not None
    assert (answer["title"], answer["command"]) == ("it's", "50%")
    assert (answer["state"], answer["worker"], answer["progress"]) == ("WORKING", "sun-1", 0.5)
    assert (answer["start_time"], answer["duration"]) == (NOW + 0.25, 9.75)


def test_a_group_keeps_its_counters_and_its_own_duration(store: Store) -> None:
    group = make_job(1, state="WORKING", start_time=NOW, duration=4.5)
    child = make_job(2, group)
    assert group.group is not None
    group.group.total, group.group.working, group.group.total_errors = 10, 3, 2
    save(store, new_jobs=[group, child])
    answer = shown(store, 1, now=NOW + 100)
    assert answer is not None
    assert (answer["is_group"], answer["total"], answer["working"]) == (1, 10, 3)
    assert (answer["total_errors"], answer["duration"]) == (2, 4.5)
    assert ids(store, 1) == [2]


def test_many_changed_jobs_all_arrive(store: Store) -> None:
    group = make_job(1)
    children = [make_job(id, group) for id in range(2, 3000)]
    save(store, new_jobs=[group, *children])
    for child in children:
        child.state, child.run_done = "FINISHED", child.id
    save(store, jobs=children[::-1])
    with store.reading() as connection:
        answers = jobs_below(connection, 1)
    assert all(answer["run_done"] == answer["id"] for answer in answers)
    assert {answer["state"] for answer in answers} == {"FINISHED"}


def test_a_deleted_job_is_gone_with_its_dependencies_both_ways(store: Store) -> None:
    first, second, third = (make_job(id) for id in (1, 2, 3))
    second.dependencies, third.dependencies = (first,), (second, first)
    save(store, new_jobs=[first, second, third], dependencies=[second, third])
    save(store, deleted_jobs=[2], jobs=[second], edited_jobs=[second])
    assert ids(store) == [1, 3]
    assert load_all(store).dependencies == [(3, 1)]


def test_dependencies_are_replaced_not_added(store: Store) -> None:
    first, second, third = (make_job(id) for id in (1, 2, 3))
    third.dependencies = (first,)
    save(store, new_jobs=[first, second, third], dependencies=[third])
    third.dependencies = (second,)
    save(store, dependencies=[third])
    answer = shown(store, 3)
    assert answer is not None and answer["dependencies"] == [2]


def test_a_job_that_is_not_there_is_not_made_by_a_change(store: Store) -> None:
    save(store, new_jobs=[make_job(1)])
    save(store, jobs=[make_job(2, state="ERROR")], edited_jobs=[make_job(3)])
    assert ids(store) == [1]


def test_writing_a_batch_again_after_an_unclear_failure_does_no_harm(store: Store) -> None:
    first, second = make_job(1), make_job(2)
    second.dependencies = (first,)
    batch = snapshot(
        changes(
            new_jobs=[first, second],
            dependencies=[second],
            new_runs=[make_run(1, first)],
            workers=[make_worker("sun-1", affinity="A\nB")],
            affinities={1: "LINUX"},
            submissions={1: (1, 2)},
        )
    )
    write(store, batch)
    before = (ids(store), events(store), shown(store, 2))
    write(store, batch)
    assert (ids(store), events(store), shown(store, 2)) == before


def test_a_text_that_no_database_takes_is_refused_with_the_whole_batch(store: Store) -> None:
    with pytest.raises(StoreError):
        save(store, new_jobs=[make_job(1), make_job(2, title="half a \ud83c pair")])
    assert ids(store) == []
    save(store, new_jobs=[make_job(1)])
    assert ids(store) == [1]


def test_a_name_that_is_too_long_for_the_table_is_no_outage(mysql_url: str) -> None:
    store = open_store(mysql_url)
    store.prepare()
    with closing(store), pytest.raises(StoreError) as caught:
        save(store, new_jobs=[make_job(1, worker="x" * 256)])
    assert type(caught.value) is StoreError


def test_ids_never_come_back_after_the_newest_job_was_deleted(store: Store) -> None:
    save(store, new_jobs=[make_job(id) for id in range(1, 6)])
    save(store, deleted_jobs=[4, 5])
    assert load_all(store).next_job == 6


def test_a_job_that_came_and_went_in_one_batch_has_used_its_id(store: Store) -> None:
    job = make_job(9)
    save(store, new_jobs=[job], jobs=[job], deleted_jobs=[9])
    assert ids(store) == []
    assert load_all(store).next_job == 10
