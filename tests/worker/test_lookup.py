"""Users are looked up while all else goes on."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from coalition.worker.command.lookup import FRESH, LONGEST, MOST_KNOWN, THREADS, Owners
from coalition.worker.command.owner import owner_of
from coalition.worker.shortage import Shortage
from tests.worker.directory import Directory
from tests.worker.real import PATIENCE, ROOT


def ask(owners: Owners, user: str) -> list[Any]:
    """Ask for a user; return a list that will hold the name or the error."""
    seen: list[Any] = []
    owners.find(user).addCallbacks(
        lambda owner: seen.append(owner and owner.name), lambda failure: seen.append(failure.value)
    )
    return seen


def test_a_user_is_asked_for_once_in_a_minute(directory: Directory) -> None:
    owners = directory.owners()
    answers = ask(owners, "ann"), ask(owners, "ann")
    directory.next_call()
    assert (*answers, ask(owners, "ann")) == (["ann"], ["ann"], ["ann"])
    directory.advance(FRESH)
    answer = ask(owners, "ann")
    assert answer == []
    directory.next_call()
    assert (answer, directory.asked) == (["ann"], ["ann", "ann"])


def test_that_somebody_is_unknown_is_not_remembered(directory: Directory) -> None:
    directory.unknown.add("ann")
    owners = directory.owners()
    answer = ask(owners, "ann")
    directory.next_call()
    assert [str(error) for error in answer] == ["no ann"]
    directory.unknown.clear()
    answer = ask(owners, "ann")
    directory.next_call()
    assert answer == ["ann"]


def test_what_is_not_answered_in_time_is_a_shortage(directory: Directory) -> None:
    directory.be_slow("ann")
    owners = directory.owners()
    late = ask(owners, "ann")
    directory.advance(LONGEST - 1)
    second, other = ask(owners, "ann"), ask(owners, "bob")
    directory.next_call()
    directory.advance(1)
    assert [type(error) for error in late] == [Shortage]
    assert str(late[0]) == "for 30 s this computer has not said who 'ann' is"
    assert (other, second) == (["bob"], [])
    directory.tell("ann")
    directory.next_call()
    assert (second, len(late), sorted(directory.asked)) == (["ann"], 1, ["ann", "bob"])
    assert directory.getDelayedCalls() == []


def test_a_directory_that_hangs_takes_no_more_than_some_threads(directory: Directory) -> None:
    names = [f"user{n}" for n in range(THREADS + 2)]
    directory.be_slow(*names)
    owners = directory.owners()
    answers = [ask(owners, name) for name in names]
    directory.advance(LONGEST)
    assert [type(error) for (error,) in answers] == [Shortage] * len(names)
    last = ask(owners, names[-1])
    directory.tell()
    for _ in range(THREADS + 1):
        directory.next_call()
    assert last == [names[-1]]
    # Nobody waited for the last but one any longer.
    assert sorted(directory.asked) == [*names[:THREADS], names[-1]]


def test_no_more_than_so_many_users_are_remembered(directory: Directory) -> None:
    owners = directory.owners()
    for n in range(MOST_KNOWN + 1):
        ask(owners, f"user{n}")
        directory.next_call()
    assert ask(owners, "user1") == ["user1"]
    assert ask(owners, "user0") == []


def test_a_system_without_threads_is_a_shortage(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    owners = directory.owners()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        answers = [ask(owners, f"user{n}") for n in range(THREADS + 1)]
        directory.advance(0)
        directory.advance(0)
    assert [type(error) for (error,) in answers] == [Shortage] * len(answers)
    answer = ask(owners, "ann")
    directory.next_call()
    assert answer == ["ann"]


# --- the system ----------------------------------------------------------------------------------


def test_everybody_has_the_groups_that_the_system_says() -> None:
    for entry in pwd.getpwall():
        if entry.pw_uid:
            owner = owner_of(entry.pw_name)
            assert owner is not None
            assert list(owner.groups) == os.getgrouplist(entry.pw_name, entry.pw_gid)


SLOW = """
#include <unistd.h>
int getgrouplist(const char *user, unsigned first, unsigned *groups, int *count)
{
    char c;
    write(20, "?", 1);
    read(21, &c, 1);
    if (*count < 100) { *count = 100; return -1; }
    for (int n = 0; n < 100; n++) groups[n] = first + n;
    return *count = 100;
}
"""

ASKING = """
import os, threading
from coalition.worker.command.owner import owner_of
asked, told = os.pipe(), os.pipe()
os.dup2(asked[1], 20), os.dup2(told[0], 21)
found = []
thread = threading.Thread(target=lambda: found.append(owner_of("nobody")))
thread.start()
for _ in range(2):
    os.read(asked[0], 1)
    os.write(told[1], b"!")
thread.join()
print(len(found[0].groups))
"""


def test_all_else_goes_on_while_the_system_looks_for_groups(tmp_path: Path) -> None:
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler to make a slow system with")
    (tmp_path / "slow.c").write_text(SLOW)
    library = str(tmp_path / "slow.so")
    compile = ["cc", "-w", "-shared", "-fPIC", "-o", library, str(tmp_path / "slow.c")]
    subprocess.run(compile, check=True)
    done = subprocess.run(
        [sys.executable, "-c", ASKING],
        env={"LD_PRELOAD": library, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (done.stdout, done.stderr) == ("100\n", "")
