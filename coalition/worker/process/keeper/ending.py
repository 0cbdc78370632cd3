"""How a keeper ends what a command has started."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

from .messages import TYPE_CHECKING
from .table import below, children
from .unended import FORCED, unended

if TYPE_CHECKING and sys.platform != "win32":
    from .killer import Killer
    from .table import Found

if sys.platform != "win32":
    from .run import FIRST, FIRST_LOOK, Run
    from .traced import let_go

assert sys.platform != "win32"

ASKED_LOOK = 0.1
KILLED_LOOK = 1.0
"""Seconds between two looks at what should be gone, at most: after the first signal, later."""

ASKING = (signal.SIGTERM, signal.SIGCONT)
FORCING = (signal.SIGKILL,)
"""What is sent to end a process. One that is stopped hears of the first only with the second."""

BLIND = 10.0
"""Seconds for which the system may be too short of descriptors to show what is left of a run."""

FRUITLESS = 10
"""Looks that find nothing to kill until the rest is taken for what cannot be seen or signalled."""


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
                if not pid:
                    return True
                if os.WIFSTOPPED(status):
                    let_go(pid, os.WSTOPSIG(status))
                elif pid == run.pid:
                    run.exited(status)
                else:
                    self._left.discard(pid)
                    if run.killer is not None:
                        run.killer.exited(pid)
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
        if run.killer is not None:
            self._watch(run, run.killer, now)
        found = self._look(run, now)
        fresh = [one for one in found if one[0] not in run.foreign]
        signals = FORCING if killing else () if run.asked else ASKING
        reached = False
        for number in signals:
            reached = _signal(run, fresh, number)
            if killing or not self._adopting:
                _signal_groups(fresh, number)
        run.asked = True
        self._judge(run, found, now, killing=killing, reached=reached)
        if run.killer is not None and signals and not run.left:
            foreign = [one for one in found if one[0] in run.foreign]
            run.killer.send(foreign, signals, now, force=killing)
        _press_again(run, now, killing=killing)

    def leave(self) -> None:
        """Leave no trace of our own."""
        if self._cgroup and _enter_cgroup(os.path.dirname(self._cgroup)):
            with suppress(OSError):
                os.rmdir(self._cgroup)

    def _watch(self, run: Run, killer: Killer, now: float) -> None:
        """Give up a killer that hangs and cannot be ended."""
        if killer.hangs(now):
            family = [pid for pid, _ in below(killer.pid, children())]
            for pid in [killer.pid, *family]:
                self._left.add(pid)
                run.remarks.append(unended(pid, _name(pid), refused=_refuses(pid)))
            killer.leave()

    def _judge(
        self, run: Run, found: list[Found], now: float, *, killing: bool, reached: bool
    ) -> None:
        """Say whether the run is to be given up, now that it was seen to."""
        killer = run.killer
        if killing:
            run.forced = {pid: run.forced.get(pid, now) for pid, _ in found}
        if killer is not None and killer.pid:
            run.fruitless = 0
        elif run.blind_since is not None:
            if run.code is not None and now - run.blind_since >= BLIND:
                run.left = True
                run.remarks.append(f"what it may have left running was not found: {run.blind_for}")
        elif run.code is not None and self._left and not found:
            run.left = True  # only what had its remark, as a rule an earlier run's
        elif killing:
            # What a killer is to end has its time: even one that hangs may go on.
            hope = (reached and self._adopting) or (killer is not None and found)
            run.fruitless = 0 if hope else run.fruitless + 1
            self._weigh(run, found, now)

    def _weigh(self, run: Run, found: list[Found], now: float) -> None:
        """Give up what neither reacts nor may be signalled, if nothing else is left."""
        stuck = found and all(now - since >= FORCED for since in run.forced.values())
        if not stuck and run.fruitless < FRUITLESS:
            return
        run.left = True
        if self._adopting:
            self._left.update(run.forced)
            run.remarks += [
                unended(pid, _name(pid), refused=pid in run.foreign, tried=run.killer is not None)
                for pid in run.forced
            ]

    def _look(self, run: Run, now: float) -> list[Found]:
        """Return what is left of a run; where nothing can be seen for a while, its first group."""
        try:
            found = self._find(run)
            run.blind_since = None
        except OSError as error:
            run.blind_since = now if run.blind_since is None else run.blind_since
            run.blind_for = error.strerror or str(error)
            found = _first_group(run)
        return found

    def _find(self, run: Run) -> list[Found]:
        """Return the living processes of a run, parents before their children."""
        if not self._adopting:
            return _first_group(run)
        killer = run.killer.pid if run.killer is not None else 0
        table = children()
        found = below(os.getpid(), table, spared=(killer,))
        if members := _members(self._cgroup):
            known = {pid for pid, _ in found} | {os.getpid()}
            if killer:
                known |= {killer, *(pid for pid, _ in below(killer, table))}
            found += [(pid, 0) for pid in members if pid not in known]
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


def _refuses(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        pass
    return False


def _first_group(run: Run) -> list[Found]:
    return [(run.pid, run.pid)] if _group_lives(run.pid) else []


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it lives, but not as one of ours
    return True


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
