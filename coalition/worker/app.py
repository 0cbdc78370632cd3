"""The node, put together: which server, which workers, which parts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing
from random import Random
from urllib.parse import quote

from twisted.internet.defer import Deferred

from coalition.config import WorkerConfig
from coalition.worker.command import Command, CommandError, shell
from coalition.worker.discovery import find_server
from coalition.worker.host import Meter, cores, describe
from coalition.worker.link import Link
from coalition.worker.loop import Loop
from coalition.worker.machine import Machine
from coalition.worker.outbox import Outbox
from coalition.worker.process import Processes
from coalition.worker.reactor import Reactor
from coalition.worker.runs import Runs
from coalition.worker.shortage import Shortage

log = logging.getLogger(__name__)


def worker_names(config: WorkerConfig) -> list[str]:
    """Return the names of a node's workers, as 4.0 named them: one is called like the node."""
    count = max(1, cores() // config.cpus) if config.cpus else config.workers
    return [config.name] if count == 1 else [f"{config.name}-{n}" for n in range(1, count + 1)]


class App:
    """One worker.py."""

    def __init__(
        self,
        config: WorkerConfig,
        reactor: Reactor,
        *,
        port: int,
        random: Random,
        environ: Mapping[str, str],
        version: str,
    ) -> None:
        """Prepare a node.

        `port` is where to look for a server that is not named, `environ` what the jobs inherit.
        """
        self._config = config
        self._reactor = reactor
        self._port = port
        self._random = random
        self._environ = environ
        self._version = version
        self._processes = Processes(reactor)
        self._loop: Loop | None = None
        self._life: Deferred[None] | None = None

    def start(self) -> Deferred[None]:
        """Live; the result comes when the node may go. Fails with CoalitionError or OSError."""
        self._life = Deferred.fromCoroutine(self._run())
        return self._life

    def stop(self) -> None:
        """Leave when the running jobs are done; asked again, leave without them.

        A node that has not begun to work leaves at once: `start` then fails with CancelledError.
        """
        if self._loop is not None:
            self._loop.stop()
        elif self._life is not None:
            self._life.cancel()

    async def _run(self) -> None:
        config = self._config
        folder = config.datadir / f"outbox-{quote(config.name, safe='')}"
        with closing(Outbox(folder)) as outbox:
            await self._run_startup(config.startup)
            server = config.server_url or await find_server(
                self._reactor, config.broadcast, self._port
            )
            machine = Machine(
                config.name,
                worker_names(config),
                affinity=config.affinity,
                sleep=config.sleep,
                random=self._random,
            )
            machine.on_host(describe(self._version))
            runs = Runs(
                self._reactor,
                machine,
                outbox,
                self._processes,
                server=server,
                environ=self._environ,
                runcommand=config.runcommand,
            )
            await runs.recover()
            log.info("%s works for %s", config.name, server)
            link = Link(self._reactor, server, self._version)
            self._loop = Loop(self._reactor, machine, runs, outbox, link, Meter(config.sleep))
            await self._loop.run()
            await link.close()

    async def _run_startup(self, text: str) -> None:
        """Run the startup command and wait for it; what it leaves in the background stays."""
        if not text:
            return
        command = Command(shell(text), None, dict(self._environ), [])
        try:
            process = self._processes.start(command, None, _log_output)
        except (CommandError, Shortage) as error:
            log.error("startup: %s", error)
            return
        try:
            code = await self._processes.wait(process)
        except BaseException:
            self._processes.end(process)
            raise
        log.log(logging.WARNING if code else logging.INFO, "startup ends with %d", code)


def _log_output(output: bytes) -> None:
    for line in output.decode("utf-8", "replace").splitlines():
        log.info("startup: %s", line)
