"""How far a run is, as its log tells."""

from __future__ import annotations

import re
import time

import pytest

from coalition.core.progress import Meter
from coalition.errors import BadRequest
from coalition.server.joblog import check_patterns, compile_pattern


def meter(local: str = "", whole: str = "") -> Meter:
    return Meter(local, whole, compile_pattern)


def last(meter: Meter, *chunks: bytes) -> float | None:
    told = [value for value, _ in map(meter.feed, chunks) if value is not None]
    return told[-1] if told else None


@pytest.mark.parametrize(
    ("pattern", "log", "progress"),
    [
        ("%percent", "25", 0.25),
        (r"\(%percent\)", "(50)", 0.5),
        ("(%percent)", "(50)", 0.5),
        ("%one", "0.75", 0.75),
        ("P:%one", "P:1", 1.0),
        ("%percent", "12.5", 0.125),
        ("%one", ".5", 0.5),
        ("frame %percent of", "frame 3 of 100", 0.03),
        ("done: %percent%", "done: 40%", 0.4),
        ("%percent", "250", 1.0),
        ("P:%one", "nothing here", None),
        ("[0-9]+/%percent", "7/30", 0.3),
        ("(?i)progress %percent", "PROGRESS 30", 0.3),
        ("frames?: %percent", "frame: 30", 0.3),
        ("steps*: %percent", "step: 30", 0.3),
        ("step{0}: %percent", "ste: 30", 0.3),
        ("steps+: %percent", "stepss: 30", 0.3),
        ("done|at %percent", "at 30", 0.3),
    ],
)
def test_a_pattern_finds_a_number_in_the_log(
    pattern: str, log: str, progress: float | None
) -> None:
    assert last(meter(whole=pattern), log.encode()) == (
        None if progress is None else pytest.approx(progress)
    )


def test_the_last_match_wins() -> None:
    assert last(meter(whole="P:%percent"), b"P:10\nP:90 P:25\n", b"nothing\n") == 0.25


def test_without_any_pattern_the_old_one_is_understood() -> None:
    assert last(meter(), b"25%\nPROGRESS:75\n") == 0.75
    assert last(meter(whole="P:%percent"), b"PROGRESS:30\n") is None


LOG = "d\xe9but\nP:5 %\nP:12.5 %\nfin\n".encode()


@pytest.mark.parametrize("cut", range(len(LOG) + 1))
def test_a_match_is_found_wherever_the_log_is_cut(cut: int) -> None:
    assert last(meter(whole="P:%percent %"), LOG[:cut], LOG[cut:]) == 0.125


def test_a_match_is_found_when_the_log_comes_byte_by_byte() -> None:
    chunks = [bytes([byte]) for byte in LOG]

    assert last(meter(whole="P:%percent %"), *chunks) == 0.125


def test_both_levels_are_told_apart() -> None:
    both = meter(local="sample %percent", whole="frame %percent")

    assert both.feed(b"frame 25\nsample 50\n") == (0.25, 0.5)
    assert both.feed(b"sample 75\n") == (None, 0.75)
    assert both.feed(b"frame 50\n") == (0.5, None)
    assert both.feed(b"\n") == (None, None)


def test_a_local_pattern_alone_tells_the_progress_too() -> None:
    assert meter(local="%percent").feed(b"25") == (0.25, 0.25)


@pytest.mark.parametrize(
    "pattern", ["(a+)+$%percent", "(a|a)*b%percent", "(.*)*x%percent", "(a?){50}a{50}%percent"]
)
def test_a_pattern_cannot_stall_the_server(pattern: str) -> None:
    try:
        check_patterns("", pattern, "$")
    except BadRequest:
        return  # too large is an answer, too
    gauge = meter(whole=pattern)
    began = time.process_time()
    for _ in range(20):
        gauge.feed(b"a" * 50_000)

    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "pattern", ["(%percent", "no number", "%percent(?=x)", r"(x)\1%one", "*%one"]
)
def test_a_pattern_that_cannot_be_used_is_refused(pattern: str) -> None:
    with pytest.raises(BadRequest) as refused:
        check_patterns(pattern, "", "$")

    assert re.search("progress pattern", str(refused.value))


def test_bytes_that_are_no_text_do_no_harm() -> None:
    assert last(meter(whole="P:%percent"), bytes(range(256)), b"P:75\xff") == 0.75
