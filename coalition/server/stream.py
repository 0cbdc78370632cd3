"""Telling those who watch what has changed, as Server-Sent Events, once it is durable.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html. Changes of a moment are one
message. The last messages are kept: who was cut off names the last it had and gets those after it,
or is told of a gap, and looks anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Protocol, TypeVar

import msgspec

from coalition import wire
from coalition.core.changes import Changes
from coalition.core.states import RESERVED
from coalition.errors import Unavailable
from coalition.server.slices import Clock

Name = TypeVar("Name", int, str)

MOMENT = 0.25
"""Seconds in which changes become one message: a page that follows stays calm, and looks alive."""

KEPT = 240
"""Messages for those who come back: a minute of a busy farm."""

MOST = 1000
"""Names of jobs, workers or runs in one message; of more it says that there are more."""

QUIET = 15.0
"""Seconds of silence after which a line without meaning shows that the connection lives."""

WATCHERS = 1000
"""Connections at the same time."""

AGAIN = 2000
"""Milliseconds until a browser that was cut off comes back."""


class Watcher(Protocol):
    """A connection that is told."""

    def send(self, text: bytes) -> None:
        """Send a piece of the stream."""

    def end(self) -> None:
        """Close it."""


class Stream:
    """What has changed lately, and who wants to know."""

    def __init__(self, clock: Clock, session: str) -> None:
        """Begin with number 1 of a session, the random name of this life of the server."""
        self._clock = clock
        self._session = session
        self._last = 0  # number of the last message
        self._messages: deque[bytes] = deque(maxlen=KEPT)
        self._watchers: dict[Watcher, int] = {}  # those that take something, and what they had
        self._held: dict[Watcher, int] = {}  # those whose connection is full
        self._jobs: dict[int, None] = {}
        self._workers: dict[str, None] = {}
        self._runs: dict[int, None] = {}
        self._more = False
        self._due = False
        self._beating = False

    @property
    def watchers(self) -> int:
        """How many connections there are."""
        return len(self._watchers) + len(self._held)

    def on_committed(self, changes: Changes) -> None:
        """Note what has become durable."""
        for jobs in (changes.new_jobs, changes.edited_jobs, changes.jobs, changes.deleted_jobs):
            self._jobs |= dict.fromkeys(jobs)
        self._workers |= dict.fromkeys((*changes.workers, *changes.deleted_workers))
        for runs in (changes.new_runs, changes.begun_runs, changes.finished_runs):
            self._runs |= {run.id: None for run in runs.values() if run.state != RESERVED}
        # Jobs that were written before are seen only now; and links have two ends.
        self._more |= bool(changes.submissions or changes.dependencies)
        if not self._due and (self._jobs or self._workers or self._runs or self._more):
            self._due = True
            self._clock.callLater(MOMENT, self._flush)

    def _flush(self) -> None:
        self._due = False
        said = wire.Changed(
            _some(self._jobs), _some(self._workers), _some(self._runs), self._more or self._many()
        )
        self._jobs, self._workers, self._runs, self._more = {}, {}, {}, False
        self._last += 1
        text = self._message("changed", msgspec.json.encode(said))
        self._messages.append(text)
        for watcher in list(self._watchers):
            if watcher in self._watchers:  # one that was sent something may have filled up, or left
                self._watchers[watcher] = self._last
                watcher.send(text)

    def _many(self) -> bool:
        return max(len(self._jobs), len(self._workers), len(self._runs)) > MOST

    def _message(self, kind: str, data: bytes) -> bytes:
        head = f"id: {self._session}-{self._last}\nevent: {kind}\ndata: ".encode()
        return head + data + b"\n\n"

    # --- those who watch --------------------------------------------------------------------

    def check_room(self) -> None:
        """Raise Unavailable if too many are watching for another one."""
        if self.watchers >= WATCHERS:
            raise Unavailable(f"{WATCHERS} connections are watching already")

    def watch(self, watcher: Watcher, last: str) -> None:
        """Tell a connection from now on, or from after message `last`, if that is known."""
        had = self._number(last)
        self._watchers[watcher] = self._last if had is None else had
        first = b"" if had is not None else self._message("gap" if last else "hello", b"{}")
        watcher.send(f"retry: {AGAIN}\n\n".encode() + first)
        self._catch_up(watcher)
        if not self._beating:
            self._beating = True
            self._clock.callLater(QUIET, self._beat)

    def _number(self, last: str) -> int | None:
        """Read the id of a message; None if what follows it is not known any more."""
        session, _, number = last.rpartition("-")
        if session != self._session or not (number.isascii() and number.isdigit()):
            return None
        had = int(number[:18])
        return had if self._last - len(self._messages) <= had <= self._last else None

    def _catch_up(self, watcher: Watcher) -> None:
        """Send what it has not had; a gap where that is not kept any more."""
        if watcher not in self._watchers:
            return
        missing = self._last - self._watchers[watcher]
        self._watchers[watcher] = self._last
        if missing > len(self._messages):
            watcher.send(self._message("gap", b"{}"))
        elif missing:
            watcher.send(b"".join(list(self._messages)[-missing:]))

    def hold(self, watcher: Watcher) -> None:
        """Send nothing to a connection that takes nothing; what it misses is kept for a while."""
        if watcher in self._watchers:
            self._held[watcher] = self._watchers.pop(watcher)

    def go_on(self, watcher: Watcher) -> None:
        """Go on with a connection that takes something again."""
        if watcher in self._held:
            self._watchers[watcher] = self._held.pop(watcher)
            self._catch_up(watcher)

    def leave(self, watcher: Watcher) -> None:
        """Forget a connection that is gone."""
        self._watchers.pop(watcher, None)
        self._held.pop(watcher, None)

    def _beat(self) -> None:
        self._beating = bool(self._watchers or self._held)
        if self._beating:
            for watcher in list(self._watchers):
                watcher.send(b":\n\n")
            self._clock.callLater(QUIET, self._beat)

    def close(self) -> None:
        """End all connections."""
        watchers = [*self._watchers, *self._held]
        self._watchers, self._held = {}, {}
        for watcher in watchers:
            watcher.end()


def _some(names: Iterable[Name]) -> list[Name]:
    return list(islice(names, MOST))
