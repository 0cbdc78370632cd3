from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coalition.config import load_worker
from coalition.errors import ConfigError
from coalition.worker.command.owner import Owner, owner_of
from coalition.worker.command.removal import remove
from coalition.worker.command.scratch import Scratch
from tests.worker.real import eventually

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def now(work: Callable[[], None]) -> None:
    """Stand in for a thread: the work is done before anything else."""
    work()


def alone(folder: Path) -> Scratch:
    return Scratch(folder / "scratch", other_users=False, in_thread=now)


def left(folder: Path) -> set[str]:
    return set(os.listdir(folder / "scratch"))


def nobody() -> Owner:
    owner = owner_of("nobody")
    assert owner is not None
    return owner


def as_nobody(command: str) -> int:
    change = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]
    return subprocess.run([*change, "sh", "-c", command], check=False).returncode


# --- a run's directory ---------------------------------------------------------------------------


def test_each_run_has_an_empty_directory_that_nobody_else_enters(tmp_path: Path) -> None:
    scratch = alone(tmp_path)
    one, two = scratch.make(1, None), scratch.make(2, None)
    assert one != two
    assert os.listdir(one) == os.listdir(two) == []
    assert os.stat(one).st_mode & 0o7777 == 0o700
    assert os.stat(tmp_path / "scratch").st_mode & 0o7777 == 0o700


def test_what_a_run_leaves_is_gone_for_the_next(tmp_path: Path) -> None:
    scratch = alone(tmp_path)
    for run in range(1, 20):
        path = Path(scratch.make(run, None))
        assert os.listdir(path) == []
        if run % 2:
            (path / "frame.exr").write_text("x")
        scratch.remove(str(path))
        assert not path.exists() or not os.listdir(path)
    scratch.close()
    assert left(tmp_path) == set()


def test_an_untouched_directory_serves_the_next_run(tmp_path: Path) -> None:
    scratch = alone(tmp_path)
    path = scratch.make(1, None)
    scratch.remove(path)
    assert scratch.make(2, None) == path


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.chmod(0o777),
        lambda path: path.rmdir(),
        lambda path: (path.rmdir(), path.symlink_to("/tmp")),
        lambda path: (path.rename(path.with_name("away")), path.mkdir(0o700)),
        lambda path: (path.rmdir(), path.write_text("x")),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_a_directory_that_was_tampered_with_serves_nobody(
    tmp_path: Path, change: Callable[[Path], object], late: bool
) -> None:
    scratch = alone(tmp_path)
    path = scratch.make(1, None)
    if late:
        scratch.remove(path)
    change(Path(path))
    if not late:
        scratch.remove(path)
    assert scratch.make(2, None) != path
    assert not os.path.lexists(path)


def test_large_leftovers_are_deleted_elsewhere_one_after_the_other(tmp_path: Path) -> None:
    begun: list[Callable[[], None]] = []
    scratch = Scratch(tmp_path / "scratch", other_users=False, in_thread=begun.append)
    for run in (1, 2, 3):
        path = Path(scratch.make(run, None))
        (path / "frame.exr").write_text("x")
        scratch.remove(str(path))
    assert (len(begun), len(left(tmp_path))) == (1, 3)
    threading.Thread(target=begun[0]).start()
    eventually(lambda: left(tmp_path) == set())
    (Path(scratch.make(4, None)) / "a").mkdir()
    assert len(begun) == 1


def test_what_an_earlier_life_has_left_is_deleted_and_nothing_else(tmp_path: Path) -> None:
    old = alone(tmp_path).make(1, None)
    (Path(old) / "frame.exr").write_text("x")
    for name in ("mine", "7", "7-xyz"):
        (tmp_path / "scratch" / name).mkdir()
    scratch = alone(tmp_path)
    new = scratch.make(2, None)
    scratch.clear()
    assert left(tmp_path) == {"mine", "7", "7-xyz", os.path.basename(new)}


def test_a_folder_that_is_not_ours_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "scratch").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="belongs to somebody else"):
        alone(tmp_path)


def test_a_folder_that_was_deleted_meanwhile_is_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scratch = alone(tmp_path)
    untouched, used = scratch.make(1, None), scratch.make(2, None)
    scratch.remove(untouched)
    shutil.rmtree(tmp_path / "scratch")
    path = scratch.make(3, None)
    assert os.listdir(path) == []
    assert os.stat(tmp_path / "scratch").st_mode & 0o7777 == 0o700
    assert caplog.messages == [f"{tmp_path}/scratch was deleted or changed, and is made again"]
    for one in (used, path):
        scratch.remove(one)
    scratch.close()
    assert left(tmp_path) == set()


def to_a_link(root: Path) -> None:
    root.with_name("elsewhere").mkdir()
    root.symlink_to(root.with_name("elsewhere"))


def to_a_folder_of_somebody_else(root: Path) -> None:
    root.mkdir(0o777)
    if os.geteuid() != 0:
        pytest.skip("only root can make a folder of somebody else")
    os.chown(root, 65534, 65534)


@pytest.mark.parametrize("change", [to_a_link, to_a_folder_of_somebody_else])
def test_what_somebody_else_has_put_in_its_place_is_not_taken(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    scratch, root = alone(tmp_path), tmp_path / "scratch"
    root.rmdir()
    change(root)
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        scratch.make(1, None)
    assert os.listdir(root) == []
    root.unlink() if root.is_symlink() else root.rmdir()
    assert os.listdir(scratch.make(2, None)) == []


def test_one_that_a_job_has_made_again_itself_is_closed_to_others(tmp_path: Path) -> None:
    scratch, root = alone(tmp_path), tmp_path / "scratch"
    shutil.rmtree(scratch.make(1, None))
    root.rmdir()
    root.mkdir()
    root.chmod(0o775)
    scratch.make(2, None)
    assert root.stat().st_mode & 0o7777 == 0o700


# --- other users ---------------------------------------------------------------------------------


def shared(folder: Path) -> Scratch:
    return Scratch(folder / "scratch", other_users=True, in_thread=now)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that other users reach, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@needs_root
def test_a_jobs_user_owns_its_directory_and_reaches_no_other(reachable: Path) -> None:
    scratch = shared(reachable)
    mine, other = scratch.make(1, nobody()), scratch.make(2, Owner("x", 7, 7, (7,), "/", "/bin/sh"))
    assert as_nobody(f"cd {mine} && mkdir a && touch a/b && chmod 0 a") == 0
    assert as_nobody(f"ls {other} 2>/dev/null") != 0
    assert as_nobody(f"ls {reachable}/scratch 2>/dev/null") != 0
    assert as_nobody(f"rmdir {other} 2>/dev/null") != 0
    scratch.remove(mine)
    assert left(reachable) == {os.path.basename(other)}


@needs_root
def test_a_directory_is_not_handed_from_user_to_user(reachable: Path) -> None:
    scratch = shared(reachable)
    path = scratch.make(1, nobody())
    scratch.remove(path)
    assert left(reachable) == set()
    assert scratch.make(2, nobody()) != path


@needs_root
def test_whoever_a_runcommand_runs_a_job_as_can_write_there(reachable: Path) -> None:
    path = shared(reachable).make(1, None)
    assert as_nobody(f"echo x > {path}/a") == 0


@needs_root
def test_that_other_users_cannot_reach_the_folder_is_told(
    reachable: Path, caplog: pytest.LogCaptureFixture
) -> None:
    closed = reachable / "closed"
    closed.mkdir(0o700)
    Scratch(closed / "scratch", other_users=True, in_thread=now)
    assert caplog.messages == [f"other users cannot reach their jobs' scratch: {closed} is closed"]


# --- whatever is in it ---------------------------------------------------------------------------


def test_no_link_is_followed_out_of_it(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    for folder in (outside, inside, inside / "deep"):
        folder.mkdir()
    (outside / "kept").write_text("x")
    (inside / "a").symlink_to(outside)
    (inside / "deep" / "b").symlink_to(outside / "kept")
    os.link(outside / "kept", inside / "c")
    remove(str(inside))
    (tmp_path / "inside").symlink_to(outside)
    remove(str(inside))
    assert (outside / "kept").read_text() == "x"
    assert os.listdir(tmp_path) == ["outside"]


def test_a_tree_deeper_than_any_path_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    dig = "import os\nfor n in range(1500): os.mkdir('x' * 100); os.chdir('x' * 100)"
    subprocess.run([sys.executable, "-c", dig], cwd=tmp_path / "top", check=True)
    before = len(os.listdir("/proc/self/fd"))
    remove(str(tmp_path / "top"))
    assert os.listdir(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == before


CLOSED = """
import os, sys
from coalition.worker.command.removal import remove
os.makedirs("top/a/b/c")
open("top/a/b/file", "w").close()
os.mkfifo("top/fifo")
os.chmod("top/a/b/file", 0o444)
os.chmod("top/a/b/c", 0)
os.chmod("top/a/b", 0o555)
for path in ("top/a", "top"):
    os.chmod(path, 0)
remove("top")
print(os.listdir())
"""


def test_what_its_owner_has_closed_is_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    change: list[str] = []
    if os.geteuid() == 0:  # to root nothing is closed
        change = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]
    run = subprocess.run(
        [*change, sys.executable, "-c", CLOSED],
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.stdout, run.stderr) == ("[]\n", "")


def test_what_cannot_be_deleted_is_told_and_the_rest_goes(tmp_path: Path) -> None:
    (tmp_path / "top" / "mounted").mkdir(parents=True)
    (tmp_path / "top" / "file").write_text("x")
    (tmp_path / "top" / "more" / "deep").mkdir(parents=True)
    script = (
        'mount -t tmpfs none top/mounted && "$0" -c "'
        "from coalition.worker.command.removal import remove\n"
        'remove(\\"top\\")"; ls top'
    )
    mounting = ["unshare", "-m", "sh", "-c", script, sys.executable]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("mounting needs root")
    run = subprocess.run(mounting, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert "Device or resource busy" in run.stderr
    assert run.stdout == "mounted\n"


def test_nodes_of_one_name_and_two_farms_share_no_folder(tmp_path: Path) -> None:
    ini = tmp_path / "coalition.ini"
    ini.write_text(f"[worker]\nname=../node\nscratch={tmp_path}\n")
    one, two = (load_worker({}, ini, tmp_path / farm, {}).scratch_folder for farm in "ab")
    assert one != two
    assert one.parent == two.parent == tmp_path
