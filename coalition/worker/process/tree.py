"""The processes of runs that no keeper keeps, found among all of this computer."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import psutil

from coalition.worker.command.command import Mark
from coalition.worker.shortage import is_shortage

YOUNG = 1.0
"""Seconds after its start in which a process may still have its parent's environment, or none: it
is about to begin a program."""

_Marked = tuple[str | None, ...]
"""What a process has of a mark's variables in its environment, in their order."""


class Trace(NamedTuple):
    """What was noted of a run: its mark, and its first process if that is known.

    `pid` may be another process by now: only one that started at `started` counts.
    """

    mark: Mark
    pid: int = 0
    started: float = 0.0


class Trees:
    """All processes of some runs: the first ones' descendants and sessions, and who has the marks.

    All the runs cost no more than one: each look is one pass over the processes of this computer,
    and the environment of each is read once.
    """

    def __init__(self, traces: Sequence[Trace]) -> None:
        """Describe the trees of these runs."""
        self._traces = traces
        self._names = list(Mark(0, "", "").variables())
        self._marks: dict[_Marked, list[int]] = {}
        for number, trace in enumerate(traces):
            self._marks.setdefault(tuple(trace.mark.variables().values()), []).append(number)
        self._read: dict[psutil.Process, _Marked] = {}
        self._whose: dict[psutil.Process, list[int]] = {}

    def find(self) -> list[psutil.Process]:
        """Return the living processes of the trees, as a rule parents before their children.

        Blocks for as long as it takes to look at every process of this computer.
        """
        living, children = _processes()
        self._read = {one: self._read[one] for one in living.values() if one in self._read}
        tops = self._tops(living)
        self._whose = {}
        for number, top in tops.items():
            for pid in _below(top, children):
                if pid in living:
                    self._whose.setdefault(living[pid], []).append(number)
        return [process for process in living.values() if process in self._whose]

    def whose(self, process: psutil.Process) -> Collection[int]:
        """Return which of the runs have a process, by their places in what was described."""
        return self._whose.get(process, ())

    def _tops(self, living: dict[int, psutil.Process]) -> dict[int, list[int]]:
        """Return by run the processes that are of its tree by themselves, whoever their parent."""
        known: dict[int, list[int]] = {}
        for number, trace in enumerate(self._traces):
            if trace.pid and start_time(trace.pid) == trace.started:
                known.setdefault(trace.pid, []).append(number)
        tops: dict[int, list[int]] = {}
        for pid, process in living.items():
            for number in self._holding(process, known):
                tops.setdefault(number, []).append(pid)
        return tops

    def _holding(self, process: psutil.Process, known: dict[int, list[int]]) -> Iterable[int]:
        marked = self._marked(process)
        holding = {*self._marks.get(marked, ()), *known.get(process.pid, ())}
        # A session whose first process is gone may be a newer one under the same number.
        if known and marked[0] is None:
            holding.update(known.get(_session(process.pid), ()))
        return holding

    def _marked(self, process: psutil.Process) -> _Marked:
        marked = self._read.get(process)
        if marked is None:
            environment = _environment(process)
            marked = tuple(environment.get(name) for name in self._names)
            if environment and time.time() - process.create_time() > YOUNG:
                self._read[process] = marked
        return marked


def start_time(pid: int) -> float:
    """Return when a process started, as far as this system can say; 0 when there is none."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).create_time()
    return 0.0


def _processes() -> tuple[dict[int, psutil.Process], dict[int, list[int]]]:
    """Return the living processes of this computer without this one, and all by their parents."""
    living: dict[int, psutil.Process] = {}
    children: dict[int, list[int]] = {}
    # Not `process_iter`, whose objects all threads share.
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            with process.oneshot():
                children.setdefault(process.ppid(), []).append(pid)
                # The first thread of a process may be over while others go on.
                lives = process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
                if lives and pid != os.getpid():
                    living[pid] = process
    return living, children


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
