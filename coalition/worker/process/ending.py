"""Ending processes that no keeper keeps: asked first, forced later, named and left if need be."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import ParamSpec, TypeVar

import psutil
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred

from coalition.worker.process.keeper.messages import boottime
from coalition.worker.process.keeper.unended import FORCED, unended
from coalition.worker.reactor import Reactor, in_background, in_thread
from coalition.worker.shortage import is_shortage

P = ParamSpec("P")
Result = TypeVar("Result")

GRACE = 3.0
"""Seconds between the polite signal and the one that cannot be refused."""

FIRST_LOOK = 0.02
ASKED_LOOK = 0.1
LONGEST_LOOK = 1.0
"""Seconds between two looks at processes that should be gone: they grow from the first to the
second while they were only asked, and to the third when they were forced."""

REFUSED = 1.0
"""Seconds until what may not be signalled is left alone: it may end with what may be."""

AGAIN = 1.0
"""Seconds until processes are searched for again that this computer was too short to search for."""

Find = Callable[[], Awaitable[list[psutil.Process]]]
"""Returns the living processes that are to be ended, as a rule parents before their children."""

Force = Callable[[Collection[psutil.Process]], set[psutil.Process]]
"""Kills processes; returns those that may not be signalled. It is called in a thread."""

log = logging.getLogger(__name__)


class Wish:
    """Somebody who waits until all is ended that there was when he came, or is given up."""

    def __init__(self, until: float, kill: Callable[[], None]) -> None:
        """Have what is found asked to end, and forced at `until`, with `kill` called then."""
        self.until = until
        self.kill = kill
        self.is_new = True
        """What there is was not asked for him yet."""
        self.done: Deferred[dict[psutil.Process, str]] = Deferred()


class Ending:
    """Ends what a search finds, once for all who wish it at the same time.

    Searches and signals are made in threads: there may be thousands of processes, and more all the
    while. Each round is one look, and what they start meanwhile is found by the next.
    """

    def __init__(
        self, reactor: Reactor, find: Find, left: set[psutil.Process], force: Force | None = None
    ) -> None:
        """End nothing yet. Those in `left`, which grows, could not be ended before."""
        self._reactor = reactor
        self._find = find
        self._left = left
        self._force = force or kill_all
        self._wishes: list[Wish] = []
        self._working = False
        self._nap: DelayedCall | None = None
        self._forget()

    def _forget(self) -> None:
        self._until: dict[psutil.Process, float] = {}  # when each is forced, by `boottime`
        self._asked: set[psutil.Process] = set()
        self._forced: dict[psutil.Process, float] = {}  # since when
        self._refusing: set[psutil.Process] = set()
        self._pause = FIRST_LOOK

    async def end(
        self, until: float, kill: Callable[[], None] = lambda: None
    ) -> dict[psutil.Process, str]:
        """End all that is found; come back when it is gone or cannot be ended.

        It is asked first, and forced when `boottime` is `until`: by `kill` too, which is called in
        a thread. Nothing is asked that is to be forced at once. Returns what could not be ended,
        with the reason in words.
        """
        wish = Wish(until, kill)
        self._wishes.append(wish)
        self._pause = FIRST_LOOK
        if not self._working:
            in_background(self._work())
        elif self._nap is not None and self._nap.active():
            self._nap.reset(0)
        return await wish.done

    async def _work(self) -> None:
        self._working = True
        while self._wishes:
            wishes = list(self._wishes)
            began = self._reactor.seconds()
            try:
                left = await self._round(wishes)
            except Exception as error:
                if is_shortage(error):
                    log.warning("not all is ended yet: %s", error)
                    await self._sleep(AGAIN)
                    continue
                log.exception("cannot find what is to be ended")
                left = {}
            if left is None:
                # Not all the time: others need this computer, too.
                took = self._reactor.seconds() - began
                await self._sleep(max(took, self._until_next()))
            else:
                self._grant(wishes, left)
        self._working = False

    async def _round(self, wishes: list[Wish]) -> dict[psutil.Process, str] | None:
        """Look once and signal what there is; return what is left in the end, None before that."""
        await self._kill(wish for wish in wishes if wish.until <= boottime())
        found = [process for process in await self._find() if process not in self._left]
        if not found:
            return {}
        self._note(found, wishes)
        fresh = [one for one in found if one not in self._asked]
        due = [one for one in found if self._until[one] <= boottime()]
        if any(wish.is_new for wish in wishes):
            asked = [one for one in fresh if one not in due]
            await beside(self._reactor, ask_all, asked)
            self._asked.update(asked)
            for wish in wishes:
                wish.is_new = False
        elif len(fresh) == len(found) and len(due) < len(found):
            # All that were asked are gone: what they have started meanwhile is no part of that.
            await self._kill(wishes)
            due = found
        return await self._press(found, due) if due else None

    def _note(self, found: list[psutil.Process], wishes: list[Wish]) -> None:
        """Note when each process is to be forced: nobody can tell whose it is."""
        new = [wish.until for wish in wishes if wish.is_new]
        until = min(new or [wish.until for wish in wishes])
        known, self._until = self._until, {}
        for process in found:
            before = known.get(process, until)
            self._until[process] = min(before, until) if new else before
        self._asked.intersection_update(found)

    async def _press(
        self, found: list[psutil.Process], due: list[psutil.Process]
    ) -> dict[psutil.Process, str] | None:
        """Force processes; return all that are left once none of them goes."""
        now = self._reactor.seconds()
        before, self._forced = self._forced, {one: self._forced.get(one, now) for one in due}
        # Each has its time: what forks all the while is not stuck, its newest are always young.
        if len(due) == len(found) and all(self._is_stuck(one, now) for one in found):
            return await beside(self._reactor, named, found, self._refusing)
        if not before.keys() >= self._forced.keys():
            self._pause = FIRST_LOOK
        self._refusing = await beside(self._reactor, self._force, due)
        return None

    def _is_stuck(self, process: psutil.Process, now: float) -> bool:
        patience = REFUSED if process in self._refusing else FORCED
        return now - self._forced[process] >= patience

    async def _kill(self, wishes: Iterable[Wish]) -> None:
        if kills := [wish.kill for wish in wishes]:
            await beside(self._reactor, lambda: [kill() for kill in kills])

    def _grant(self, wishes: list[Wish], left: dict[psutil.Process, str]) -> None:
        for remark in left.values():
            log.warning("%s", remark)
        self._left.update(left)
        self._wishes = [wish for wish in self._wishes if wish not in wishes]
        self._forget()
        for wish in wishes:
            wish.done.callback(left)

    def _until_next(self) -> float:
        """Return the pause until the next look, which is no later than the next signal."""
        pause = self._pause
        if self._forced:
            self._pause = min(pause * 2, LONGEST_LOOK)
        else:
            self._pause = min(pause * 1.5, ASKED_LOOK)
        now = boottime()
        return min([pause, *(until - now for until in self._until.values() if until > now)])

    async def _sleep(self, seconds: float) -> None:
        over: Deferred[None] = Deferred()
        self._nap = self._reactor.callLater(seconds, over.callback, None)
        await over


async def beside(
    reactor: Reactor, work: Callable[P, Result], *args: P.args, **kwargs: P.kwargs
) -> Result:
    """Return what `work` returns: it is done in a thread, if there is one to be had."""
    try:
        answer = in_thread(reactor, work, *args, **kwargs)
    except RuntimeError:  # Python's word for a thread that the system refuses
        return work(*args, **kwargs)  # else what has taken all there is could never be ended
    return await answer


def ask_all(processes: Iterable[psutil.Process]) -> None:
    """Ask processes to end, parents first: a shell must not go on when its child is ended."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process.terminate()
            if sys.platform != "win32":
                process.resume()  # one that is stopped could not act on it


def kill_all(processes: Iterable[psutil.Process]) -> set[psutil.Process]:
    """Kill processes, parents first; return those that may not be signalled."""
    refusing = set()
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            refusing.add(process)
    return refusing


def named(
    processes: Iterable[psutil.Process], refusing: Collection[psutil.Process]
) -> dict[psutil.Process, str]:
    """Say of processes that they cannot be ended, and why."""
    remarks = {}
    for process in processes:
        name = "?"
        with contextlib.suppress(psutil.Error):
            name = process.name()
        remarks[process] = unended(process.pid, name, refused=process in refusing)
    return remarks
