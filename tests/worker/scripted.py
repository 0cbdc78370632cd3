"""A small server that speaks protocol 2 and does what a test tells it, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.tcp import Server
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from coalition import wire

PATIENCE = 20.0
"""Seconds until a test gives up what it waits for."""


class ScriptedServer(Resource):
    """Gives out the runs it was told to, keeps what is reported, and holds idle requests.

    A start is repeated in every answer until the worker reports the run, as a real server does.
    It tells `farm`, if it has one, and refuses reports for another.
    """

    isLeaf = True

    def __init__(self, port: int = 0, farm: str = "") -> None:
        super().__init__()
        self.port = port
        self.farm = farm
        self.reports: list[wire.Report] = []
        self.logs: dict[int, bytearray] = {}
        self.ends: dict[int, list[wire.End]] = {}
        self._status = 200
        self._acknowledging = True
        self._starts: dict[int, wire.Start] = {}
        self._kills: set[int] = set()
        self._held: tuple[Request, wire.Report, wire.Orders] | None = None
        self._news = threading.Condition()
        self._reactor = EPollReactor()
        self._listening: Any = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def holds(self) -> bool:
        """Whether a request waits for its answer."""
        return self._held is not None

    @contextmanager
    def running(self) -> Iterator[ScriptedServer]:
        thread = threading.Thread(target=self._reactor.run, args=(False,))
        self._reactor.callWhenRunning(self._listen)
        thread.start()
        try:
            self.wait_for(lambda: self._listening)
            yield self
        finally:
            self._reactor.callFromThread(self._reactor.stop)
            thread.join()

    # --- what a test says, from its own thread ---------------------------------------------

    def give(self, run: int, command: str, worker: str = "node", **more: Any) -> wire.Start:
        """Hand out a run."""
        start = wire.Start(worker, run, run + 1000, command, **more)
        self._call(self._starts.__setitem__, run, start)
        return start

    def kill(self, run: int) -> None:
        """Want a run ended."""
        self._call(self._kills.add, run)

    def answer(self, status: int) -> None:
        """Answer reports with this status from now on, and let go of the held one."""
        self._call(setattr, self, "_status", status)

    def acknowledge(self, yes: bool) -> None:
        """Acknowledge ends from now on, or do not."""
        self._call(setattr, self, "_acknowledging", yes)

    def send(self, orders: wire.Orders) -> None:
        """Answer the held request with these orders."""
        self._call(self._answer_held, orders)

    def go_away(self, hang_up: bool = True) -> None:
        """Close the port and all connections, if that is wanted; another may have the port then."""

        def close() -> None:
            self._listening.stopListening().addCallback(closed)
            for reader in self._reactor.getReaders() if hang_up else ():
                if isinstance(reader, Server):
                    reader.abortConnection()

        def closed(_: object) -> None:
            with self._news:
                self._listening = None
                self._news.notify_all()

        self._reactor.callFromThread(close)
        self.wait_for(lambda: self._listening is None)

    def come_back(self) -> None:
        """Listen again, on the same port."""
        self._reactor.callFromThread(self._listen)

    def become(self, farm: str) -> None:
        """Answer the held request, and be the server of another farm after that, without jobs."""

        def change() -> None:
            self._answer_held()
            self.farm = farm
            self._starts.clear()

        self._call(change)

    def wait_for(self, what: Callable[[], object]) -> Any:
        """Wait until `what` gives something true, and return that."""
        with self._news:
            assert self._news.wait_for(what, PATIENCE), self._seen()
            return what()

    def wait_for_end(self, run: int) -> wire.End:
        """Wait until the end of a run was reported."""
        ends: list[wire.End] = self.wait_for(lambda: self.ends.get(run))
        return ends[0]

    def wait_for_log(self, run: int, text: bytes) -> None:
        """Wait until the log of a run holds a text."""
        self.wait_for(lambda: text in self.logs.get(run, b""))

    def wait_for_report(self, expected: Callable[[wire.Report], object]) -> None:
        """Wait for a report from now on that is as expected."""
        seen = len(self.reports)
        self.wait_for(lambda: any(map(expected, self.reports[seen:])))

    def _seen(self) -> str:
        logs = {run: bytes(log[-500:]) for run, log in self.logs.items()}
        return f"ends {self.ends}, logs {logs}, last reports {self.reports[-3:]}"

    def _call(self, what: Callable[..., object], *args: object) -> None:
        def call() -> None:
            with self._news:
                what(*args)
                self._look_at_held()

        self._reactor.callFromThread(call)

    # --- protocol 2, in the reactor's thread -----------------------------------------------

    def _listen(self) -> None:
        with self._news:
            self._listening = self._reactor.listenTCP(self.port, Site(self), interface="127.0.0.1")
            self.port = self._listening.getHost().port
            self._news.notify_all()

    def render_GET(self, request: Request) -> bytes:
        assert request.path == b"/health"
        return msgspec.json.encode(wire.Health(True, [], self.farm))

    def render_POST(self, request: Request) -> Any:
        if self._status != 200:
            request.setResponseCode(self._status)
            return b"not now"
        assert request.content is not None
        report = msgspec.json.decode(request.content.read(), type=wire.Report)
        if self.farm and report.farm not in ("", self.farm):
            request.setResponseCode(409)
            body = wire.ErrorBody("other_farm", "not here", {"farm": self.farm})
            return msgspec.json.encode(wire.ErrorAnswer(body))
        with self._news:
            self._answer_held()
            self._held = request, report, self._take(report)
            request.notifyFinish().addErrback(self._forget, request)
            self._look_at_held()
            self._news.notify_all()
        return NOT_DONE_YET

    def _take(self, report: wire.Report) -> wire.Orders:
        self.reports.append(report)
        orders = wire.Orders()
        for chunk in report.logs:
            log = self.logs.setdefault(chunk.run, bytearray())
            if chunk.offset <= len(log):
                log += chunk.data[len(log) - chunk.offset :]
            orders.logs[chunk.run] = len(log)
        for end in report.ends:
            bare = wire.End(end.run, end.code, end.again)  # its times are of no use to a test
            self.ends.setdefault(end.run, []).append(bare)
        if self._acknowledging:
            orders.ended = [end.run for end in report.ends]
        return orders

    def _look_at_held(self) -> None:
        """Answer the held request if there is news in it, or it does not want to be held."""
        if self._held is None:
            return
        _, report, orders = self._held
        held = {slot.run for slot in report.workers}
        over = held | self.ends.keys()
        orders.start = [start for run, start in self._starts.items() if run not in over]
        orders.kill = [run for run in self._kills if run in held]
        if orders.start or orders.kill or orders.ended or not report.wait or self._status != 200:
            self._answer_held()

    def _answer_held(self, orders: wire.Orders | None = None) -> None:
        if self._held is None:
            return
        request, _, gathered = self._held
        self._held = None
        request.setResponseCode(self._status)
        answer = orders or gathered
        answer.farm = self.farm
        request.write(msgspec.json.encode(answer))
        request.finish()

    def _forget(self, _reason: object, request: Request) -> None:
        with self._news:
            if self._held and self._held[0] is request:
                self._held = None
            self._news.notify_all()
