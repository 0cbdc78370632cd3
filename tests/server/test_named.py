"""An error names what is wrong: the field, in a list also whose."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.builders import Api

LONG = "x" * 100_000


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("PUT", "jobs", {"comand": "x"}, "comand"),
        ("PUT", "jobs", {LONG: "x"}, "x" * 100 + "..."),
        ("PUT", "jobs", [{}, {"comand": "x"}], "[1].comand"),
        ("PUT", "jobs", {"children": [{}, {"retry": -1}]}, "children[1].retry"),
        ("PUT", "jobs", {"dependencies": "1;2"}, "dependencies"),
        ("PUT", "jobs", {"dependencies": [10**15]}, "dependencies"),
        ("PUT", "jobs", {"parent": "nobody"}, "parent"),
        ("PUT", "jobs", {"parent": 10**15}, "parent"),
        ("PUT", "jobs", {"progress_pattern": "("}, "progress_pattern"),
        ("PUT", "jobs", {"globalprogress": "%percent("}, "globalprogress"),
        ("PUT", "jobs", {"command": "a\0b"}, "command"),
        ("PUT", "jobs", {"children": [{"environment": {"A": "\0"}}]}, "children[0].environment.A"),
        ("POST", "jobs", {"3": {"priorty": 5}}, "3.priorty"),
        ("POST", "jobs", {"1": {}, "3": {"priority": "x"}}, "3.priority"),
        ("POST", "jobs", {"3": {"dir": "a\0"}}, "3.dir"),
        ("POST", "jobs", {"x": {}}, "x"),
        ("POST", "resetjobs", ["x"], "x"),
        ("POST", "workers", {"w": {"name": "x"}}, "w.name"),
    ],
)  # fmt: skip
def test_the_field_that_is_wrong_is_named(
    api: Api, method: str, path: str, body: Any, field: str
) -> None:
    answer = api.ask(method, f"/api/{path}", body)
    error = answer.json()["error"]
    assert answer.status_code == 400, error
    assert error["detail"]["field"] == field
    assert len(answer.text) < 1000


def test_a_backslash_before_what_looks_like_a_nul_is_none(api: Api) -> None:
    job = api.put(rb'{"command": "echo \\u0000 \\\\u0000"}')
    assert api.get(f"jobs/{job}")["command"] == r"echo \u0000 \\u0000"
