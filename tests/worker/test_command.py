from __future__ import annotations

import os

import pytest

from coalition import wire
from coalition.errors import ConfigError
from coalition.worker.command.command import (
    CommandError,
    Mark,
    Way,
    expand,
    parse_environment,
    prepare,
)
from coalition.worker.command.owner import UnfitUser, owner_of

MARK = Mark(7, "node", "http://farm:19211")
DIRECTLY = Way()


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
    command = prepare(start, MARK, {"A": "worker", "B": "worker"}, DIRECTLY, "/scratch/7")
    assert command.variables == {
        "A": "job",
        "COALITION_RUN": "7",
        "COALITION_JOB_ID": "3",
        "COALITION_WORKER": "node",
        "COALITION_SERVER": "http://farm:19211",
        "COALITION_SCRATCH_DIR": "/scratch/7",
    }
    assert (command.directory, command.user, command.remarks) == (".", None, [])


def test_an_unknown_variable_in_the_directory_is_named_and_empty() -> None:
    start = wire.Start("node", 7, 3, "true", dir="/a/$(NO)/$(B)")
    command = prepare(start, MARK, {"B": "b"}, DIRECTLY)
    assert command.directory == "/a//b"
    assert command.remarks == ["there is no variable NO, which the directory /a/$(NO)/$(B) names"]


def test_a_job_can_work_in_its_scratch_directory() -> None:
    start = wire.Start("node", 7, 3, "cat $(COALITION_SCRATCH_DIR)/a", dir="/a", scratch=True)
    command = prepare(start, MARK, {}, DIRECTLY, "/scratch/7")
    assert command.directory == "/scratch/7"
    assert command.arguments == ["/bin/sh", "-c", "cat /scratch/7/a"]
    assert prepare(start, MARK, {}, DIRECTLY).directory == "/a"


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ("", "the job names no user"),
        ("root", "no job may run as root"),
        ("#0", "'#0' is not the name of a user"),
        ("#1000", "'#1000' is not the name of a user"),
        ("0", "'0' is not the name of a user"),
        ("-root", "'-root' is not the name of a user"),
        ("--user=root", "is not the name of a user"),
        ("+0", "is not the name of a user"),
        (" root", "does not know the user ' root'"),
        ("nobody\0", "does not know the user"),
        ("no such; id", "does not know the user 'no such; id'"),
    ],
)
def test_a_user_that_no_job_may_run_as(user: str, reason: str) -> None:
    with pytest.raises(UnfitUser, match=reason):
        owner_of(user)


def test_nothing_is_started_as_a_user_whom_nobody_has_looked_up() -> None:
    start = wire.Start("node", 7, 3, "true", user="nobody")
    with pytest.raises(ValueError, match="nobody has looked up the user 'nobody'"):
        prepare(start, MARK, {}, Way("sudo -u __user__ -E -- sh -c 'cd __dir__; __cmd__'"))


def test_root_under_another_name_is_still_root(monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    toor = pwd.struct_passwd(("toor", "x", 0, 5, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: toor)
    with pytest.raises(UnfitUser, match="'toor' is root under another name"):
        owner_of("toor")


def test_where_no_user_is_changed_the_job_may_name_any_user() -> None:
    start = wire.Start("node", 7, 3, "render", user="nobody's business")
    assert prepare(start, MARK, {}, DIRECTLY).user is None
    command = prepare(start, MARK, {}, Way("nice -n 10 sh -c __cmd__"))
    assert "nobody's business" not in command.arguments


def test_runasuser_starts_the_job_as_its_owner_with_a_login_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    start = wire.Start("node", 7, 3, "$(HOME)/run", user="nobody", environment="SHELL=/bin/x")
    owner = owner_of("nobody")
    assert owner is not None
    environ = {"HOME": "/root", "USER": "root"}
    command = prepare(start, MARK, environ, Way(runasuser=True), owner=owner)
    assert command.user == owner
    assert (owner.name, owner.uid > 0, owner.gid in owner.groups) == ("nobody", True, True)
    got = {name: command.variables[name] for name in ("HOME", "USER", "LOGNAME", "SHELL")}
    assert got == {"HOME": owner.home, "USER": "nobody", "LOGNAME": "nobody", "SHELL": "/bin/x"}
    assert command.arguments == ["/bin/sh", "-c", f"{owner.home}/run"]
    assert command.directory == "/", "there is no home, and worker.py's own folder may be closed"


def test_runasuser_needs_root_and_no_runcommand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ConfigError, match=r"\[worker\] runasuser: there is a runcommand"):
        Way("sudo -u __user__ -- sh -c __cmd__", runasuser=True)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigError, match=r"\[worker\] runasuser: worker\.py must be run by root"):
        Way(runasuser=True)
