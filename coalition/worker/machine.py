"""What a node knows and decides, without doing any of it: events in, actions and reports out.

Times are seconds of any clock that only grows. The caller carries out the actions in order, feeds
back what came of them, and sends a report whenever `due` says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from coalition import wire
from coalition.worker.actions import Action, Begin, Cut, EndTree, Forget, Plan, Save

RUN_LIMIT = 256 * 1024
"""Bytes of one run's log in a report, so that a flood of one run leaves room for the others."""

REPORT_LIMIT = 1024 * 1024
"""Bytes of log in a report: small enough that a server reads it without noticing."""

FLIGHTS = 2
"""Requests under way at most: one that the server holds, one that says something new."""

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 10.0
"""Seconds between two tries while the server is away; the pauses double from first to longest."""

EMPTY_PAUSE = 1.0
"""Seconds from report to report, at least, when answers bring nothing: no server is overrun."""

FIRST_REST = 4.0
LONGEST_REST = 20.0
"""Seconds that a worker offers itself to nobody after this computer could not start its run; they
double from first to longest. Far below the silence after which a server takes a worker for lost."""

GOODBYE_TIME = 5.0
"""Seconds that an idle node which leaves waits for the server to hear of it."""

DELIVERY_TIME = 60.0
"""Seconds that a node which leaves tries to deliver results; then they stay in the outbox."""

ABORT_TIME = 10.0
"""The same after the second signal."""

KILL_TIME = 5.0
"""Seconds after the second signal in which the jobs must be gone; more than a tree's grace time."""


@dataclass(slots=True)
class Run:
    """A run that the node has: its processes, or what the server has not acknowledged yet."""

    number: int
    worker: str
    size: int = 0
    sent: int = 0
    safe: int = 0
    alive: bool = True
    killed: bool = False
    again: bool = False
    end: wire.End | None = None
    saved: bool = False
    told: bool = False

    @property
    def busy(self) -> bool:
        """Whether its worker cannot take another run."""
        return self.alive or not self.told

    @property
    def waiting(self) -> bool:
        """Whether there is something of it that no report has brought on its way."""
        return not self.killed and (self.size > self.sent or (self.saved and not self.told))

    def take(self, room: int) -> Cut:
        """Cut the next piece of output that is to be sent.

        Once the run has ended, all that is not acknowledged goes with the end: else the end could
        arrive and be acknowledged while an earlier report with the rest of the log is lost.
        """
        offset = self.safe if self.end else self.sent
        return Cut(self.number, offset, max(0, min(self.size - offset, RUN_LIMIT, room)))


@dataclass(slots=True)
class Flight:
    """A report under way; `upto` is how far it brings each run's log."""

    sent_at: float
    goodbye: bool
    upto: dict[int, int] = field(default_factory=dict)


class Machine:
    """One node: its workers, their runs and its conversation with the server."""

    def __init__(
        self, node: str, workers: list[str], *, affinity: str = "", sleep: float, random: Random
    ) -> None:
        """Make an idle node; `sleep` is in seconds, from one piece of log to the next."""
        self.node = node
        self.leaving = False
        self._affinity = affinity
        self._sleep = sleep
        self._random = random
        self._last_run = dict.fromkeys(workers, 0)
        self._refusals: dict[str, int] = {}
        self._resting: dict[str, float] = {}
        self._runs: dict[int, Run] = {}
        self._flights: dict[int, Flight] = {}
        self._session = f"{random.getrandbits(64):016x}"
        self._number = 0
        self._newest_answered = 0
        self._wait = wire.LONGEST_WAIT
        self._host: wire.Host | None = None
        self._host_told = False
        self._urgent = True
        self._last_report = 0.0
        self._failures = 0
        self._not_before = 0.0
        self._quiet_until = 0.0
        self._aborting = False
        self._leave_by: float | None = None
        self._said_goodbye = False

    # --- what happens on this computer --------------------------------------------------------

    def on_recovered(self, number: int, worker: str, size: int, end: wire.End) -> None:
        """Take over a run of an earlier life of this node; its end is saved already."""
        self._runs[number] = Run(number, worker, size, alive=False, end=end, saved=True)
        if worker in self._last_run:
            self._last_run[worker] = max(number, self._last_run[worker])

    def on_host(self, host: wire.Host) -> None:
        """Note what the node is: the server is told now and after every outage."""
        self._host = host
        self._host_told = False

    def on_output(self, number: int, size: int) -> None:
        """Note how many bytes of output the outbox has of a run."""
        if number in self._runs:
            self._runs[number].size = size

    def on_exit(self, number: int, code: int, now: float) -> list[Action]:
        """Note that a run's processes are gone and that all of its output is in the outbox."""
        run = self._runs[number]
        run.alive = False
        self._urgent = self._urgent or run.killed
        if run.killed:
            del self._runs[number]
            actions: list[Action] = [Forget(number)]
        else:
            run.end = wire.End(number, code, run.again)
            actions = [Save(run.end)]
        if not run.again:
            self._refusals.pop(run.worker, None)
        self._note_leaving(now)
        return actions

    def on_refused(self, number: int, now: float) -> list[Action]:
        """Note that this computer cannot start a run at the moment: it is given back.

        Its worker rests, so that the two do not draw and refuse the same job all the time.
        """
        run = self._runs[number]
        run.again = True
        refusals = self._refusals.get(run.worker, 0)
        rest = min(LONGEST_REST, FIRST_REST * 2**refusals) * self._random.uniform(0.5, 1.0)
        self._refusals[run.worker] = min(refusals + 1, 10)
        self._resting[run.worker] = now + rest
        return self.on_exit(number, 0, now)

    def on_saved(self, number: int) -> None:
        """Note that an end is durable: only now may it be reported."""
        if number in self._runs:
            self._runs[number].saved = True
            self._urgent = True

    def on_stop(self, now: float) -> list[Action]:
        """Leave: the first time when the running jobs are done, the second time without them."""
        if not self.leaving:
            self.leaving = self._urgent = True
            self._note_leaving(now)
            return []
        return self._abort(now)

    def _abort(self, now: float) -> list[Action]:
        if self._aborting:
            return []
        self._aborting = True
        leave_by = now + ABORT_TIME + (KILL_TIME if self._any_alive() else 0)
        self._leave_by = min(leave_by, self._leave_by or leave_by)
        actions: list[Action] = []
        for run in self._runs.values():
            if run.alive and not run.killed:
                run.again = True
                actions.append(EndTree(run.number))
        return actions

    def _note_leaving(self, now: float) -> None:
        if self.leaving and not self._any_alive():
            self._urgent = True
            patience = DELIVERY_TIME if self._runs else GOODBYE_TIME
            self._leave_by = now + (ABORT_TIME if self._aborting else patience)

    def _any_alive(self) -> bool:
        return any(run.alive for run in self._runs.values())

    def finished(self, now: float) -> bool:
        """Say whether the node may go: all is said, or the time for it is over."""
        if not self.leaving or (self._any_alive() and not self._aborting):
            return False
        delivered = not self._runs and self._said_goodbye
        return delivered or (self._leave_by is not None and now >= self._leave_by)

    # --- reports -----------------------------------------------------------------------------

    def wake_at(self, now: float) -> float | None:
        """Say when to look at `finished` and `due` again if nothing happens before."""
        times = [time for time in (self.due(now), self._leave_by) if time is not None]
        return min(times, default=None)

    def due(self, now: float) -> float | None:
        """Say when the next report is to be sent; None: not before something else happens."""
        if len(self._flights) >= FLIGHTS:
            return None
        times = list(self._resting.values())
        if self._urgent:
            times.append(now)
        if not self._flights:
            times.append(self._quiet_until)
        if any(run.waiting for run in self._runs.values()):
            times.append(self._last_report + self._sleep)
        return max(min(times), self._not_before) if times else None

    def build_report(self, now: float, load: wire.Load | None = None) -> Plan:
        """Make the next report; call it when it is due, and send it."""
        cuts = self._cut_logs()
        ends = [run.end for run in self._ending(cuts) if run.end]
        reported = {end.run for end in ends}
        slots = self._slots(reported, now)
        goodbye = self.leaving and not any(slot.run for slot in slots)
        self._number += 1
        self._flights[self._number] = Flight(
            now, goodbye, {cut.run: cut.offset + cut.length for cut in cuts}
        )
        self._urgent = False
        self._last_report = now
        report = wire.Report(
            node=self.node,
            workers=slots,
            ends=ends,
            load=load,
            host=None if self._host_told else self._host,
            wait=0 if goodbye or any(run.waiting for run in self._runs.values()) else self._wait,
            session=self._session,
            number=self._number,
            leaving=self.leaving,
        )
        return Plan(self._number, report, cuts)

    def _cut_logs(self) -> list[Cut]:
        room = REPORT_LIMIT
        cuts = []
        for run in list(self._runs.values()):
            cut = run.take(room)
            if run.killed or not cut.length:
                continue
            cuts.append(cut)
            room -= cut.length
            run.sent = cut.offset + cut.length
            # To the back of the queue: with many floods at once everyone gets a turn.
            self._runs[run.number] = self._runs.pop(run.number)
        return cuts

    def _ending(self, cuts: list[Cut]) -> Iterator[Run]:
        upto = {cut.run: cut.offset + cut.length for cut in cuts}
        for run in self._runs.values():
            if run.saved and upto.get(run.number, run.safe) == run.size:
                run.told = True
                yield run

    def _slots(self, reported: set[int], now: float) -> list[wire.Slot]:
        """Tell what the workers have; one that rests is left out, being neither idle nor busy."""
        self._resting = {name: until for name, until in self._resting.items() if until > now}
        slots = [
            wire.Slot(name, self._run_of(name, reported), last, self._affinity)
            for name, last in self._last_run.items()
        ]
        return [
            slot for slot in slots if slot.run or self.leaving or slot.name not in self._resting
        ]

    def _run_of(self, worker: str, reported: set[int]) -> int:
        held = (run for run in self._runs.values() if run.worker == worker)
        return max((run.number for run in held if run.number not in reported), default=0)

    # --- what comes back ---------------------------------------------------------------------

    def on_lost(self, number: int, now: float, *, slow: bool = False) -> None:
        """Note that a report was not answered: all that is not acknowledged is sent again.

        `slow` is for a server that answers but does not take the report.
        """
        self._flights.pop(number, None)
        for run in self._runs.values():
            run.sent = run.safe
        self._urgent = True
        self._host_told = False
        if now < self._not_before:
            return  # the other request of the same outage
        pause = LONGEST_PAUSE if slow else min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._failures)
        self._failures = min(self._failures + 1, 10)
        self._not_before = now + pause * self._random.uniform(0.5, 1.0)

    def on_orders(self, number: int, orders: wire.Orders, now: float) -> list[Action]:
        """Take the answer to a report, also when a younger one was answered before."""
        flight = self._flights.pop(number)
        self._failures = 0
        self._not_before = 0.0
        self._host_told = True
        self._wait = max(0.0, orders.wait)
        self._said_goodbye = self._said_goodbye or flight.goodbye
        moved = self._acknowledge(flight, orders.logs, newest=number > self._newest_answered)
        self._newest_answered = max(number, self._newest_answered)
        actions = self._forget(orders.ended) + self._kill(orders.kill) + self._start(orders.start)
        self._urgent = self._urgent or any(isinstance(action, Begin) for action in actions)
        # Measured from the report: after one that was held for long the next follows at once.
        pause = min(self._sleep, EMPTY_PAUSE)
        self._quiet_until = now if moved or actions else flight.sent_at + pause
        return actions

    def _acknowledge(self, flight: Flight, logs: dict[int, int], *, newest: bool) -> bool:
        moved = False
        for number in flight.upto.keys() | logs.keys():
            run = self._runs.get(number)
            if run is None:
                continue
            safe = min(logs.get(number, run.safe), run.size)
            moved = moved or safe > run.safe
            # Only the newest answer may take something back; an old one merely came late.
            run.safe = safe if newest else max(safe, run.safe)
            if safe < flight.upto.get(number, 0):
                run.sent = run.safe
            run.sent = max(run.sent, run.safe)
        return moved

    def _forget(self, ended: list[int]) -> list[Action]:
        done = [number for number in ended if number in self._runs and self._runs[number].end]
        for number in done:
            del self._runs[number]
        return [Forget(number) for number in done]

    def _kill(self, numbers: list[int]) -> list[Action]:
        actions: list[Action] = []
        for number in numbers:
            run = self._runs.get(number)
            if run is None or run.killed:
                continue
            run.killed = True
            if run.alive:
                actions.append(EndTree(number))
            else:
                del self._runs[number]
                actions.append(Forget(number))
        return actions

    def _start(self, starts: list[wire.Start]) -> list[Action]:
        actions: list[Action] = []
        for start in starts:
            last = self._last_run.get(start.worker)
            busy = any(run.busy for run in self._runs.values() if run.worker == start.worker)
            if last is None or start.run <= last or start.run in self._runs or busy:
                continue
            self._last_run[start.worker] = start.run
            run = self._runs[start.run] = Run(start.run, start.worker)
            if self.leaving:
                self._give_back(run)
            else:
                actions.append(Begin(start))
        return actions

    def _give_back(self, run: Run) -> None:
        """Refuse a run that was on its way while the node was told to leave."""
        run.alive = False
        run.end = wire.End(run.number, again=True)
        run.saved = self._urgent = True
