"""A node and its server, whatever the network between them does."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from coalition import wire
from coalition.worker.node.actions import Begin, Forget, Plan
from coalition.worker.node.run import RUN_LIMIT
from tests.worker.machines import new_machine, start


class Conversation(RuleBasedStateMachine):
    """A node and a server with a network between them that loses, delays and reorders."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = new_machine("a", "b")
        self.now = 0.0
        self.next_run = 1
        self.written: dict[int, int] = {}
        self.alive: set[int] = set()
        self.unsaved: list[int] = []
        self.codes: dict[int, int] = {}
        self.sent: list[Plan] = []
        self.answers: list[tuple[int, wire.Orders]] = []
        self.server_logs: dict[int, int] = {}
        self.server_ends: dict[int, int] = {}
        self.seen: dict[str, int] = {}
        self.newest = 0
        self.wanted: dict[str, int] = {}

    def _send(self) -> None:
        due = self.machine.due(self.now)
        if due is not None:
            self.now = max(self.now, due)
            self.sent.append(self.machine.build_report(self.now))

    def _serve(self, plan: Plan) -> wire.Orders:
        orders = wire.Orders()
        for cut in plan.cuts:
            have = self.server_logs.get(cut.run, 0)
            if cut.offset <= have:
                self.server_logs[cut.run] = max(have, cut.offset + cut.length)
            orders.logs[cut.run] = self.server_logs.get(cut.run, 0)
        for end in plan.report.ends:
            assert self.server_ends.setdefault(end.run, end.code) == end.code
            assert self.server_logs.get(end.run, 0) == self.written[end.run]
            orders.ended.append(end.run)
        if plan.number > self.newest:
            self.newest = plan.number
            self._see(plan)
        orders.start = [
            start(run, worker) for worker, run in self.wanted.items() if run not in self.server_ends
        ]
        return orders

    def _see(self, plan: Plan) -> None:
        """Take a worker that was seen with a run and is idle without its end for a lost one."""
        for slot in plan.report.workers:
            assert slot.run or self.seen.get(slot.name, 0) in (0, *self.server_ends)
            assert slot.last >= self.seen.get(slot.name, 0)
            self.seen[slot.name] = slot.run

    def _carry_out(self, number: int, orders: wire.Orders) -> None:
        for action in self.machine.on_orders(number, orders, self.now):
            if isinstance(action, Begin):
                assert action.start.run not in self.written
                self.written[action.start.run] = 0
                self.alive.add(action.start.run)
            elif isinstance(action, Forget):
                assert action.run in self.server_ends

    @rule(worker=st.sampled_from(["a", "b"]))
    def submit(self, worker: str) -> None:
        if self.wanted.get(worker) in (None, *self.server_ends):
            self.wanted[worker] = self.next_run
            self.next_run += 1

    @rule(data=st.data(), size=st.sampled_from([1, 1000, RUN_LIMIT, 3 * RUN_LIMIT]))
    @precondition(lambda self: self.alive)
    def write(self, data: st.DataObject, size: int) -> None:
        run = data.draw(st.sampled_from(sorted(self.alive)))
        self.written[run] += size
        self.machine.on_output(run, self.written[run])

    @rule(data=st.data(), code=st.integers(0, 3))
    @precondition(lambda self: self.alive)
    def end(self, data: st.DataObject, code: int) -> None:
        run = data.draw(st.sampled_from(sorted(self.alive)))
        self.alive.remove(run)
        self.codes[run] = code
        self.machine.on_exit(run, code, self.now)
        self.unsaved.append(run)

    @rule()
    @precondition(lambda self: self.unsaved)
    def save(self) -> None:
        self.machine.on_saved(self.unsaved.pop(0))

    @rule()
    def send(self) -> None:
        self._send()

    @rule(data=st.data(), answered=st.booleans())
    @precondition(lambda self: self.sent)
    def arrive(self, data: st.DataObject, answered: bool) -> None:
        plan = self.sent.pop(data.draw(st.integers(0, len(self.sent) - 1)))
        orders = self._serve(plan)
        if answered:
            self.answers.append((plan.number, orders))
        else:
            self.machine.on_lost(plan.number, self.now)

    @rule()
    @precondition(lambda self: self.sent)
    def lose(self) -> None:
        self.machine.on_lost(self.sent.pop(0).number, self.now)

    @rule(data=st.data())
    @precondition(lambda self: self.answers)
    def answer(self, data: st.DataObject) -> None:
        self._carry_out(*self.answers.pop(data.draw(st.integers(0, len(self.answers) - 1))))

    @invariant()
    def two_requests_at_most(self) -> None:
        assert len(self.sent) + len(self.answers) <= 2

    def teardown(self) -> None:
        """When the network works again, everything arrives."""
        for run in self.unsaved:
            self.machine.on_saved(run)
        for _ in range(200):
            self._send()
            while self.sent:
                plan = self.sent.pop(0)
                self.answers.append((plan.number, self._serve(plan)))
            while self.answers:
                self._carry_out(*self.answers.pop(0))
        assert self.server_ends == self.codes
        arrived = {run: self.server_logs.get(run, 0) for run in self.written}
        assert arrived == self.written


TestConversation = Conversation.TestCase
