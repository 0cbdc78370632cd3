"""The node's conversation with the server: when the machine wants to report, it is done here."""

from __future__ import annotations

import logging

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred

from coalition import wire
from coalition.errors import CoalitionError, OtherFarm, Refused, TooLarge
from coalition.worker.host import Meter
from coalition.worker.link import Link
from coalition.worker.node.actions import Cut, Plan
from coalition.worker.node.machine import Machine
from coalition.worker.outbox.outbox import Outbox
from coalition.worker.reactor import Reactor, in_background
from coalition.worker.runs import Runs

log = logging.getLogger(__name__)


class Loop:
    """One node from its first report to its last."""

    def __init__(
        self,
        reactor: Reactor,
        machine: Machine,
        runs: Runs,
        outbox: Outbox,
        link: Link,
        meter: Meter,
    ) -> None:
        """Put the parts together."""
        self._reactor = reactor
        self._machine = machine
        self._runs = runs
        self._outbox = outbox
        self._link = link
        self._meter = meter
        self._timer: DelayedCall | None = None
        self._trouble = ""
        self._other: OtherFarm | None = None
        self._stopping = False
        self._finished: Deferred[None] = Deferred()
        runs.changed = self._look

    async def run(self) -> None:
        """Work until a stop was asked for and all is done.

        Raises OtherFarm when the server is that of another, once nothing runs for this one.
        """
        self._look()
        await self._finished
        if self._other is not None:
            raise self._other

    def stop(self) -> None:
        """Leave when the running jobs are done; asked again, leave without them."""
        log.info("ending %s", "at once" if self._machine.leaving else "when the jobs are done")
        self._stopping = True
        self._runs.do(self._machine.on_stop(self._reactor.seconds()))
        self._look()

    def pause(self, pausing: bool) -> None:
        """Take no job until this is lifted; what runs goes on."""
        self._runs.do(self._machine.on_pause(pausing))
        self._look()

    def _look(self) -> None:
        """Come back when there will be something to do, unless something happens before."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        now = self._reactor.seconds()
        wake = now if self._is_over(now) else self._machine.wake_at(now)
        if wake is not None and not self._finished.called:
            # Never at once: what happens in the same turn of the reactor goes into one report.
            self._timer = self._reactor.callLater(max(0.0, wake - now), self._act)

    def _is_over(self, now: float) -> bool:
        if self._other is None:
            return self._machine.finished(now)
        # Nobody is left to tell: what is not safe by then would be lost.
        return self._runs.settled or (self._stopping and self._machine.finished(now))

    def _act(self) -> None:
        now = self._reactor.seconds()
        if self._is_over(now):
            self._finished.callback(None)
            return
        self._runs.do(self._machine.give_back(now))
        due = self._machine.due(now)
        if due is not None and due <= now:
            plan = self._machine.build_report(now, self._meter.measure(now))
            in_background(self._exchange(plan))
        self._look()

    async def _exchange(self, plan: Plan) -> None:
        try:
            orders = await self._link.send(self._filled(plan), plan.patience)
            self._note("")
            self._runs.maxlog = orders.maxlog
            self._runs.do(self._machine.on_orders(plan.number, orders, self._reactor.seconds()))
            self._runs.on_acknowledged(orders.logs)
        except TooLarge as error:
            self._note(str(error))
            self._machine.on_too_large(plan.number, self._reactor.seconds())
        except OtherFarm as error:
            self._lost(plan.number, error)
            self._give_way(error)
        except Refused as error:
            self._note(str(error))
            self._turned_away(plan.number, error)
        except CoalitionError as error:
            self._lost(plan.number, error)
        except Exception:
            # A mistake of ours must not silence the node while its jobs run on.
            log.exception("report %d went wrong", plan.number)
            self._machine.on_turned_away(plan.number, self._reactor.seconds())
        finally:
            self._look()

    def _lost(self, number: int, error: CoalitionError) -> None:
        self._note(str(error))
        self._machine.on_lost(number, self._reactor.seconds())
        self._runs.let_go()

    def _give_way(self, other: OtherFarm) -> None:
        """End what runs, as two signals do; a node that leaves anyway waits for its own farm."""
        if not self._machine.leaving:
            self._other = other
            for _ in range(2):
                self._runs.do(self._machine.on_stop(self._reactor.seconds()))

    def _turned_away(self, number: int, error: Refused) -> None:
        kill = error.detail.get("kill")
        numbers = [run for run in kill if isinstance(run, int)] if isinstance(kill, list) else []
        now = self._reactor.seconds()
        self._runs.do(self._machine.on_turned_away(number, now, numbers))
        self._runs.let_go()

    def _filled(self, plan: Plan) -> wire.Report:
        plan.report.logs = [chunk for cut in plan.cuts if (chunk := self._chunk(cut)).data]
        return plan.report

    def _chunk(self, cut: Cut) -> wire.Chunk:
        data = self._outbox.read(cut.run, cut.offset, cut.length)
        if len(data) < cut.length:
            # Lost on this disk: the run ends where its output does.
            self._machine.on_output(cut.run, cut.offset + len(data))
        return wire.Chunk(cut.run, cut.offset, data)

    def _note(self, trouble: str) -> None:
        """Log the beginning and the end of an outage, not each of its tries."""
        if self._finished.called:
            return  # it is we who gave up what was under way
        if trouble and trouble != self._trouble:
            log.warning("%s", trouble)
        elif self._trouble and not trouble:
            log.info("the server answers again")
        self._trouble = trouble
