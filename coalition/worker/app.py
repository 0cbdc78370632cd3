"""The node, put together: which server, which workers, which parts."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from random import Random
from urllib.parse import quote

from twisted.internet.defer import Deferred

from coalition.config import WorkerConfig
from coalition.worker.command import Way
from coalition.worker.discovery import find_server
from coalition.worker.host import Meter, cores, describe
from coalition.worker.link import Link
from coalition.worker.loop import Loop
from coalition.worker.machine import Machine
from coalition.worker.outbox import Outbox
from coalition.worker.reactor import Reactor, in_thread
from coalition.worker.runs import Runs
from coalition.worker.scratch import Scratch
from coalition.worker.startup import run_startup

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
        self._loop: Loop | None = None
        self._pausing = False
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

    def pause(self, pausing: bool) -> None:
        """Take no job until it is lifted; what runs goes on."""
        self._pausing = pausing
        if self._loop is not None:
            self._loop.pause(pausing)

    async def _run(self) -> None:
        config = self._config
        way = Way(config.runcommand, config.runasuser)
        folder = config.datadir / f"outbox-{quote(config.name, safe='')}"
        names = worker_names(config)
        with closing(Outbox(folder, config.maxoutbox, len(names))) as outbox:
            if config.startup:
                await run_startup(self._reactor, config.startup, self._environ)
            server = config.server_url or await find_server(
                self._reactor, config.broadcast, self._port
            )
            scratch = Scratch(
                config.scratch_folder,
                other_users=way.other_users,
                in_thread=partial(in_thread, self._reactor),
            )
            machine = Machine(
                config.name,
                names,
                affinity=config.affinity,
                sleep=config.sleep,
                exclusive=config.exclusive,
                random=self._random,
            )
            machine.on_host(describe(self._version))
            runs = Runs(
                self._reactor,
                machine,
                outbox,
                scratch,
                server=server,
                environ=self._environ,
                way=way,
                mark=f"{socket.gethostname()}:{folder.resolve()}",
            )
            await runs.prepare()
            await runs.recover()
            scratch.clear()
            log.info("%s works for %s", config.name, server)
            link = Link(self._reactor, server, self._version)
            self._loop = Loop(self._reactor, machine, runs, outbox, link, Meter(config.sleep))
            if self._pausing:
                self._loop.pause(True)
            try:
                await self._loop.run()
            finally:
                await runs.close()
                scratch.close()
                await link.close()
