"""When a node speaks to its server: reports under way, waves of them, pauses after an outage."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from coalition import wire

FLIGHTS = 2
"""Requests under way at most: one that the server holds, one that says something new."""

WAVE = 0.03
"""Seconds from report to report of a node that has more jobs than workers: what ends meanwhile
shares a request, and a wait for the disk on both sides."""

SLOWEST_ANSWER = 30.0
"""Seconds a server may take for an answer, beyond the wait that the report agrees to; less where
the server's own timeout is short: after a cut, the next try must come before that is over."""

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 10.0
"""Seconds between two tries while the server is away; the pauses double from first to longest."""

LEASED = 1 / 6
"""Part of the server's timeout in which an answer comes while exclusive runs live: each moves their
lease, and one that comes late, or the next after a lost one, is still in time."""

MARGIN = 5.0
"""Seconds before the server gives up on a silent worker in which an exclusive run is ended; of a
short timeout it is a third."""

FIRST_EMPTY_PAUSE = 0.01
EMPTY_PAUSE = 1.0
"""Seconds from report to report, at least, when answers bring nothing: no server is overrun. They
double from first to longest."""


@dataclass(slots=True)
class Flight:
    """A report under way; `upto` is how far it brings each run's log.

    One that is `telling` ends is not held: it is answered when these are durable. Who waited for
    nothing would tell them all once more.
    """

    sent_at: float
    goodbye: bool
    idle: list[str]
    telling: bool = False
    upto: dict[int, int] = field(default_factory=dict)


class Talk:
    """Times are seconds of any clock that only grows."""

    def __init__(self, sleep: float, random: Random) -> None:
        """Have a first report due at once; `sleep` is from one piece of log to the next."""
        self._sleep = sleep
        self._random = random
        self._flights: dict[int, Flight] = {}
        self.session = f"{random.getrandbits(64):016x}"
        self._number = 0
        self._newest_answered = 0
        self.urgent = True
        """A report is due at once."""
        self.ends = False
        """There are ends to tell, with the next wave."""
        self.pressing = False
        """One is due when no other tells of ends: the answer to that may bring more to do."""
        self.held_up = False
        """Commands may not write until the server has told that it has their output."""
        self.heard_of: float | None = None
        self.timeout = wire.Orders().timeout
        self.wait = wire.LONGEST_WAIT
        self._last_report = 0.0
        self._failures = 0
        self._not_before = 0.0
        self._quiet_until = 0.0
        self._empty = 0  # answers in a row that brought nothing, and at once
        self.said_goodbye = False

    @property
    def away(self) -> bool:
        """Whether the last try to reach the server failed."""
        return self._failures > 0

    def __len__(self) -> int:
        """Return the number of reports under way."""
        return len(self._flights)

    def longest_wait(self, *, leased: bool) -> float:
        """Return how long the server may hold a report; `leased`: exclusive runs live.

        Not at all while commands wait for that, nor while no answers come: who waits for long finds
        out too late that one is lost.
        """
        if self.away or self.held_up:
            return 0.0
        return min(self.wait, self.timeout * LEASED) if leased else self.wait

    @property
    def next_wave(self) -> float:
        """When the next report is to be sent while the workers have enough to do."""
        return self._last_report + WAVE

    @property
    def patience(self) -> float:
        """How many seconds an answer may take."""
        return min(SLOWEST_ANSWER, max(1.0, self.timeout / 6))

    @property
    def lease(self) -> float:
        """Until when the server surely does not give an exclusive run to another node.

        It counts from when it heard the last report, which is after this node has sent it.
        """
        return (self.heard_of or 0.0) + self.timeout - min(MARGIN, self.timeout / 3)

    def promised(self) -> set[str]:
        """Return the workers that reports under way offer: they may be given something."""
        return {name for flight in self._flights.values() for name in flight.idle}

    def due(self, now: float, *, waiting: bool, wave: bool) -> float | None:
        """Say when the next report is to be sent; None: not before something else happens.

        `waiting` says that there are logs or ends to tell, `wave` that the workers have enough to
        do until others have joined them.
        """
        if len(self._flights) >= FLIGHTS:
            return None
        telling = any(flight.telling for flight in self._flights.values())
        times: list[float] = []
        if self.urgent or (self.pressing and not telling) or (self.held_up and waiting):
            times.append(now)
        if not self._flights:
            times.append(max(self._quiet_until, self.next_wave if wave else self._last_report))
        if (self.ends or (waiting and wave)) and not telling:
            times.append(self.next_wave)
        if waiting:
            times.append(self._last_report + self._sleep)
        return max(min(times), self._not_before) if times else None

    def depart(self, now: float, flight: Flight) -> int:
        """Note that a report is sent; return its number."""
        self._number += 1
        self._flights[self._number] = flight
        self.urgent = self.pressing = self.ends = False
        self._last_report = now
        return self._number

    def arrive(self, number: int, orders: wire.Orders) -> tuple[Flight, bool]:
        """Note an answer; return the report's flight, and whether no younger one was answered."""
        flight = self._flights.pop(number)
        self._failures = 0
        self._not_before = 0.0
        self.wait = max(0.0, orders.wait)
        self.timeout = orders.timeout
        self.heard_of = max(flight.sent_at, self.heard_of or flight.sent_at)
        self.said_goodbye = self.said_goodbye or flight.goodbye
        newest = number > self._newest_answered
        self._newest_answered = max(number, self._newest_answered)
        return flight, newest

    def rest(self, flight: Flight, now: float, *, moved: bool, leased: bool) -> None:
        """Choose the pause after an answer, shorter when it has `moved` something.

        Measured from the report: after one that was held for long the next follows at once, as it
        does after a single empty answer. Until then nothing that is said would be heard here.
        """
        longest = min(self._sleep, EMPTY_PAUSE, self.timeout * LEASED if leased else EMPTY_PAUSE)
        if moved or now >= flight.sent_at + longest:
            self._empty, self._quiet_until = 0, now
        else:
            pause = min(longest, FIRST_EMPTY_PAUSE * 2**self._empty)
            self._empty, self._quiet_until = min(self._empty + 1, 10), flight.sent_at + pause

    def fail(self, number: int, now: float, *, slow: bool) -> None:
        """Note that a report was not answered; `slow` if the server does not take it."""
        self._flights.pop(number, None)
        self.urgent = True
        if now < self._not_before:
            return  # the other request of the same outage
        pause = LONGEST_PAUSE if slow else min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._failures)
        self._failures = min(self._failures + 1, 10)
        self._not_before = now + pause * self._random.uniform(0.5, 1.0)
