"""What commands leave behind whose keeper is gone: it is ended, or named and left."""

from __future__ import annotations

import logging
from collections.abc import Callable

import psutil

from coalition.worker.process.tree import GRACE, Find, end_all, orphans, reap_orphans
from coalition.worker.reactor import Reactor, sleep
from coalition.worker.shortage import is_shortage

END_AGAIN = 1.0
"""Seconds until processes are searched for again that this computer was too short to search for."""

log = logging.getLogger(__name__)


class Remains:
    """The processes that came to this one as orphans, and others that nobody keeps."""

    def __init__(self, reactor: Reactor, keepers: Callable[[], set[int]]) -> None:
        """Know which children were there before; `keepers` are spared too, by their numbers."""
        self._reactor = reactor
        self._keepers = keepers
        self._others = {child.pid for child in psutil.Process().children()}
        self._left: set[psutil.Process] = set()

    def leave(self, process: psutil.Process) -> None:
        """Note what could not be ended: nobody waits for it again."""
        self._left.add(process)

    def orphans(self) -> list[psutil.Process]:
        """Return the living processes below this one, without its keepers and what they have."""
        return orphans(self._spared())

    async def end(
        self, find: Find, kill: Callable[[], None] = lambda: None, grace: float = GRACE
    ) -> list[str]:
        """End what is found, without what could not be ended before; say what cannot be."""
        while True:
            try:
                left = await end_all(
                    self._reactor,
                    lambda: [process for process in find() if process not in self._left],
                    kill,
                    grace,
                )
                self._left.update(left)
                reap_orphans(self._spared())
                return list(left.values())
            except (psutil.Error, OSError) as error:
                if not is_shortage(error):
                    log.exception("cannot find what is to be ended")
                    return []
                log.warning("not all is ended yet: %s", error)
            await sleep(self._reactor, END_AGAIN)

    def _spared(self) -> set[int]:
        return self._others | self._keepers()
