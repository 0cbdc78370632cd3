"""The parts of a server and how they hang together."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from coalition.config import ServerConfig
from coalition.core.changes import Changes
from coalition.core.farm import Farm
from coalition.errors import NotDurable, StoreBusy
from coalition.server import timers
from coalition.server.discovery import Discovery
from coalition.server.joblog import JobLogs
from coalition.server.journal import Journal
from coalition.server.metrics import Metrics
from coalition.server.nodes import Nodes
from coalition.server.service import Service
from coalition.server.site import make_site
from coalition.server.slices import SteadyClock, pause
from coalition.server.stream import Stream
from coalition.server.whitelist import Whitelist
from coalition.store import loading, versions, writing
from coalition.store.engine import Store

log = logging.getLogger(__name__)

READERS = 4
"""Threads that read lists: more would only wait for each other's Python."""

GUARD = 60.0
"""Seconds between two looks at the lock of the database."""

YOUNG = 20_000
"""New objects between two looks for cyclic garbage: what a request leaves behind has no cycles."""


class App:
    """A server from its start to its end."""

    def __init__(
        self, reactor: Any, config: ServerConfig, store: Store, public: Path, version: str
    ) -> None:
        """Load the farm from a store that is locked and prepared, and make all parts."""
        self._reactor = reactor
        clock = self._clock = SteadyClock(reactor)
        self._store = store
        self._config = config
        self.exit_code = 0
        self._writer = ThreadPool(1, 1, "journal")
        self._readers = ThreadPool(1, READERS, "readers")
        farm = Farm(Changes(), config.timeout)
        identity = self._load(farm)
        logs = self._logs = JobLogs(config.logs, config.maxlogsize)
        self._removing = False
        self.journal: Journal[writing.Batch] = Journal(
            clock, farm.changes, self._snapshot, self._write, self._committed, self._crash
        )
        nodes = Nodes(clock, farm, logs, self.journal.durable, config.maxlogsize, identity)
        stream = self._stream = Stream(clock, token_hex(4))
        metrics = self._metrics = Metrics(farm, {"version": version, "farm": identity})
        self.service = Service(
            clock,
            farm,
            self.journal,
            logs,
            nodes,
            self._read,
            stream,
            metrics,
            Whitelist(config.commandwhitelist),
            version,
        )
        self._site = make_site(self.service, public, config.maxbody, reactor)
        self._ports: list[Any] = []

    def _load(self, farm: Farm) -> str:
        """Take in the database and give its identity; every worker gets a full `timeout`."""
        gc.disable()
        try:
            with self._store.writing() as connection:
                farm.load(loading.load(connection))
                last = self._last_timeout = loading.last_timeout(connection)
                identity = versions.identity(connection)
                self._ended = loading.ended_runs(connection)
                self._fresh = loading.fresh_runs(connection)
                writing.note_timeout(connection, max(last, farm.worker_timeout))
        finally:
            gc.enable()
        farm.check_invariants()
        jobs, workers = len(farm.tree.jobs), len(farm.workers)
        log.info("%d jobs and %d workers of farm %s loaded", jobs, workers, identity)
        return identity

    def _snapshot(self, changes: Changes) -> writing.Batch:
        return writing.snapshot(changes, self._logs.owed, self._logs.folder.cleared)

    def _write(self, batch: writing.Batch) -> Deferred[None]:
        return deferToThreadPool(self._reactor, self._writer, writing.write, self._store, batch)

    def _read(self, function: Callable[..., Any], *args: object) -> Deferred[Any]:
        def read() -> Any:
            with self._store.reading() as connection:
                return function(connection, *args)

        return deferToThreadPool(self._reactor, self._readers, read)

    def _committed(self, changes: Changes) -> None:
        self._logs.on_committed(changes)
        self._stream.on_committed(changes)
        self._metrics.on_committed(changes)
        if not self._removing:
            self._remove_logs()

    def _remove_logs(self) -> None:
        """Take cleared logs away, some in each turn."""
        self._removing = self._logs.folder.clear_some()
        if self._removing:
            self._reactor.callLater(0, self._remove_logs)

    def start(self) -> None:
        """Listen, and begin to look at the clock. Raises CannotListenError."""
        reactor = self._reactor
        tcp = reactor.listenTCP(self._config.port, self._site, backlog=4096)
        port = tcp.getHost().port
        self._ports = [tcp, reactor.listenUDP(port, Discovery())]
        self._writer.start()
        self._readers.start()
        farm = self.service.farm
        self._logs.folder.sort_out(farm.tree.jobs, farm.next_job, self._fresh)
        self._logs.mend(self._ended)
        self._remove_logs()
        # Now, for all this may have taken a while in which nobody could report.
        farm.on_beginning(self._clock.seconds(), self._last_timeout)
        reactor.callLater(0, timers.tick, self.service)
        reactor.callLater(GUARD, self._guard)
        # The reactor need not wait long for a thread that computes.
        sys.setswitchinterval(0.001)
        # What was loaded stays: the collector need not look at a million jobs again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG, 20, 100)
        log.info("listening on port %d", port)

    def _guard(self) -> None:
        """See that no other server has taken the database after a cut of its connection."""
        checked = deferToThreadPool(self._reactor, self._writer, self._store.check_lock)
        checked.addErrback(self._guard_failed)
        checked.addCallback(lambda _: self._reactor.callLater(GUARD, self._guard))

    def _guard_failed(self, failure: Failure) -> None:
        if failure.check(StoreBusy):
            log.critical("the server stops: %s", failure.value)
            self._crash(failure)
        else:
            log.warning("the lock of the database could not be checked: %s", failure.value)

    def stop(self) -> Deferred[None]:
        """Take no more work, write the journal, and let everything go."""
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        if self.service.stopping:
            return
        self.service.stopping = True
        log.info("stopping")
        for port in self._ports:
            await _stopped(port)
        self.service.nodes.release_all()
        self._stream.close()
        try:
            await self.journal.durable()
        except NotDurable:
            log.exception("the journal could not be written")
            self.exit_code = 1
        # Those who are answered last get their answers: the reactor sends them in its next turn.
        await pause(self._reactor)
        self._writer.stop()
        self._readers.stop()
        self._store.close()

    def _crash(self, failure: Failure) -> None:
        self.exit_code = 1
        self._reactor.stop()


async def _stopped(port: Any) -> None:
    stopped = port.stopListening()
    if stopped is not None:
        await stopped
