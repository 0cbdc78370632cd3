"""The users of a computer, who are told when a test says so."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.task import Clock

from coalition.worker.command.lookup import Owners
from coalition.worker.command.owner import Owner, UnfitUser
from tests.worker.real import PATIENCE


class Directory(Clock):
    """Says who users are, of slow ones only when a test says so. A clock that takes calls, too."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.unknown: set[str] = set()
        self._told: dict[str, threading.Event] = {}
        self._calls: queue.Queue[Callable[[], None]] = queue.Queue()

    def callFromThread(self, call: Callable[..., object], *args: object) -> None:
        self._calls.put(lambda: call(*args) and None)

    def next_call(self) -> None:
        """Wait for the next call from a thread, and make it."""
        self._calls.get(timeout=PATIENCE)()

    def owners(self) -> Owners:
        return Owners(cast(Any, self), self.look_up)

    def look_up(self, user: str) -> Owner:
        self.asked.append(user)
        if user in self._told:
            assert self._told[user].wait(PATIENCE)
        if user in self.unknown:
            raise UnfitUser(f"no {user}")
        return Owner(user, 7, 7, (7,), "/", "/bin/sh")

    def be_slow(self, *users: str) -> None:
        """Say nothing of these users before `tell`."""
        self._told |= {user: threading.Event() for user in users}

    def tell(self, *users: str) -> None:
        """Say who these users are, or all."""
        for user in users or self._told:
            self._told[user].set()
