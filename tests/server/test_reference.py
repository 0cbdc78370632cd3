"""The examples of the API's document are a story that happens as it stands."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coalition.cli import programs
from coalition.server.reference.examples import EXAMPLES, Example
from tests.server.builders import Api

VARYING = {
    "start_time", "ping_time", "start", "duration", "ip", "farm", "version",
}  # fmt: skip
"""Fields whose values are times, addresses and identities."""

LOAD = {"load": "[12]", "free_memory": 8000, "total_memory": 16000}


@pytest.fixture
def fresh(tmp_path: Path, free_port: int) -> Iterator[Api]:
    """A server where nothing ever happened."""
    with programs.server(tmp_path, free_port):
        yield Api(f"http://127.0.0.1:{free_port}", tmp_path)


def same_for_all(value: Any, field: str = "") -> Any:
    """Give an answer without what is different each time."""
    if isinstance(value, dict):
        return {name: same_for_all(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [same_for_all(one) for one in value]
    if isinstance(value, str) and value.startswith("* RUN "):
        return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "...", value)
    # A job that never began has no time at all, and that is no chance.
    return "..." if field in VARYING and value else value


def ask(api: Api, method: str, path: str, example: Example) -> Any:
    place = path.replace("{id}", str(example.id))
    query = f"?{example.query}" if example.query else ""
    answer = api.ask(method, f"{place}{query}", example.body)
    assert answer.status_code == example.status, f"{method} {path}: {answer.text}"
    return answer.text if "text/plain" in answer.headers["content-type"] else answer.json()


def work(api: Api) -> None:
    """Do what the worker of the story does as soon as there is a job."""
    picked = api.worker("pickjob", "node-1", **LOAD)
    assert picked.startswith("(3, "), picked
    line = b64encode(b"Frame 1 done\n").decode()
    assert api.worker("heartbeat", "node-1", jobId=3, log=line, **LOAD) == "true"


def test_every_example_is_what_a_fresh_server_answers(fresh: Api) -> None:
    for (method, path), example in EXAMPLES.items():
        if not example.played:
            continue
        came = ask(fresh, method, path, example)
        if (method, path) == ("PUT", "/api/jobs"):
            work(fresh)
        assert same_for_all(came) == same_for_all(example.answer), f"{method} {path}"
