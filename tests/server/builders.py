"""Short ways to a server: a real one over HTTP, and its parts on a clock of the test."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import requests
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from coalition import wire
from coalition.core.changes import Changes
from coalition.core.farm import Farm
from coalition.server.auth import NOBODY
from coalition.server.joblog import JobLogs
from coalition.server.journal import Journal
from coalition.server.lists import Listing
from coalition.server.metrics import Metrics
from coalition.server.nodes import Nodes
from coalition.server.service import Service
from coalition.server.stream import Stream
from coalition.server.whitelist import Whitelist
from coalition.store import loading, writing
from coalition.store.engine import Store, open_store
from coalition.store.listing import ALL, Asked, Condition

T = TypeVar("T")

NOW = 1_700_000_000.0


class Api:
    """The REST API of a server that runs."""

    def __init__(self, url: str, datadir: Path) -> None:
        self.url = url
        self.datadir = datadir
        self.session = requests.Session()

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> requests.Response:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        return self.session.request(method, self.url + path, data=data, timeout=30, **more)

    def get(self, path: str) -> Any:
        return self._value(self.ask("GET", f"/api/{path}"))

    def put(self, body: Any) -> Any:
        return self._value(self.ask("PUT", "/api/jobs", body))

    def post(self, path: str, body: Any) -> Any:
        return self._value(self.ask("POST", f"/api/{path}", body))

    def delete(self, path: str, body: Any) -> Any:
        return self._value(self.ask("DELETE", f"/api/{path}", body))

    def worker(self, call: str, name: str, **fields: object) -> str:
        """What a worker of protocol 1 asks, and the text it gets."""
        answer = self.session.post(
            f"{self.url}/workers/{call}", data={"hostname": name, **fields}, timeout=30
        )
        assert answer.status_code == 200, answer.text
        return answer.text

    def report(self, report: wire.Report) -> wire.Orders:
        """What a node of protocol 2 reports, and its orders."""
        answer = self.ask("POST", wire.NODE_PATH, msgspec.json.encode(report))
        assert answer.status_code == 200, answer.text
        return msgspec.json.decode(answer.content, type=wire.Orders)

    @staticmethod
    def _value(answer: requests.Response) -> Any:
        assert answer.status_code == 200, answer.text
        return answer.json()


TURN = 1e-4
"""Seconds that a turn of the reactor takes."""


class Turns(Clock):
    """A clock on which what is to be done at once is done in the next turn, as in a reactor."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: Any) -> Any:  # type: ignore[override]
        return super().callLater(max(delay, TURN), callable, *args)


class Inside:
    """The parts of a server on a clock that only the test moves; the database is a real one."""

    def __init__(self, folder: Path, store: Store, timeout: float, maxlog: int) -> None:
        self.clock = Turns()
        self.clock.advance(NOW)
        self.farm = Farm(Changes(), timeout)
        with store.writing() as connection:
            self.farm.load(loading.load(connection))
            last = loading.last_timeout(connection)
            ended, fresh = loading.ended_runs(connection), loading.fresh_runs(connection)
            writing.note_timeout(connection, max(last, timeout))
        self.farm.on_beginning(NOW, last)
        self.store = store
        self.stopped: list[Failure] = []
        self.logs = JobLogs(folder / "logs", maxlog)
        self.logs.folder.sort_out(self.farm.tree.jobs, self.farm.next_job, fresh)
        self.logs.mend(ended)
        self.on_committed = self.logs.on_committed
        self.journal: Journal[writing.Batch] = Journal(
            self.clock,
            self.farm.changes,
            lambda changes: writing.snapshot(changes, self.logs.owed, self.logs.folder.cleared),
            lambda batch: maybeDeferred(writing.write, store, batch),
            self._committed,
            self.stopped.append,
        )
        self.nodes = Nodes(self.clock, self.farm, self.logs, self.journal.durable, maxlog)
        self.stream = Stream(self.clock, "s")
        metrics = Metrics(self.farm, {})
        self.service = Service(
            self.clock,
            self.farm,
            self.journal,
            self.logs,
            self.nodes,
            self._read,
            self.stream,
            metrics,
            Whitelist(""),
            "5",
        )

    def _committed(self, changes: Changes) -> None:
        self.on_committed(changes)
        self.stream.on_committed(changes)

    def _read(self, function: Callable[..., Any], *args: object) -> Deferred[Any]:
        def read() -> Any:
            with self.store.reading() as connection:
                return function(connection, *args)

        return maybeDeferred(read)

    # --- waiting ----------------------------------------------------------------------------

    def begin(self, coroutine: Awaitable[T]) -> list[T | Failure]:
        """Begin something; the list holds its result once it is there."""
        results: list[T | Failure] = []
        ensureDeferred(coroutine).addBoth(results.append)  # type: ignore[arg-type]
        return results

    def turn(self, times: int = 1) -> None:
        """Let the reactor go round."""
        for _ in range(times):
            self.clock.advance(TURN)

    def do(self, coroutine: Awaitable[T]) -> T:
        """Give what comes of something that needs no time to pass, or raise it."""
        results = self.begin(coroutine)
        for _ in range(1000):
            if results:
                break
            self.turn()
        (result,) = results
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with the server's look at the clock at its end."""
        self.clock.advance(seconds)
        self.farm.on_tick(self.clock.seconds())
        self.nodes.look()
        if self.logs.owed:
            self.logs.try_again()
        if self.farm.changes:
            self.journal.kick()
        self.turn(3)

    # --- users and nodes --------------------------------------------------------------------

    def submit(self, body: Any = None, **fields: Any) -> Any:
        """Submit one job, or the body of a request."""
        body = {"command": "true", **fields} if body is None else body
        return self.do(self.service.submit(NOBODY, json.dumps(body).encode()))

    def order(self, order: Callable[..., None], *ids: int) -> None:
        self.do(self.service.order_jobs(NOBODY, order, list(ids)))

    def job(self, id: int) -> dict[str, Any]:
        return msgspec.structs.asdict(self.do(self.service.job(NOBODY, id)))

    def children(self, parent: int) -> list[dict[str, Any]]:
        return _rows(self.do(self.service.children(NOBODY, parent, ALL)))

    def workers(self) -> list[dict[str, Any]]:
        return _rows(self.do(self.service.workers(NOBODY, ALL)))

    def events(self, job: int) -> list[dict[str, Any]]:
        asked = Asked((Condition("job_id", "in", (job,)),))
        return _rows(self.do(self.service.events(NOBODY, asked, None)))

    def state(self, id: int) -> str:
        state: str = self.job(id)["state"]
        return state

    def log(self, id: int) -> str:
        path = Path(self.logs.path(id))
        return path.read_text(errors="replace") if path.exists() else ""

    def held(self, *runs: int, node: str = "n", **fields: Any) -> list[wire.Orders | Failure]:
        """Begin a report that agrees to wait."""
        return self.begin(self.service.report(report(*runs, node=node, wait=15, **fields), "ip"))

    def told(self, *runs: int, node: str = "n", **fields: Any) -> wire.Orders:
        """A report that wants an answer at once, and the answer."""
        return self.do(self.service.report(report(*runs, node=node, **fields), "ip"))

    def started(self, node: str = "n") -> wire.Start:
        """A node of one worker gets its one start, and says that it has it."""
        (start,) = self.told(0, node=node).start
        self.told(start.run, node=node)
        return start


def _rows(listing: Listing[Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = msgspec.json.decode(listing.rows)
    assert len(rows) == listing.total
    return rows


def report(*runs: int, node: str = "n", **fields: Any) -> wire.Report:
    """A report of a node with a worker for each of the runs (0: it is idle)."""
    slots = [wire.Slot(f"{node}-{number}", run) for number, run in enumerate(runs, 1)]
    return wire.Report(node, slots, **fields)


@contextmanager
def inside(folder: Path, timeout: float = 60.0, maxlog: int = wire.MAXLOG) -> Iterator[Inside]:
    """The parts of a server on the database of a folder, from its start to its sudden end."""
    store = open_store(f"sqlite:///{folder / 'coalition.db'}")
    store.lock()
    store.prepare()
    try:
        yield Inside(folder, store, timeout, maxlog)
    finally:
        store.close()
