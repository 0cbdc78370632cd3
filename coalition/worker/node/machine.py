"""What a node knows and decides, without doing any of it: events in, actions and reports out.

Times are seconds of any clock that only grows. The caller carries out the actions in order, feeds
back what came of them, and sends a report whenever `due` says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from random import Random

from coalition import wire
from coalition.worker.node.actions import Action, Begin, Drop, EndTree, Extend, Forget, Plan, Save
from coalition.worker.node.held import Held
from coalition.worker.node.leaving import Leaving
from coalition.worker.node.pool import Pool
from coalition.worker.node.run import Run
from coalition.worker.node.talk import FLIGHTS, Flight, Talk
from coalition.worker.node.workers import Workers


class Machine:
    """One node: its workers, their runs and its conversation with the server."""

    def __init__(
        self,
        node: str,
        workers: list[str],
        *,
        affinity: str = "",
        sleep: float,
        exclusive: bool = False,
        random: Random,
    ) -> None:
        """Make an idle node; `sleep` is in seconds, from one piece of log to the next.

        With `exclusive` all runs are, whatever their jobs say.
        """
        self.node = node
        self._exclusive = exclusive
        self.talk = Talk(sleep, random)
        self._previous: list[str] = []
        self._pool = Pool()
        self._workers = Workers(workers, affinity, random)
        self._runs = Held()
        self._host: wire.Host | None = None
        self._host_told = False
        self._unwanted: deque[int] = deque(maxlen=100)
        self._unknown: list[int] = []  # those of them that the server was not told of
        self._leaving = Leaving()

    @property
    def workers(self) -> list[str]:
        """The names of the workers."""
        return list(self._workers)

    @property
    def leaving(self) -> bool:
        """Whether the node is to leave."""
        return self._leaving.begun

    # --- what happens on this computer --------------------------------------------------------

    def on_recovered(
        self, number: int, worker: str, size: int, code: int, *, again: bool, ended_at: float
    ) -> None:
        """Take over a run of an earlier life of this node; its end is saved already."""
        run = Run(number, worker, size=size, alive=False, code=code, again=again, saved=True)
        run.ended_at = ended_at
        run.handed_at = 0.0  # it may have been, and the server has to know that it is here
        run.early = worker not in self._workers  # in no report has it its turn
        self._runs.add(run)
        self._pool.last = max(number, self._pool.last)
        self._workers.note_run(worker, number)

    def on_previous(self, sessions: list[str]) -> None:
        """Note the sessions of this node's lives before this one."""
        self._previous = sessions

    def on_host(self, host: wire.Host) -> None:
        """Note what the node is: the server is told now and after every outage."""
        self._host = host
        self._host_told = False

    def on_began(self, number: int) -> None:
        """Note that a run goes on, and is none of the short ones that others may wait behind."""
        run = self._runs.get(number)
        if run is not None:
            run.long = True

    def on_output(self, number: int, size: int) -> None:
        """Note how many bytes of output the outbox has of a run."""
        run = self._runs.get(number)
        if run is not None:
            run.size = size
            self._runs.touch(run)

    def on_exit(
        self, number: int, code: int, now: float, seconds: float = 0.0, clearing: float = 0.0
    ) -> list[Action]:
        """Note that a run's processes are gone and that all of its output is in the outbox.

        It took `seconds`, and `clearing` more until nothing was left of it.
        """
        run = self._runs[number]
        self._runs.end(run)
        run.code, run.seconds, run.clearing, run.ended_at = code, seconds, clearing, now
        last = not self._runs.queue(run.worker)
        actions: list[Action] = [Save(number, code, run.again, seconds, soon=last)]
        if run.killed:
            self.talk.urgent = True
            actions = [self._forget(run)]
        if not run.again:
            self._workers.rests.note_start(run.worker)
        self._note_leaving(now)
        return actions

    def on_over(self, number: int) -> None:
        """Note that a run has ended by itself, before an order to end it: it is told."""
        run = self._runs[number]
        run.killed = run.again = False

    def on_again(self, number: int) -> None:
        """Note that this computer had to end a run: it is to be done again."""
        self._runs[number].again = True

    def on_dropped(self, number: int, now: float) -> list[Action]:
        """Note that a run which had not begun never will: the server sees that it is gone."""
        forgotten = self._forget(self._runs[number])
        self.talk.urgent = True
        self._note_leaving(now)
        return [forgotten]

    def on_refused(self, number: int, now: float) -> list[Action]:
        """Note that this computer cannot start a run at the moment: it is given back."""
        self._runs[number].again = True
        return self.on_killed(number, 0, now)

    def on_killed(self, number: int, code: int, now: float) -> list[Action]:
        """Note an end that may be this computer's fault: the run's worker rests."""
        self._workers.rests.begin(self._runs[number].worker, now)
        return self.on_exit(number, code, now)

    def on_saved(self, number: int) -> None:
        """Note that an end is durable: only now may it be reported."""
        run = self._runs.get(number)
        if run is not None:
            run.saved = True
            self._runs.touch(run)
            self.talk.ends = True
            if not self._runs.queue(run.worker):
                self.talk.pressing = True

    def _forget(self, run: Run) -> Forget:
        self._runs.remove(run)
        return Forget(run.number)

    # --- pausing and leaving -------------------------------------------------------------------

    def on_pause(self, pausing: bool) -> list[Action]:
        """Take nothing more until it is lifted; what runs goes on."""
        self._workers.pausing = pausing
        self.talk.urgent = True
        return self._drop_ahead() if pausing else []

    def on_stop(self, now: float) -> list[Action]:
        """Leave: the first time when the running jobs are done, the second time without them."""
        if self.leaving and not self._leaving.drained:
            return self._abort(now)
        self._leaving.drained = False
        self._leaving.begun = self.talk.urgent = True
        actions = self._drop_ahead()
        self._note_leaving(now)
        return actions

    def _drop_ahead(self) -> list[Action]:
        """Give back all that has not begun."""
        self._pool.clear()
        return self._drop(self._runs.queued())

    def _abort(self, now: float) -> list[Action]:
        if self._leaving.at_once:
            return []
        self._leaving.hurry(now, alive=self._runs.any_alive())
        actions: list[Action] = []
        for run in self._runs:
            if run.alive and not run.killed:
                run.again = True
                actions.append(EndTree(run.number))
        return actions

    def _note_leaving(self, now: float) -> None:
        if self.leaving and not self._runs.any_alive():
            self.talk.urgent = True
            self._leaving.note_idle(now, results=bool(self._runs))

    def finished(self, now: float) -> bool:
        """Say whether the node may go: all is said, or the time for it is over."""
        if not self.leaving or (self._runs.any_alive() and not self._leaving.at_once):
            return False
        delivered = not self._runs and self.talk.said_goodbye
        return delivered or self._leaving.is_over(now)

    # --- reports -----------------------------------------------------------------------------

    def wake_at(self, now: float) -> float | None:
        """Say when to look at `finished`, `due` and `give_back` again, unless something happens."""
        handed = [*self._runs.waiting_since(), self._pool.oldest()]
        old = [since + wire.PATIENCE for since in handed if since is not None]
        # When that is over, and what keeps the node is something else, that will tell.
        by = self._leaving.by
        times = (self.due(now), by if by is not None and by > now else None, *old)
        return min((time for time in times if time is not None), default=None)

    def due(self, now: float) -> float | None:
        """Say when the next report is to be sent; None: not before something else happens."""
        wave = bool(self._pool) or self._runs.any_queued()
        due = self.talk.due(now, waiting=self._runs.any_waiting(), wave=wave)
        rested = self._workers.rests.first_end()
        if rested is None or len(self.talk) >= FLIGHTS:
            return due
        return rested if due is None else min(rested, due)

    def build_report(self, now: float, load: wire.Load | None = None) -> Plan:
        """Make the next report; call it when it is due, and send it."""
        cuts = self._runs.cut_logs()
        ends = [run.end(now) for run in self._runs.ending(cuts)]
        reported = {end.run for end in ends}
        slots = self._workers.slots(lambda name: self._runs.current(name, reported), now)
        busy = {slot.run for slot in slots}
        shown = reported | busy
        goodbye = self.leaving and busy == {0}
        idle = [slot.name for slot in slots if not slot.run and not slot.resting]
        upto = {cut.run: cut.offset + cut.length for cut in cuts}
        number = self.talk.depart(now, Flight(now, goodbye, idle, bool(ends), upto))
        wait = self.talk.longest_wait(leased=self._runs.any_leased())
        unknown, self._unknown = self._unknown, []
        report = wire.Report(
            node=self.node,
            workers=slots,
            ends=ends,
            load=load,
            host=None if self._host_told else self._host,
            wait=0 if goodbye or self._runs.any_waiting() else wait,
            session=self.talk.session,
            previous=self._previous,
            number=number,
            leaving=self.leaving,
            ending=[run.number for run in self._runs if run.killed and run.alive],
            unknown=unknown,
            ahead=[run for run in [*self._runs.handed(), *self._pool] if run not in shown],
            last=self._pool.last,
        )
        return Plan(number, report, cuts, self.talk.patience)

    # --- what comes back ---------------------------------------------------------------------

    def on_lost(self, number: int, now: float, *, slow: bool = False) -> None:
        """Note that a report was not answered: all that is not acknowledged is sent again."""
        self.talk.fail(number, now, slow=slow)
        self._runs.send_again()
        self._host_told = False

    def on_turned_away(self, number: int, now: float, kill: Iterable[int] = ()) -> list[Action]:
        """Note that the server does not take a report; end the runs that it does not know."""
        self.on_lost(number, now, slow=True)
        return self._kill(kill)

    def on_too_large(self, number: int, now: float) -> None:
        """Note that the server, or what is before it, takes only smaller reports."""
        self.on_lost(number, now)
        self._runs.shrink()

    def on_orders(self, number: int, orders: wire.Orders, now: float) -> list[Action]:
        """Take the answer to a report, also when a younger one was answered before."""
        flight, newest = self.talk.arrive(number, orders)
        self._host_told = True
        self._runs.grow()
        moved = self._runs.acknowledge(flight.upto, orders.logs, newest=newest)
        ended = [run for number in orders.ended if (run := self._runs.get(number))]
        actions: list[Action] = [self._forget(run) for run in ended if not run.alive]
        actions += self._kill(orders.kill)
        actions += self._return(orders.drop)
        actions += self._start(orders.start)
        for ahead in orders.ahead:
            self._pool.add(ahead, now)
        if newest:
            actions += self._drain(orders.drain, now)
        actions += self.assign(now)
        self.talk.rest(flight, now, moved=moved or bool(actions), leased=self._runs.any_leased())
        if self._runs.any_leased():
            actions.append(Extend(self.talk.lease))
        return actions

    def _kill(self, numbers: Iterable[int]) -> list[Action]:
        actions: list[Action] = []
        for number in numbers:
            self._pool.drop(number)
            run = self._runs.get(number)
            if run is None:
                if number not in self._unwanted:
                    self._unwanted.append(number)
                self._unknown.append(number)
                self.talk.urgent = True
            elif not run.alive:
                # The server says whether it counts.
                self.talk.urgent = self.talk.urgent or not run.early
                run.early = True
            elif not run.killed:
                run.killed = True
                actions.append(EndTree(number))
        return actions

    def _start(self, starts: list[wire.Start]) -> list[Action]:
        actions: list[Action] = []
        for start in starts:
            last = self._workers.last(start.worker)
            busy = any(not run.told for run in self._runs.of(start.worker))
            known = start.run in self._runs or start.run in self._unwanted
            if last is None or start.run <= last or known or busy:
                continue
            run = self._add(start, None)
            if self.leaving or self._workers.pausing:
                self._give_back(run)
            else:
                actions.append(self._begin(run, start))
        return actions

    def _add(self, start: wire.Start, handed_at: float | None) -> Run:
        self._workers.note_run(start.worker, start.run)
        run = Run(start.run, start.worker, handed_at, start.exclusive or self._exclusive)
        self._runs.add(run)
        return run

    def _begin(self, run: Run, start: wire.Start) -> Begin:
        return Begin(start, self.talk.lease if run.exclusive else None)

    def _give_back(self, run: Run) -> None:
        """Refuse a run that was on its way while the node was told to leave or to pause."""
        self._runs.end(run)
        run.again = run.saved = self.talk.urgent = True

    def _drain(self, names: list[str], now: float) -> list[Action]:
        """Let workers take no more; when all of them are such, leave, unless that is taken back."""
        self._workers.drained = set(names)
        drained = self._workers.all_drained
        if drained and not self.leaving:
            actions = self.on_stop(now)
            self._leaving.drained = True
            return actions
        if self._leaving.drained and not drained and self._runs.any_alive():
            self._leaving = Leaving()
        return []

    # --- what was handed ahead ---------------------------------------------------------------

    def assign(self, now: float) -> list[Action]:
        """Put what was handed ahead into the queues of the workers that may have it.

        One that a report under way offers is left alone: the server may just give it something.
        """
        if not self._pool:
            return []
        if self.leaving or self._workers.pausing:
            self._pool.clear()
            return []
        promised = self.talk.promised()
        queues = {
            name: self._runs.queue(name)
            for name in self._workers
            if name not in promised and self._takes_more(name)
        }
        return [
            self._begin(self._add(handed.start, handed.since), handed.start)
            for handed in self._pool.assign(queues)
        ]

    def _takes_more(self, name: str) -> bool:
        behind_a_long_one = any(run.long for run in self._runs.queue(name))
        return not behind_a_long_one and not self._workers.is_resting(name)

    def give_back(self, now: float) -> list[Action]:
        """Give back what was handed ahead and has waited for too long."""
        if self._pool.give_back(now):
            self.talk.urgent = True
        late = now - wire.PATIENCE
        queued = self._runs.queued()
        return self._drop([one for one in queued if one.handed_at and one.handed_at <= late])

    def _return(self, numbers: list[int]) -> list[Action]:
        for number in numbers:
            self._pool.drop(number)
        return self._drop([run for number in numbers if (run := self._runs.get(number))])

    def _drop(self, runs: Iterable[Run]) -> list[Action]:
        fresh = [run for run in runs if run.alive and not run.killed and not run.dropped]
        for run in fresh:
            run.dropped = True
        return [Drop(run.number) for run in fresh]
