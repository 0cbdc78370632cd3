"""What commands leave behind whose keeper is gone: it is ended, or named and left."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

import psutil

from coalition.worker.process.ending import Ending, beside, kill_all
from coalition.worker.process.keeper.table import Children, below, children
from coalition.worker.process.tree import Trace, Trees
from coalition.worker.reactor import Reactor


class Keepers(NamedTuple):
    """The numbers of keepers: those at work, and those whose exit code somebody waits for."""

    working: set[int]
    awaited: set[int]


class Remains:
    """The processes that came to this one as orphans, and others that nobody keeps."""

    def __init__(self, reactor: Reactor, keepers: Callable[[], Keepers]) -> None:
        """Know which children were there before, which are spared like `keepers`."""
        self._reactor = reactor
        self._left: set[psutil.Process] = set()
        orphans = Orphans(reactor, keepers)
        self._orphans = Ending(reactor, orphans.find, self._left, orphans.force)

    def leave(self, process: psutil.Process) -> None:
        """Note what could not be ended: nobody waits for it again."""
        self._left.add(process)

    async def end_orphans(self, until: float, kill: Callable[[], None] = lambda: None) -> list[str]:
        """End what came to this process as an orphan; say what cannot be ended. See `Ending`."""
        left = await self._orphans.end(until, kill)
        return list(left.values())

    async def end_trees(self, traces: Sequence[Trace], until: float) -> list[list[str]]:
        """End what there is of some runs, by one search; say for each what cannot be ended."""
        return await end_trees(self._reactor, traces, until, self._left)


async def end_trees(
    reactor: Reactor, traces: Sequence[Trace], until: float, left: set[psutil.Process]
) -> list[list[str]]:
    """End what there is of some runs; say for each what cannot be ended. See `Ending`."""
    if not traces:
        return []
    trees = Trees(traces)
    ending = Ending(reactor, lambda: beside(reactor, trees.find), left)
    remarks: list[list[str]] = [[] for _ in traces]
    for process, remark in (await ending.end(until)).items():
        for number in trees.whose(process):
            remarks[number].append(remark)
    return remarks


class Orphans:
    """All that is below this process, but its keepers and what is theirs.

    Where orphans come back to this process, nothing that a dead child had started is missing.
    """

    def __init__(self, reactor: Reactor, keepers: Callable[[], Keepers]) -> None:
        """Take the children that there are now for somebody else's."""
        self._reactor = reactor
        self._keepers = keepers
        self._others = {child.pid for child in psutil.Process().children()}
        self._groups: dict[int, int] = {}

    async def find(self) -> list[psutil.Process]:
        """Return the living ones, parents before their children; bury the dead ones.

        Each look is one pass over the processes of this computer.
        """
        while True:
            table = await beside(self._reactor, children)
            # Asked only now, in this thread: a keeper that was started meanwhile may be in there.
            working, awaited = self._keepers()
            own = {pid: lives for pid, _, lives in table.get(os.getpid(), ())}
            self._others &= own.keys()
            spared = self._others | working
            dead = [pid for pid, lives in own.items() if not lives and pid not in spared | awaited]
            found, buried = await beside(self._reactor, self._sort, table, spared, dead)
            # What has died since the last look may have started something behind the back of this.
            if found or not buried:
                return found

    def _sort(
        self, table: Children, spared: Collection[int], dead: Iterable[int]
    ) -> tuple[list[psutil.Process], bool]:
        """Bury the dead; return the living below this process, without `spared`; in a thread.

        Say too whether there were any to bury.
        """
        buried = _bury(dead)
        self._groups = dict(below(os.getpid(), table, spared))
        found = []
        for pid in self._groups:
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
        return found, buried

    def force(self, processes: Collection[psutil.Process]) -> set[psutil.Process]:
        """Kill some of those that were found last; return those that may not be signalled."""
        if sys.platform != "win32":
            # One by one they could outrun us, but nothing forks while its whole group is signalled.
            # All groups of orphans are theirs alone: no session that keepers start has others.
            for group in {self._groups[one.pid] for one in processes} - {0, os.getpgrp()}:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGKILL)
        return kill_all(processes)


def _bury(dead: Iterable[int]) -> bool:
    """Collect the exit codes of dead children, or their numbers would run out; say if any was."""
    buried = False
    for pid in dead:
        if sys.platform != "win32":
            with contextlib.suppress(ChildProcessError):
                buried = os.waitpid(pid, os.WNOHANG)[0] != 0 or buried
    return buried
