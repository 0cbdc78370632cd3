"""What the lists, searches and histories of the API show."""

from __future__ import annotations

from coalition.store import reading
from coalition.store.engine import Store
from coalition.store.listing import ALL
from coalition.store.writing import delete_jobs
from tests.store.builders import (
    NOW,
    dependencies,
    events,
    ids,
    jobs_below,
    make_job,
    make_run,
    make_worker,
    save,
    shown,
)


def test_a_paused_job_shows_paused_whatever_its_state(store: Store) -> None:
    save(store, new_jobs=[make_job(1, paused=True, state="FINISHED")])
    answer = shown(store, 1)
    assert answer is not None and (answer["state"], answer["paused"]) == ("PAUSED", 1)


def test_seconds_are_shown_to_the_millisecond(store: Store) -> None:
    save(store, new_jobs=[make_job(1, start_time=NOW + 0.12349, duration=1.00051, timeout=1.5)])
    answer = shown(store, 1)
    assert answer is not None
    assert (answer["start_time"], answer["duration"]) == (NOW + 0.123, 1.001)
    assert answer["timeout"] == 1.5


def test_jobs_of_a_submission_that_is_not_complete_are_not_shown(store: Store) -> None:
    group, before = make_job(1), make_job(2)
    inside = [make_job(id, group) for id in (3, 4, 5)]
    before.dependencies = (inside[0],)
    jobs = [group, before, *inside]
    save(store, new_jobs=jobs, dependencies=[before, inside[1]], submissions={1: (3, 4)})
    with store.reading() as connection:
        shown = jobs_below(connection, 1)
        assert [job["id"] for job in shown] == [5]
        assert reading.job(connection, 4, NOW) is None
        assert dependencies(connection, 2) == []
    save(store, submissions={1: None, 2: (1, 4)})
    with store.reading() as connection:
        assert reading.find_title(connection, "") == 5


def test_dependencies_are_shown_as_jobs_and_as_pairs(store: Store) -> None:
    group = make_job(1)
    first, second, third = (make_job(id, group) for id in (2, 3, 4))
    third.dependencies = (second, first)
    save(store, new_jobs=[group, first, second, third], dependencies=[third])
    with store.reading() as connection:
        shown = dependencies(connection, 4)
        pairs = reading.children_dependencies(connection, 1)
    assert [job["id"] for job in shown] == [2, 3]
    assert pairs == [(4, 2), (4, 3)]


def test_a_path_follows_exact_titles_and_the_oldest_of_equals(store: Store) -> None:
    top, other = make_job(1, title="film"), make_job(2, title="film")
    wanted, deep = make_job(3, top, title="Shot 1"), make_job(4, other, title="render")
    jobs = [top, other, wanted, deep, make_job(5, top, title="shot 1 ")]
    save(store, new_jobs=jobs)
    with store.reading() as connection:
        assert reading.find_path(connection, ["film"]) == 1
        assert reading.find_path(connection, ["film", "Shot 1"]) == 3
        assert reading.find_path(connection, ["film", "shot 1"]) is None
        assert reading.find_path(connection, ["film", "render"]) is None
        assert reading.find_path(connection, []) is None


def test_titles_are_compared_with_case_accents_and_spaces(store: Store) -> None:
    titles = ("render", "Render", "render ", "rénder", "100%")
    save(store, new_jobs=[make_job(id, title=title) for id, title in enumerate(titles, 1)])
    with store.reading() as connection:
        found = [reading.find_title(connection, title) for title in titles]
        assert found == [1, 2, 3, 4, 5]
        assert reading.find_title(connection, "100_") is None


def test_events_are_those_of_a_job_of_a_worker_and_of_a_time(store: Store) -> None:
    first, second = make_job(1, title="one"), make_job(2, title="two")
    runs = [
        make_run(1, first, "sun-1", state="ERROR", duration=2.0004, code=-9),
        make_run(2, first, "sun-2", start=NOW + 60),
        make_run(3, second, "sun-1", start=NOW + 120),
    ]
    save(store, new_jobs=[first, second], new_runs=runs)
    assert [event["id"] for event in events(store)] == [1, 2, 3]
    assert [event["id"] for event in events(store, job_id=(1,))] == [1, 2]
    assert [event["id"] for event in events(store, worker=("sun-1",))] == [1, 3]
    assert [event["id"] for event in events(store, worker=("sun-1",), since=NOW + 1)] == [3]
    assert events(store, job_id=(1,))[0] == {
        "id": 1, "worker": "sun-1", "job_id": 1, "job_title": "one", "state": "ERROR",
        "start": NOW, "duration": 2.0, "code": -9,
    }  # fmt: skip


def test_a_run_that_is_only_handed_ahead_is_shown_to_nobody(store: Store) -> None:
    job = make_job(1)
    save(store, new_jobs=[job], new_runs=[make_run(1, job), make_run(2, job, state="RESERVED")])
    for condition in ({}, {"job_id": (1,)}, {"worker": ("sun-1",)}, {"since": 0}, {"since": -1}):
        assert [event["id"] for event in events(store, **condition)] == [1]


def test_workers_are_shown_with_their_lines(store: Store) -> None:
    worker = make_worker("sun-1", node="sun", ip="10.0.0.1", affinity="LINUX,GL\nLINUX")
    worker.run = make_run(5, make_job(1))
    save(store, workers=[worker, make_worker("moon", active=False)])
    with store.reading() as connection:
        moon, sun = reading.workers(connection)
    assert sun == {
        "name": "sun-1", "node": "sun", "start_time": NOW, "ip": "10.0.0.1", "state": "WAITING",
        "finished": 0, "error": 0, "last_job": -1, "current_event": 5, "active": 1,
        "affinity": "LINUX,GL\nLINUX", "host": "", "os": "", "cores": 0, "memory": 0,
        "version": "", "draining": 0,
    }  # fmt: skip
    assert (moon["active"], moon["current_event"], moon["affinity"]) == (0, -1, "")


def test_affinities_are_shown_by_number(store: Store) -> None:
    save(store, affinities={1: "LINUX", 12: "GL"})
    save(store, affinities={12: "OPENGL"})
    with store.reading() as connection:
        assert reading.affinities(connection) == {"1": "LINUX", "12": "OPENGL"}


def test_readers_see_the_old_state_while_a_batch_is_being_written(store: Store) -> None:
    save(store, new_jobs=[make_job(1), make_job(2)])
    with store.writing() as connection:
        delete_jobs(connection, [1])
        assert shown(store, 1) is not None
        assert shown(store, 2) is not None
    assert shown(store, 1) is None


def test_a_list_and_its_total_are_of_one_moment(store: Store) -> None:
    save(store, new_jobs=[make_job(1)])
    with store.reading() as connection:
        total, rows = reading.jobs(connection, NOW, ALL)
        save(store, new_jobs=[make_job(2)])
        assert [total, len(list(rows))] == [1, 1]
        assert reading.job(connection, 2, NOW) is None


def test_what_is_written_is_seen_by_whoever_reads_next(store: Store) -> None:
    for id in (1, 2, 3):
        save(store, new_jobs=[make_job(id)])
        assert ids(store) == list(range(1, id + 1))
