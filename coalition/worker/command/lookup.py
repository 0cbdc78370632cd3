"""Looking up whom jobs run as, while all else goes on: a directory service may take its time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn, cast

from twisted.internet.defer import Deferred, succeed

from coalition.worker.command.owner import Owner, owner_of
from coalition.worker.reactor import Reactor
from coalition.worker.shortage import Shortage, is_shortage

LONGEST = 30.0
"""Seconds until a look-up is not waited for any longer."""

FRESH = 60.0
"""Seconds for which an answer is good: a change of somebody's groups takes that long to count."""

MOST_KNOWN = 1000
"""Users that are remembered."""

THREADS = 4
"""Look-ups at the same time. One that hangs keeps its thread, for nothing can end it."""


class Owners:
    """The users of this computer, by the names that jobs tell."""

    def __init__(self, reactor: Reactor, look_up: Callable[[str], Owner | None] = owner_of) -> None:
        """Know nobody; `look_up` is called in threads, see `owner_of`."""
        self._reactor = reactor
        self._look_up = look_up
        self._known: dict[str, tuple[float, Owner | None]] = {}  # and until when, oldest first
        self._asked: dict[str, list[Deferred[Owner | None]]] = {}
        self._line: deque[str] = deque()
        self._threads = 0

    def find(self, user: str) -> Deferred[Owner | None]:
        """Return what `owner_of` says, at once if that is known.

        Fails with UnfitUser, and with Shortage if this computer does not answer in time.
        """
        until, owner = self._known.get(user, (0.0, None))
        if self._reactor.seconds() < until:
            return succeed(owner)
        answer: Deferred[Owner | None] = Deferred()
        if user not in self._asked:
            self._asked[user] = []
            self._line.append(user)
        waiting = self._asked[user]
        waiting.append(answer)

        def give_up(_result: object, _seconds: float) -> NoReturn:
            waiting.remove(answer)
            raise Shortage(f"for {LONGEST:.0f} s this computer has not said who {user!r} is")

        answer.addTimeout(LONGEST, cast(Any, self._reactor), give_up)
        self._begin()
        return answer

    def _begin(self) -> None:
        while self._line and self._threads < THREADS:
            user = self._line.popleft()
            if not self._asked[user]:  # nobody waits any longer
                del self._asked[user]
                continue
            # Not the reactor's threads: those are waited for when worker.py ends, and are few.
            thread = threading.Thread(target=self._work, args=[user], name="user", daemon=True)
            self._threads += 1
            try:
                thread.start()
            except RuntimeError as error:  # Python's word for a thread that the system refuses
                self._reactor.callLater(0, self._on_answer, user, Shortage(str(error)))

    def _work(self, user: str) -> None:
        answer: Owner | Exception | None
        try:
            answer = self._look_up(user)
        except Exception as error:
            answer = Shortage(str(error)) if is_shortage(error) else error
        self._reactor.callFromThread(self._on_answer, user, answer)

    def _on_answer(self, user: str, answer: Owner | Exception | None) -> None:
        self._threads -= 1
        waiting = self._asked.pop(user)
        if isinstance(answer, Exception):
            # Not kept: whoever is unknown may be made known the next moment.
            for one in waiting:
                one.errback(answer)
        else:
            self._remember(user, answer)
            for one in waiting:
                one.callback(answer)
        self._begin()

    def _remember(self, user: str, owner: Owner | None) -> None:
        self._known.pop(user, None)
        self._known[user] = (self._reactor.seconds() + FRESH, owner)
        if len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]
