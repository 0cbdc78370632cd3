"""Jobs have only commands that the white list has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coalition.cli import programs
from coalition.errors import CommandRefused, ConfigError
from coalition.server.whitelist import Whitelist
from tests.scripted import free_port as open_port
from tests.server.builders import Api

LINES = "echo .*\ntrue\n@ann\nrender --quality=100% .*"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("guarded")
    lines = LINES.replace("\n", "\n  ")
    (folder / "coalition.ini").write_text(f"[server]\ncommandwhitelist={lines}\n")
    with programs.server(folder, port := open_port()):
        yield Api(f"http://127.0.0.1:{port}", folder)


@pytest.mark.parametrize(
    ("lines", "user", "command", "allowed"),
    [
        ("", "", "anything", True),
        (LINES, "", "echo hello", True),
        (LINES, "bob", "true", True),
        (LINES, "bob", "true; rm -rf /", False),
        (LINES, "bob", "render --quality=100% a", False),
        (LINES, "ann", "render --quality=100% a", True),
        (LINES, "ann", "echo hello", True),
        (LINES, "ann", "rm", False),
        (LINES, "ann", "echo a\nrm", False),
        (LINES, "", "", True),
        ("@ann\ntrue", "bob", "anything", True),
        ("@ann", "ann", "true", False),
    ],
)
def test_a_command_must_match_a_line_as_a_whole(
    lines: str, user: str, command: str, allowed: bool
) -> None:
    whitelist = Whitelist(lines)
    if allowed:
        whitelist.check([(user, command)])
        return
    with pytest.raises(CommandRefused):
        whitelist.check([("", ""), (user, command)])


def test_a_line_that_is_no_expression_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"commandwhitelist: '\(' is no regular expression"):
        Whitelist("true\n(")


def test_jobs_are_refused_when_they_are_created_and_when_they_are_edited(guarded: Api) -> None:
    tree = {"children": [{"command": "true"}, {"command": "rm -rf /"}]}
    for body in ({"command": "rm -rf /"}, tree):
        refused = guarded.ask("PUT", "/api/jobs", body)
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "command_refused"
    assert guarded.get("jobs") == []

    job = guarded.put({"command": "render --quality=100% a", "user": "ann"})
    for edit in ({"command": "rm"}, {"user": "bob"}, {"user": "", "title": "x"}):
        assert guarded.ask("POST", "/api/jobs", {str(job): edit}).status_code == 403
    guarded.post("jobs", {str(job): {"command": "echo hello", "user": "bob"}})
    guarded.post("jobs", {str(job): {"title": "new"}})
    shown = guarded.get(f"jobs/{job}")
    assert (shown["command"], shown["user"], shown["title"]) == ("echo hello", "bob", "new")


@pytest.mark.parametrize("path", ["/json/addjob", "/xmlrpc/addjob"])
def test_a_refused_command_in_an_address_is_answered_with_minus_1(guarded: Api, path: str) -> None:
    jobs = guarded.get("jobs")
    answer = guarded.ask("GET", f"{path}?cmd=rm+-rf+/&user=ann")
    assert (answer.status_code, answer.text) == (200, "-1")
    assert guarded.get("jobs") == jobs
    assert int(guarded.ask("GET", f"{path}?cmd=echo+1").text) > 0
