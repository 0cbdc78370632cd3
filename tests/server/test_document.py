"""The API's document is valid, says everything, and is true."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from coalition.cli import programs
from coalition.server import site  # noqa: F401 - which knows all modules of routes
from coalition.server.reference.examples import EXAMPLES
from coalition.server.reference.schemas import PLACE
from coalition.server.routes import routes
from tests.server.builders import Api

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance,negative_data_rejection,"
    "unsupported_method"
)

REFUSALS = """
[checks.negative_data_rejection]
expected-statuses = [400, 404, 405, 409, 413]
"""
"""What is malformed may be too large before anybody sees that."""


@pytest.fixture(scope="module")
def document(server: Api) -> dict[str, Any]:
    answer = server.ask("GET", "/api/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    made: dict[str, Any] = answer.json()
    return made


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    validate(document)


def test_every_route_but_the_workers_own_is_in_the_document_with_an_example(
    document: dict[str, Any],
) -> None:
    told = {(method.upper(), path) for path, one in document["paths"].items() for method in one}
    public = {(one.method, one.path) for one in routes() if not one.path.startswith("/workers/")}
    assert told == public
    assert public == {*EXAMPLES}


def test_every_field_and_parameter_is_described(document: dict[str, Any]) -> None:
    fields = [
        (name, field)
        for name, schema in document["components"]["schemas"].items()
        for field, one in schema.get("properties", {}).items()
        if not one.get("description")
    ]
    parameters = [
        (path, one["name"])
        for path, methods in document["paths"].items()
        for operation in methods.values()
        for one in operation["parameters"]
        if not one["description"]
    ]
    assert fields == parameters == []


def test_the_document_knows_trees_the_stream_and_an_ill_server(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["NewJob"]["properties"]["children"]["items"] == {"$ref": f"{PLACE}NewJob"}
    assert {"jobs", "workers", "runs", "more"} == set(schemas["Changed"]["properties"])
    ill = document["paths"]["/health"]["get"]["responses"]["503"]
    assert ill["content"]["application/json"]["schema"] == {"$ref": f"{PLACE}Health"}
    for path, name in (("/api/jobs/{id}/log", "Range"), ("/api/stream", "Last-Event-ID")):
        named = [one["name"] for one in document["paths"][path]["get"]["parameters"]]
        assert name in named


def test_what_changes_something_may_be_kept_though_the_answer_is_503(
    document: dict[str, Any],
) -> None:
    for path, method in (("/api/jobs", "put"), ("/api/workers", "post"), ("/json/addjob", "get")):
        told = document["paths"][path][method]["responses"]["503"]["description"]
        assert "not_durable" in told
    looking = document["paths"]["/api/jobs"]["get"]["responses"]["503"]["description"]
    assert "not_durable" not in looking
    assert "not_durable" in document["info"]["description"]


def test_the_page_shows_every_route_and_type_and_needs_nothing_from_elsewhere(
    server: Api, document: dict[str, Any]
) -> None:
    answer = server.ask("GET", "/api/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for path, methods in document["paths"].items():
        assert path in answer.text
        for operation in methods.values():
            assert f'id="{operation["operationId"]}"' in answer.text
    for name in document["components"]["schemas"]:
        assert f'<article id="{name}"' in answer.text
    assert "http://" not in answer.text.replace("http://example", "")
    assert "https://" not in answer.text and "<script" not in answer.text
    assert server.ask("GET", "/css/reference.css").status_code == 200


def test_schemathesis_finds_no_fault_and_no_undocumented_answer(
    free_port: int, tmp_path: Path
) -> None:
    """All phases over the whole document; the stream, which never ends, has tests of its own."""
    (tmp_path / "schemathesis.toml").write_text(REFUSALS)
    arguments = [
        *("--phases", "examples,coverage,fuzzing,stateful"),
        *("--checks", CHECKS),
        *("--max-examples", "4"),
        *("--exclude-path", "/api/stream"),
        *("--suppress-health-check", "all"),
        *("--request-timeout", "30"),
        "--generation-deterministic",
        "--continue-on-failure",
    ]
    with programs.server(tmp_path, free_port):
        url = f"http://127.0.0.1:{free_port}/api/openapi.json"
        ran = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "run", url, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert programs.answers(f"http://127.0.0.1:{free_port}/health")
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in ran.stdout, ran.stdout[-5000:]
