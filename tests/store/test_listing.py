"""Parts of lists, chosen in the database by what is shown of its rows."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import pytest

from coalition.store import reading
from coalition.store.engine import Store
from tests.store.builders import NOW, asked, make_job, save

PRIORITIES = [
    0,
    9,
    10,
    -9,
    -10,
    255,
    10**18,
    -(10**18),
    10**25,
    10**25 + 1,
    -(10**25),
    -(10**25) - 1,
]


def test_priorities_without_limits_are_compared_as_numbers(store: Store) -> None:
    random.Random(1).shuffle(PRIORITIES)
    save(store, new_jobs=[make_job(id, priority=p) for id, p in enumerate(PRIORITIES, 1)])

    def shown(*order: str, **wanted: Any) -> list[int]:
        with store.reading() as connection:
            rows = reading.jobs(connection, NOW, asked(*order, **wanted))[1]
            return [row["priority"] for row in rows]

    assert shown("priority") == sorted(PRIORITIES)
    assert shown("-priority") == sorted(PRIORITIES, reverse=True)
    for bound, shift in product(PRIORITIES, (-1, 0, 1)):
        bound += shift
        assert set(shown(priority_min=bound)) == {p for p in PRIORITIES if p >= bound}
        assert set(shown(priority_max=bound)) == {p for p in PRIORITIES if p <= bound}
        assert shown(priority=(bound,)) == [p for p in PRIORITIES if p == bound]


def test_no_whole_number_is_equal_to_a_fraction(store: Store) -> None:
    save(store, new_jobs=[make_job(id, retry=id - 2) for id in (1, 2, 3, 4)])

    def found(**wanted: Any) -> list[int]:
        with store.reading() as connection:
            return [job["retry"] for job in reading.jobs(connection, NOW, asked(**wanted))[1]]

    assert found(retry=(0.5,)) == found(retry=(-0.5, 1.5)) == []
    assert found(retry=(0.5, 2.0)) == [2]
    assert found(retry_min=0.5) == found(retry_min=0.1) == [1, 2]
    assert found(retry_max=0.5) == found(retry_max=0.9) == [-1, 0]
    assert found(retry_min=-0.5) == [0, 1, 2]


def test_one_of_thousands_of_values_is_found(store: Store) -> None:
    save(store, new_jobs=[make_job(id, priority=id, user=str(id)) for id in (1, 2, 9000)])
    many = range(2, 8002)
    for wanted in ({"id": many}, {"priority": many}, {"user": map(str, many)}):
        question = asked(**{name: tuple(values) for name, values in wanted.items()})
        with store.reading() as connection:
            total, rows = reading.jobs(connection, NOW, question)
            assert [total, *(job["id"] for job in rows)] == [1, 2]


@pytest.mark.parametrize(
    ("title", "part"),
    [
        ("Äpfel", "äPF"),
        ("Ωmega", "ωM"),
        ("ΔΣΔ", "Δ\N{GREEK SMALL LETTER SIGMA}"),
        ("ΔΣΔ", "δΣ"),
        ("Straße", "AßE"),
        ("İstanbul", "iS"),
        ("ẞ", "ẞ"),
        ("𐐀", "𐐀"),
        ("a\0Sea", "SEA"),
        ("a\0b", "\0B"),
        (r"100%_\\", r"%_\\"),
    ],
)
def test_a_part_of_a_title_is_found_in_large_and_small_letters(
    store: Store, title: str, part: str
) -> None:
    save(store, new_jobs=[make_job(1, title=title), make_job(2, title="beside")])
    with store.reading() as connection:
        found = list(reading.jobs(connection, NOW, asked(title_contains=part))[1])
    assert [job["id"] for job in found] == [1]


def test_a_running_job_is_found_by_the_duration_that_is_shown(store: Store) -> None:
    runs = make_job(1, state="WORKING", start_time=NOW - 50, duration=0)
    done = make_job(2, state="FINISHED", start_time=NOW - 90, duration=20)
    save(store, new_jobs=[runs, done])
    with store.reading() as connection:
        longest = list(reading.jobs(connection, NOW, asked("-duration"))[1])
        over = list(reading.jobs(connection, NOW, asked(duration_min=30))[1])
    assert [(job["id"], job["duration"]) for job in longest] == [(1, 50.0), (2, 20.0)]
    assert [job["id"] for job in over] == [1]
