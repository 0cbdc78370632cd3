"""How a keeper ends what a command has started."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

from .run import FIRST, FIRST_LOOK, Run
from .unended import FORCED, unended

assert sys.platform != "win32"

ASKED_LOOK = 0.1
KILLED_LOOK = 1.0
"""Seconds between two looks at what should be gone, at most: after the first signal, later."""

ASKING = (signal.SIGTERM, signal.SIGCONT)
FORCING = (signal.SIGKILL,)
"""What is sent to end a process. One that is stopped hears of the first only with the second."""

FRUITLESS = 10
"""Looks that find nothing to kill until the rest is taken for what cannot be seen or signalled."""

Found = tuple[int, int]
"""A living process and its group, 0 where that is not known."""


class Ending:
    """Finds the processes of the run and signals them until none is left.

    Where orphans do not come back, it knows no more than the run's first process group: worker.py
    looks for the others.
    """

    def __init__(self, cgroup: str, *, adopting: bool) -> None:
        """Have all orphans come back if `adopting`; use the control group, if there is one."""
        self._adopting = adopting
        self._cgroup = cgroup if _enter_cgroup(cgroup) else ""
        self._left: set[int] = set()
        """What earlier runs have left that could not be ended."""

    def reap(self, run: Run) -> bool:
        """Collect what is dead; say whether something that the run has started lives."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == run.pid:
                    run.exited(status)
                elif pid:
                    self._left.discard(pid)
                else:
                    return True
        except ChildProcessError:
            return not self._adopting and run.code is not None and _group_lives(run.pid)

    def reap_soon(self, run: Run) -> bool:
        """Do the same for one that has just begun; come back when it has ended, or after a while.

        It is deaf meanwhile, and most short commands cost no more than this.
        """
        if sys.platform == "linux":
            while (left := run.began + FIRST - time.monotonic()) > 0:
                # What is reported may still be the end of something else.
                if signal.sigtimedwait((signal.SIGCHLD,), left):
                    living = self.reap(run)
                    if run.code is not None:
                        return living
        return self.reap(run)

    def press(self, run: Run, now: float) -> None:
        """Look at what is left of a run that is to end, and signal it; say when to do it again."""
        assert run.kill_at is not None
        killing = now >= run.kill_at
        if killing and not run.killing:
            run.killing, run.pause = True, FIRST_LOOK
        if killing and not run.fruitless:
            self._kill_cgroup()
        found = self._find(run)
        fresh = [one for one in found if one[0] not in run.foreign]
        reached = False
        if killing or not run.asked:
            for number in FORCING if killing else ASKING:
                reached = _signal(run, fresh, number)
                if killing or not self._adopting:
                    _signal_groups(fresh, number)
            run.asked = True
        if run.code is not None and self._left and not found:
            run.left = True  # only an earlier run's, which had its remark
        elif killing:
            run.fruitless = 0 if reached and self._adopting else run.fruitless + 1
            self._weigh(run, found, now)
        _press_again(run, now, killing=killing)

    def leave(self) -> None:
        """Leave no trace of our own."""
        if self._cgroup and _enter_cgroup(os.path.dirname(self._cgroup)):
            with suppress(OSError):
                os.rmdir(self._cgroup)

    def _weigh(self, run: Run, found: list[Found], now: float) -> None:
        """Give up what neither reacts nor may be signalled, if nothing else is left."""
        run.forced = {pid: run.forced.get(pid, now) for pid, _ in found}
        stuck = found and all(now - since >= FORCED for since in run.forced.values())
        if not stuck and run.fruitless < FRUITLESS:
            return
        run.left = True
        if self._adopting:
            self._left.update(run.forced)
            run.remarks += [
                unended(pid, _name(pid), refused=pid in run.foreign) for pid in run.forced
            ]

    def _find(self, run: Run) -> list[Found]:
        """Return the living processes of a run, parents before their children."""
        if not self._adopting:
            return [(run.pid, run.pid)] if _group_lives(run.pid) else []
        found = _descendants(os.getpid())
        known = {pid for pid, _ in found} | {os.getpid()}
        found += [(pid, 0) for pid in _members(self._cgroup) if pid not in known]
        self._left.intersection_update(pid for pid, _ in found)
        return [one for one in found if one[0] not in self._left]

    def _kill_cgroup(self) -> None:
        """Kill the control group as a whole, which no fork outruns; we step out of it meanwhile."""
        if self._cgroup and _enter_cgroup(os.path.dirname(self._cgroup)):
            _write(f"{self._cgroup}/cgroup.kill", "1")  # before Linux 5.14 the signals must do
            if not _enter_cgroup(self._cgroup):
                self._cgroup = ""


def _press_again(run: Run, now: float, *, killing: bool) -> None:
    if run.code is None and not killing:
        run.press_at = run.kill_at
    else:
        run.pause = min(run.pause * 1.5, KILLED_LOOK if killing else ASKED_LOOK)
        run.press_at = now + run.pause


def _signal(run: Run, found: list[Found], number: int) -> bool:
    """Signal processes; say whether any could be."""
    reached = False
    # Parents first: a shell must not take its child's death for a failure and go on.
    for pid, _ in found:
        try:
            os.kill(pid, number)
            reached = True
        except ProcessLookupError:
            continue
        except PermissionError:
            run.foreign.add(pid)
    return reached


def _signal_groups(found: list[Found], number: int) -> None:
    # One by one they could outrun us, but nothing forks while its whole group is signalled. All
    # groups of descendants are theirs alone: our own session has none but ours.
    for group in {group for _, group in found} - {0, os.getpgrp()}:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it lives, but not as one of ours
    return True


def _descendants(top: int) -> list[Found]:
    """Return the living processes below `top`, by what /proc says of all of them."""
    children: dict[int, list[tuple[int, int, bool]]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (words := _stat(name)):
            lives = words[0] not in (b"Z", b"X")
            children.setdefault(int(words[1]), []).append((int(name), int(words[2]), lives))
    found = []
    queue = [top]
    for parent in queue:
        for pid, group, lives in children.get(parent, ()):
            queue.append(pid)
            if lives:
                found.append((pid, group))
    return found


def _stat(pid: str) -> list[bytes]:
    """Return state, parent, group and so on of a process, nothing when it is gone."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return []
    try:
        return os.read(fd, 1024).rpartition(b")")[2].split(None, 4)
    except OSError:
        return []
    finally:
        os.close(fd)


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return file.read().decode(errors="replace").rstrip("\n")
    except OSError:
        return "?"


def _members(cgroup: str) -> list[int]:
    if not cgroup:
        return []
    try:
        with open(f"{cgroup}/cgroup.procs", "rb") as file:
            return [int(line) for line in file]
    except OSError:
        return []


def _enter_cgroup(cgroup: str) -> bool:
    return bool(cgroup) and _write(f"{cgroup}/cgroup.procs", "0")


def _write(path: str, text: str) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY)
    except OSError:
        return False
    try:
        return os.write(fd, text.encode()) > 0
    except OSError:
        return False
    finally:
        os.close(fd)
