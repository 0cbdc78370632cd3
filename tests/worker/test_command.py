from __future__ import annotations

import pytest

from coalition import wire
from coalition.worker.command import (
    CommandError,
    Mark,
    expand,
    fill_in,
    parse_environment,
    prepare,
)

MARK = Mark(7, "node", "http://farm:19211")


def test_variables_are_filled_in_inside_each_other() -> None:
    variables = {"ROOT": "/shows/$(SHOW)", "SHOW": "fox"}
    assert expand("cd $(ROOT)/$(SHOW)", variables) == "cd /shows/fox/fox"


@pytest.mark.parametrize(
    "text", ["$(hostname)", "$(date +%s)", "$((1+2))", "$(NOBODY)", "$()", "${HOME}", "$HOME"]
)
def test_what_is_no_known_variable_is_left_to_the_shell(text: str) -> None:
    assert expand(f"echo {text}", {"HOME": "/root"}) == f"echo {text}"


def test_a_variable_that_names_itself_ends() -> None:
    variables = {"PATH": "/mine:$(PATH)", "A": "$(B)", "B": "$(A)!"}
    assert expand("$(PATH) $(A)", variables) == "/mine:$(PATH) $(A)!"


def test_variables_that_multiply_are_refused() -> None:
    doubling = {f"V{n}": f"$(V{n + 1})$(V{n + 1})" for n in range(40)} | {"V40": "ha"}
    with pytest.raises(CommandError, match="too long"):
        expand("$(V0)", doubling)
    chain = {f"V{n}": f"$(V{n + 1})" for n in range(5000)}
    with pytest.raises(CommandError, match="too many times"):
        expand("$(V0)", chain)


@pytest.mark.parametrize("text", [r"A=1\nB=x=y\nC=", "A=1\nB=x=y\nC=", "A=1\r\nB=x=y\nC=\n"])
def test_an_environment_is_read_with_either_kind_of_line_end(text: str) -> None:
    remarks: list[str] = []
    assert parse_environment(text, remarks) == {"A": "1", "B": "x=y", "C": ""}
    assert remarks == []


def test_what_is_no_variable_in_the_environment_is_named() -> None:
    remarks: list[str] = []
    assert parse_environment(r"A=1\nNone", remarks) == {"A": "1"}
    assert remarks == ["the environment holds 'None', which is not NAME=VALUE"]


def test_the_jobs_variables_come_before_the_workers_and_ours_before_both() -> None:
    start = wire.Start("node", 7, 3, "true", environment=r"A=job\nCOALITION_RUN=8")
    environment = prepare(start, MARK, {"A": "worker", "B": "worker"}).environment
    assert environment == {
        "A": "job",
        "B": "worker",
        "COALITION_RUN": "7",
        "COALITION_JOB_ID": "3",
        "COALITION_WORKER": "node",
        "COALITION_SERVER": "http://farm:19211",
    }


def test_an_unknown_variable_in_the_directory_is_named_and_empty() -> None:
    command = prepare(wire.Start("node", 7, 3, "true", dir="/a/$(NO)/$(B)"), MARK, {"B": "b"})
    assert command.directory == "/a//b"
    assert command.remarks == ["there is no variable NO, which the directory /a/$(NO)/$(B) names"]


def test_runcommand_takes_the_place_of_the_shell_and_of_the_directory() -> None:
    start = wire.Start("node", 7, 3, "render $(A)", dir="/my $(A)", user="ann")
    command = prepare(start, MARK, {"A": "b"}, "runas __user__ -d __dir__ -- __cmd__")
    assert command.arguments == ["runas", "ann", "-d", "/my b", "--", "render b"]
    assert command.directory is None


def test_no_quote_in_a_directory_or_user_leaves_the_sudo_line_of_the_manual() -> None:
    values = {"user": "ann; id", "dir": "/a'; touch /b; '", "cmd": "echo __dir__ 'x'"}
    assert fill_in("sudo -u __user__ -E -- sh -c 'cd __dir__; __cmd__'", values) == [
        *["sudo", "-u", "ann; id", "-E", "--", "sh", "-c"],
        """cd '/a'"'"'; touch /b; '"'"''; echo __dir__ 'x'""",
    ]
