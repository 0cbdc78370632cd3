"""Single values of a database of Coalition 4.0, and what they become."""

from __future__ import annotations

from typing import Any

import pytest

from coalition.store.coalition40 import values
from coalition.store.coalition40.affinities import Affinities
from coalition.store.coalition40.report import Report


@pytest.mark.parametrize(
    ("stored", "meant"),
    [
        (r"C:\\new\\table", r"C:\new\table"),
        (r"one\ntwo\tthree\r", "one\ntwo\tthree\r"),
        (r"\\n", r"\n"),
        (r"it\'s \"so\"", 'it\'s "so"'),
        (r"\xc3\xa9t\xe9", "été"),
        (r"\\xc3", r"\xc3"),
        (r"C:\Users\me", r"C:\Users\me"),
        ("\\", "\\"),
        ("plain", "plain"),
    ],
)
def test_a_text_loses_the_escapes_it_was_sent_with_and_nothing_else(
    stored: str, meant: str
) -> None:
    assert values.unescape(stored) == meant


@pytest.mark.parametrize(
    ("stored", "read"),
    [(5, 5), (127.0, 127), (1.8e19, 18 * 10**18), (b"12", 12), ("7.9", 7), (None, 8), ("x", 8),
     (float("inf"), 8), (10**30, 10**30), (-3, -3)],
)  # fmt: skip
def test_a_priority_is_a_whole_number_however_it_was_kept(stored: Any, read: int) -> None:
    assert values.whole(stored, 8) == read


@pytest.mark.parametrize(
    ("stored", "read"),
    [(b"2017-07-14 02:40:00", 1_500_000_000.0), ("1500000000", 1_500_000_000.0),
     (1_500_000_000, 1_500_000_000.0), (None, 0.0), ("0000-00-00 00:00:00", 0.0)],
)  # fmt: skip
def test_the_start_of_a_worker_is_a_time_of_the_whole_world(stored: Any, read: float) -> None:
    assert values.moment(stored) == read


def test_a_bit_has_the_word_that_4_0_would_have_taken_for_it() -> None:
    names = Affinities([(1, "GL"), (2, " 24GB "), (3, "GL"), (4, "#2"), (5, "@sun")], Report())
    assert names.of_mask(0b11111) == "#1,#4,#5,24GB,GL"
    assert names.of_mask(1 << 62) == "#63"
    assert names.of_mask(0) == names.of_mask(None) == ""
    assert names.of_names("GL,24GB,,gone") == "GL,24GB,gone"
