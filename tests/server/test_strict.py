"""Which JSON counts as ambiguous: any in which an object has a key twice, and no other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalition.errors import BadRequest
from coalition.server import strict

keys = st.one_of(st.sampled_from(["a", "b", '"', "\\", "{", '":', "é", ""]), st.text(max_size=3))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), keys),
    lambda below: st.one_of(
        st.lists(below, max_size=4),
        st.lists(st.tuples(keys, below), max_size=4).map(lambda pairs: ("object", pairs)),
    ),
    max_leaves=20,
)


def written(value: Any, plain: bool) -> str:
    """Write a value as JSON; objects are pairs, so that a key may stand there twice."""
    if isinstance(value, tuple):
        pairs = (f"{json.dumps(k, ensure_ascii=plain)} : {written(v, plain)}" for k, v in value[1])
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(written(one, plain) for one in value) + "]"
    return json.dumps(value, ensure_ascii=plain)


def is_ambiguous(text: str) -> bool:
    found: list[bool] = []
    json.loads(text, object_pairs_hook=lambda pairs: found.append(len(dict(pairs)) < len(pairs)))
    return any(found)


@given(values, st.booleans())
def test_an_object_with_a_key_twice_is_found_wherever_it_stands(value: Any, plain: bool) -> None:
    text = written(value, plain)
    try:
        list(strict.check_keys(text.encode()))
        refused = False
    except BadRequest:
        refused = True

    assert refused == is_ambiguous(text)


def test_an_object_of_more_keys_than_any_request_needs_is_refused() -> None:
    body = json.dumps(dict.fromkeys(map(str, range(strict.MOST_KEYS + 1)))).encode()
    with pytest.raises(BadRequest, match="more than 200000 keys"):
        list(strict.check_keys(body))
