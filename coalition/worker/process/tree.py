"""Processes that no keeper keeps any more: finding all of them, ending them, reaping them."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Collection

import psutil

from coalition.worker.command.command import Mark
from coalition.worker.process.keeper.unended import FORCED, unended
from coalition.worker.reactor import Clock, sleep
from coalition.worker.shortage import is_shortage

GRACE = 3.0
"""Seconds between the polite signal and the one that cannot be refused."""

FIRST_LOOK = 0.02
LONGEST_LOOK = 1.0
"""Seconds between two looks at processes that should be gone; each pause is twice the last."""

REFUSED = 1.0
"""Seconds until what may not be signalled is left alone: it may end with what may be."""

Find = Callable[[], list[psutil.Process]]
"""Returns the living processes that are to be ended, as a rule parents before their children."""

log = logging.getLogger(__name__)


class Tree:
    """All processes of one run: the first one's descendants, its session, and who has the mark."""

    def __init__(self, pid: int, started: float, mark: Mark) -> None:
        """Describe a tree from what was noted of it; 0 when its first process is not known.

        `pid` may be another process by now: only one that started at `started` counts.
        """
        self._pid = pid
        self._started = started
        self._mark = mark

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
        known = self._pid != 0 and start_time(self._pid) == self._started
        top = [pid for pid, process in living.items() if self._holds(process, known=known)]
        tree = _below(top, children)
        return [process for pid, process in living.items() if pid in tree]

    def _holds(self, process: psutil.Process, *, known: bool) -> bool:
        """Say whether a process is of the tree by itself, whoever its parent is."""
        if known and process.pid == self._pid:
            return True
        marked = _environment(process)
        if self._mark.fits(marked):
            return True
        # A session whose first process is gone may be a newer one under the same number.
        return known and _session(process.pid) == self._pid and "COALITION_RUN" not in marked


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


def _below(top: list[int], children: dict[int, list[int]]) -> set[int]:
    found = set(top)
    queue = list(top)
    while queue:
        fresh = [child for child in children.get(queue.pop(), ()) if child not in found]
        found.update(fresh)
        queue += fresh
    return found


def orphans(spared: Collection[int]) -> list[psutil.Process]:
    """Return the living processes below this one, without children in `spared` and what is theirs.

    Where orphans come back to this process, nothing that a dead child had started is missing.
    """
    found = []
    for child in psutil.Process().children():
        if child.pid not in spared:
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [child, *child.children(recursive=True)]
    return [process for process in found if _lives(process)]


def reap_orphans(spared: Collection[int]) -> None:
    """Collect the exit codes of dead children, without those in `spared`."""
    for child in psutil.Process().children():
        if child.pid not in spared and sys.platform != "win32":
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, os.WNOHANG)


async def end_all(
    clock: Clock, find: Find, kill: Callable[[], None] = lambda: None, grace: float = GRACE
) -> dict[psutil.Process, str]:
    """End all processes that `find` finds; come back when they are gone or cannot be ended.

    They are asked first and forced after `grace` seconds, by `kill` too; what they start meanwhile
    is found by looking again. Returns what could not be ended, with the reason in words. Raises
    OSError when this computer cannot search.
    """
    asked = find()
    _signal(asked, force=False)
    deadline = clock.seconds() + grace
    pause = FIRST_LOOK
    while any(map(_lives, asked)) and clock.seconds() < deadline:
        await sleep(clock, pause)
        pause = min(pause * 1.5, 0.1)
    forced: dict[psutil.Process, float] = {}
    refusing: set[psutil.Process] = set()
    while rest := find():
        now = clock.seconds()
        forced = {process: forced.get(process, now) for process in rest}
        # Each has its time: what forks all the while is not stuck, its newest are always young.
        if all(now - forced[one] >= (REFUSED if one in refusing else FORCED) for one in rest):
            return {process: _left(process, refused=process in refusing) for process in rest}
        kill()
        refusing = _signal(rest, force=True)
        await sleep(clock, pause)
        pause = min(pause * 2, LONGEST_LOOK)
    return {}


def _left(process: psutil.Process, *, refused: bool) -> str:
    name = "?"
    with contextlib.suppress(psutil.Error):
        name = process.name()
    remark = unended(process.pid, name, refused=refused)
    log.warning("%s", remark)
    return remark


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _signal(processes: list[psutil.Process], *, force: bool) -> set[psutil.Process]:
    """Signal processes; return those that may not be signalled."""
    refusing = set()
    # Parents first: a shell must not take its child's death for a failure and go on.
    for process in processes:
        try:
            (process.kill if force else process.terminate)()
            if sys.platform != "win32" and not force:
                process.resume()  # one that is stopped could not act on it
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            refusing.add(process)
    return refusing
