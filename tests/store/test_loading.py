"""What a server finds in the database when it starts, and what it reads again later."""

from __future__ import annotations

from coalition.core.loading import Loaded
from coalition.core.model import Job
from coalition.store.engine import Store
from coalition.store.loading import load_trees
from tests.store.builders import (
    NOW,
    events,
    ids,
    load_all,
    loaded_ids,
    make_job,
    make_run,
    make_worker,
    save,
    stored_runs,
)


def tree(first: int, state: str = "WAITING", parent: Job | None = None) -> list[Job]:
    """A group `first` with two jobs and a group of one job: five ids."""
    top = make_job(first, parent, state=state)
    inner = make_job(first + 1, top, state=state)
    return [
        top,
        inner,
        make_job(first + 2, inner, state=state),
        make_job(first + 3, top, state=state),
        make_job(first + 4, top, state=state),
    ]


def load_some(store: Store, *wanted: int, known: frozenset[int] = frozenset()) -> Loaded:
    with store.reading() as connection:
        return load_trees(connection, wanted, known)


def test_an_empty_farm_starts_with_id_one(store: Store) -> None:
    loaded = load_all(store)
    assert (loaded.jobs, loaded.workers, loaded.runs) == ([], [], [])
    assert (loaded.next_job, loaded.next_run) == (1, 1)


def test_a_tree_with_work_is_loaded_whole_groups_first(store: Store) -> None:
    jobs = tree(1)
    jobs[4].state = "FINISHED"
    save(store, new_jobs=jobs)
    loaded = load_all(store)
    seen = {0}
    for job, parent, _ in loaded.jobs:
        assert parent in seen
        seen.add(job.id)
    assert loaded_ids(loaded) == [1, 2, 3, 4, 5]
    assert [job.id for job, _, is_group in loaded.jobs if is_group] == [1, 2]


def test_finished_trees_stay_in_the_database(store: Store) -> None:
    save(store, new_jobs=[*tree(1, "FINISHED"), *tree(11, "ERROR"), make_job(21, state="FINISHED")])
    assert loaded_ids(load_all(store)) == [11, 12, 13, 14, 15]


def test_a_finished_tree_is_loaded_when_live_work_depends_on_it(store: Store) -> None:
    oldest, old, live = tree(1, "FINISHED"), tree(11, "FINISHED"), tree(21)
    old[0].dependencies = (oldest[2],)
    live[3].dependencies = (old[4], old[0])
    save(store, new_jobs=oldest + old + live, dependencies=[old[0], live[3]])
    loaded = load_all(store)
    assert loaded_ids(loaded) == [*range(1, 6), *range(11, 16), *range(21, 26)]
    assert sorted(loaded.dependencies) == [(11, 3), (24, 11), (24, 15)]


def test_dependencies_that_circle_between_trees_are_loaded_once(store: Store) -> None:
    first, second = tree(1, "FINISHED"), tree(11)
    first[2].dependencies, second[2].dependencies = (second[3],), (first[3],)
    save(store, new_jobs=first + second, dependencies=[first[2], second[2]])
    assert loaded_ids(load_all(store)) == [*range(1, 6), *range(11, 16)]


def test_a_job_of_an_archived_tree_brings_the_whole_tree(store: Store) -> None:
    old, other = tree(1, "FINISHED"), tree(11, "FINISHED")
    old[0].dependencies = (other[2],)
    save(store, new_jobs=[*old, *other, *tree(21, "FINISHED")], dependencies=[old[0]])
    loaded = load_some(store, 3, 4, 99)
    assert loaded_ids(loaded) == [*range(1, 6), *range(11, 16)]
    assert loaded.dependencies == [(1, 13)]


def test_trees_that_are_in_memory_are_not_read_again(store: Store) -> None:
    old, live = tree(1, "FINISHED"), tree(11)
    old[2].dependencies = (live[3],)
    save(store, new_jobs=[*old, *live], dependencies=[old[2]])
    loaded = load_some(store, 1, 12, known=frozenset(range(11, 16)))
    assert loaded_ids(loaded) == [1, 2, 3, 4, 5]
    assert loaded.dependencies == [(3, 14)]


def test_a_job_that_does_not_exist_is_missing(store: Store) -> None:
    assert load_some(store, 5).jobs == []


def test_thousands_of_groups_and_dependencies_are_loaded(store: Store) -> None:
    groups = [make_job(id) for id in range(1, 2501)]
    children = [make_job(group.id + 2500, group) for group in groups]
    for child, group in zip(children[1:], groups, strict=False):
        child.dependencies = (group,)
    save(store, new_jobs=groups + children, dependencies=children)
    loaded = load_all(store)
    assert loaded_ids(loaded) == list(range(1, 5001))
    assert len(list(loaded.dependencies)) == 2499


def test_a_submission_that_was_cut_short_is_taken_back(store: Store) -> None:
    before, after = make_job(1), make_job(9)
    inside = [make_job(id) for id in (2, 3, 4)]
    after.dependencies = (inside[0],)
    save(store, new_jobs=[before])
    save(store, submissions={1: (2, 8)}, new_jobs=[*inside, after], dependencies=[after])
    loaded = load_all(store)
    assert loaded_ids(loaded) == ids(store) == [1, 9]
    assert loaded.dependencies == []
    assert loaded.next_job == 10
    save(store, new_jobs=[make_job(10)])
    assert loaded_ids(load_all(store)) == [1, 9, 10]


def test_a_complete_submission_stays(store: Store) -> None:
    save(store, submissions={1: (1, 2)}, new_jobs=[make_job(1)])
    save(store, submissions={1: None}, new_jobs=[make_job(2)])
    assert loaded_ids(load_all(store)) == [1, 2]


def test_running_jobs_come_with_their_runs(store: Store) -> None:
    job, worker = make_job(1, state="WORKING"), make_worker("sun-1", state="WORKING")
    old, run = make_run(1, job, state="ERROR"), make_run(2, job)
    worker.run = run
    save(store, new_jobs=[job], new_runs=[old, run], workers=[worker])
    assert load_all(store).runs == [(2, 1, "sun-1", run.start, "WORKING")]


def test_runs_that_were_handed_ahead_come_with_those_that_go_on(store: Store) -> None:
    busy, waiting = make_job(1, state="WORKING"), make_job(2)
    ahead = make_run(2, waiting, "sun-2", state="RESERVED")
    save(store, new_jobs=[busy, waiting], new_runs=[make_run(1, busy), ahead])
    assert load_all(store).runs == [
        (1, 1, "sun-1", NOW, "WORKING"),
        (2, 2, "sun-2", 0, "RESERVED"),
    ]
    assert load_all(store).next_run == 3


def test_what_was_handed_ahead_for_a_job_that_is_gone_is_forgotten(store: Store) -> None:
    gone, ended = make_job(1), make_job(2, state="FINISHED")
    ahead = [make_run(id, job, state="RESERVED") for id, job in enumerate((gone, ended), 1)]
    save(store, new_jobs=[ended], new_runs=ahead)
    for _ in range(2):
        assert load_all(store).runs == []
    assert (stored_runs(store), load_all(store).next_run) == ([], 3)


def test_runs_that_are_being_ended_are_known_until_they_are(store: Store) -> None:
    job, other = make_job(1), make_job(2)
    runs = [make_run(1, job, state="STOPPED"), make_run(2, other, "sun-2", state="ERROR")]
    runs[0].worker.node = "sun"
    save(store, new_jobs=[job, other], new_runs=runs, endings=dict(enumerate(runs, 1)))
    assert load_all(store).endings == [(1, 1, "sun-1", "sun"), (2, 2, "sun-2", "")]
    save(store, endings={1: None})
    assert load_all(store).endings == [(2, 2, "sun-2", "")]


def test_runs_left_open_by_nobody_are_closed_as_lost(store: Store) -> None:
    idle, busy = make_job(1), make_job(2, state="WORKING")
    worker = make_worker("sun-1")
    worker.run = make_run(1, idle)
    save(store, new_jobs=[idle, busy], workers=[worker])
    save(store, new_runs=[worker.run, make_run(2, busy), make_run(3, busy, "sun-2")])
    assert [number for number, *_ in load_all(store).runs] == [3]
    assert [event["state"] for event in events(store)] == ["LOST", "LOST", "WORKING"]


def test_the_affinity_table_is_loaded(store: Store) -> None:
    save(store, affinities={2: "GL"})
    assert load_all(store).affinities == {2: "GL"}
