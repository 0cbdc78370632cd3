"""The tree of processes that a command becomes: finding all of it, ending it, reaping it."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
from collections.abc import Iterable

import psutil

from coalition.worker.command import Mark
from coalition.worker.reactor import Clock, sleep
from coalition.worker.shortage import is_shortage

GRACE = 3.0
"""Seconds between the polite signal and the one that cannot be refused."""

FIRST_LOOK = 0.02
LONGEST_LOOK = 1.0
"""Seconds between two looks at processes that should be gone; each pause is twice the last."""

PR_SET_CHILD_SUBREAPER = 36
"""From linux/prctl.h."""

log = logging.getLogger(__name__)


def adopt_orphans() -> bool:
    """Have orphaned descendants come back to this process instead of to init, where it can be done.

    Then a daemon that a job left behind is one of our children, and is found without a long search.
    """
    try:
        return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError, TypeError):
        # Not Linux: there is no prctl, and on Windows not even a library without a name.
        return False


class Tree:
    """All processes of one run: the first one's descendants, its session, and who has the mark."""

    def __init__(self, pid: int, started: float, mark: Mark | None, *, ours: bool) -> None:
        """Describe the tree of the process `pid` that started at `started`.

        `ours` says that the session is the run's even when its first process is gone.
        """
        self.pid = pid
        self.started = started
        self._mark = mark
        self._ours = ours

    @classmethod
    def of_child(cls, pid: int, mark: Mark | None) -> Tree:
        """Describe the tree of a child of this process that nobody has reaped yet."""
        return cls(pid, start_time(pid), mark, ours=True)

    @classmethod
    def of_record(cls, pid: int, started: float, mark: Mark) -> Tree:
        """Describe a tree from what was noted of it; `pid` may be another process by now."""
        return cls(pid, started, mark, ours=False)

    def find(self) -> list[psutil.Process]:
        """Return the living processes of the tree, as a rule parents before their children.

        Looks at every process of the computer.
        """
        living: dict[int, psutil.Process] = {}
        children: dict[int, list[int]] = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error), process.oneshot():
                children.setdefault(process.ppid(), []).append(process.pid)
                if process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                    living[process.pid] = process
        known = self._number_is_known()
        top = [pid for pid, process in living.items() if self._holds(process, known=known)]
        tree = _below(top, children)
        return [process for pid, process in living.items() if pid in tree]

    def _number_is_known(self) -> bool:
        now = start_time(self.pid) if self.pid else 0.0
        return now == self.started if now else self._ours

    def _holds(self, process: psutil.Process, *, known: bool) -> bool:
        """Say whether a process is of the tree by itself, whoever its parent is."""
        marked = _environment(process)
        if self._mark is not None and self._mark.fits(marked):
            return True
        if not known or self.pid not in (process.pid, _session(process.pid)):
            return False
        # A session whose first process is gone may be a newer one under the same number.
        return self._mark is None or process.pid == self.pid or "COALITION_RUN" not in marked

    def may_have_more(self, started: Iterable[int], *, adopting: bool) -> bool:
        """Say whether a tree whose first process was reaped needs a search for what is left.

        With `adopting` the answer is quick: what is left is in the first one's process group, or
        the top of it has become our own child, and none of the `started` ones.
        """
        if not adopting or _group_lives(self.pid):
            return True
        known = self._number_is_known()
        return any(self._holds(orphan, known=known) for orphan in reap_orphans(started))


def start_time(pid: int) -> float:
    """Return when a process started, as far as this system can say; 0 when there is none."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).create_time()
    return 0.0


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        environment: dict[str, str] = process.environ()
        return environment
    except psutil.Error:
        return {}
    except OSError as error:
        if is_shortage(error):
            raise
        return {}


def _session(pid: int) -> int:
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            return os.getsid(pid)
    return 0


def _group_lives(pid: int) -> bool:
    if sys.platform != "win32":
        try:
            os.killpg(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # it lives, but not as one of ours
    return True


def _below(top: list[int], children: dict[int, list[int]]) -> set[int]:
    found = set(top)
    queue = list(top)
    while queue:
        fresh = [child for child in children.get(queue.pop(), ()) if child not in found]
        found.update(fresh)
        queue += fresh
    return found


def reap_orphans(started: Iterable[int]) -> list[psutil.Process]:
    """Collect the exit codes of dead adopted children; return the living ones."""
    known = set(started)
    orphans = [child for child in psutil.Process().children() if child.pid not in known]
    return [orphan for orphan in orphans if not _reaped(orphan.pid)]


def _reaped(pid: int) -> bool:
    gone = False
    if sys.platform != "win32":
        try:
            gone = os.waitpid(pid, os.WNOHANG)[0] == pid
        except ChildProcessError:
            gone = True
    return gone


async def end_tree(clock: Clock, tree: Tree) -> None:
    """End all processes of a tree, and come back when they are gone.

    They are asked first and forced after GRACE seconds; what they start meanwhile is found by
    looking again. Processes of other users that cannot be signalled are left alone. Raises OSError
    when this computer cannot search.
    """
    foreign: set[int] = set()
    asked = _signal(tree.find(), foreign, force=False)
    deadline = clock.seconds() + GRACE
    pause = FIRST_LOOK
    while any(map(_lives, asked)) and clock.seconds() < deadline:
        await sleep(clock, pause)
        pause = min(pause * 1.5, 0.1)
    while rest := [process for process in tree.find() if process.pid not in foreign]:
        _signal(rest, foreign, force=True)
        await sleep(clock, pause)
        pause = min(pause * 2, LONGEST_LOOK)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _signal(
    processes: list[psutil.Process], foreign: set[int], *, force: bool
) -> list[psutil.Process]:
    reached = []
    # Parents first: a shell must not take its child's death for a failure and go on.
    for process in processes:
        try:
            (process.kill if force else process.terminate)()
            reached.append(process)
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            foreign.add(process.pid)
            log.warning("process %d belongs to another user and was left running", process.pid)
    return reached
