"""Which farm a server is of, and that it takes nothing that is another one's."""

from __future__ import annotations

from pathlib import Path

import msgspec

from coalition import wire
from coalition.cli import programs
from tests.server.builders import Api, report
from tests.server.test_program import server_py

OTHER = "0123456789abcdef" * 2


def told(api: Api) -> str:
    return str(api.ask("GET", "/health").json()["farm"])


def test_a_node_is_told_which_farm_it_works_for(api: Api) -> None:
    farm = told(api)
    assert api.report(report(0)).farm == farm
    assert api.report(report(0, farm=farm)).farm == farm
    assert len(farm) == 32


def test_what_another_farm_has_given_out_is_refused_and_changes_nothing(api: Api) -> None:
    job = api.put({"command": "true"})
    (start,) = api.report(report(0, farm=told(api))).start
    stray = report(0, farm=OTHER, ends=[wire.End(start.run, 3, worker="n-1")])
    answer = api.ask("POST", wire.NODE_PATH, msgspec.json.encode(stray))
    assert answer.status_code == 409
    error = answer.json()["error"]
    assert (error["code"], error["detail"]) == ("other_farm", {"farm": told(api)})
    assert api.get(f"jobs/{job}")["state"] == "WORKING"
    api.report(report(0, ends=[wire.End(start.run, worker="n-1")]))
    assert api.get(f"jobs/{job}")["state"] == "FINISHED"


def test_what_is_no_identity_is_refused(api: Api) -> None:
    for wrong in ("../lock", "0" * 31, "G" * 32, "0" * 32 + "\n"):
        answer = api.ask("POST", wire.NODE_PATH, msgspec.json.encode(report(0, farm=wrong)))
        assert answer.status_code == 400 and "$.farm" in answer.text


def test_a_farm_stays_the_same_one_across_restarts_and_resets(
    free_port: int, tmp_path: Path
) -> None:
    api = Api(f"http://127.0.0.1:{free_port}", tmp_path)
    with programs.server(tmp_path, free_port):
        farm = told(api)
    with programs.server(tmp_path, free_port):
        assert told(api) == farm
    assert server_py(tmp_path, "--reset", "--yes").returncode == 0
    with programs.server(tmp_path, free_port):
        assert told(api) == farm
