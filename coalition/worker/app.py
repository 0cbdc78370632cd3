"""The node, put together: which server, which workers, which parts."""

from __future__ import annotations

import dataclasses
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from functools import partial
from random import Random
from typing import cast
from urllib.parse import quote

from twisted.internet.defer import Deferred

from coalition.config import WorkerConfig
from coalition.errors import ConfigError, OtherFarm
from coalition.worker.command.command import Way
from coalition.worker.command.lookup import Owners
from coalition.worker.command.scratch import Scratch
from coalition.worker.discovery import find_server
from coalition.worker.health import look
from coalition.worker.host import Meter, cores, describe
from coalition.worker.link import Link
from coalition.worker.loop import Loop
from coalition.worker.node.machine import Machine
from coalition.worker.outbox.outbox import Outbox
from coalition.worker.outbox.outboxes import Outboxes
from coalition.worker.process.cgroup import Cgroups
from coalition.worker.reactor import Reactor, in_thread, sleep
from coalition.worker.runs import Runs
from coalition.worker.session import follow, is_copy
from coalition.worker.startup import run_startup

BEYOND = (
    "runcommand changes the user, so worker.py itself has no right to end what it starts, and can "
    "make no control group (cgroup v2, from Linux 5.14 on) that would surely end it. Delegate one "
    "to it, as Delegate=yes does for a service of systemd, or have root run worker.py, with "
    "runasuser=1"
)

OPEN_AGAIN = 5.0
"""Seconds until an outbox that could not be opened is tried again: a full disk is seldom emptied
sooner."""

log = logging.getLogger(__name__)


def worker_names(config: WorkerConfig) -> list[str]:
    """Return the names of a node's workers, as 4.0 named them: one is called like the node."""
    count = max(1, cores() // config.cpus) if config.cpus else config.workers
    return [config.name] if count == 1 else [f"{config.name}-{n}" for n in range(1, count + 1)]


def way_of(config: WorkerConfig, node: str) -> Way:
    """Return how a node starts its jobs; `node` is its name for control groups.

    Raises ConfigError when the settings do not allow that on this computer.
    """
    way = Way(config.runcommand, config.runasuser)
    if not way.needs_reach or Cgroups(node).reach_all():
        return way
    if config.exclusive:
        raise ConfigError(f"[worker] exclusive: {BEYOND}")
    log.warning("jobs are ended by the runcommand, and exclusive ones are refused: %s", BEYOND)
    return dataclasses.replace(way, beyond=True)


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
        self._names = worker_names(config)
        self._folder = config.datadir / f"outbox-{quote(config.name, safe='')}"
        self._mark = f"{socket.gethostname()}:{self._folder.resolve()}"
        self._loop: Loop | None = None
        self._pausing = False
        self._stopping = False
        self._life: Deferred[None] | None = None
        self._tidying = False
        """What an earlier life has left is being ended: who stops this one has to wait for that."""

    def start(self) -> Deferred[None]:
        """Live; the result comes when the node may go. Fails with CoalitionError or OSError."""
        self._life = Deferred.fromCoroutine(self._run())
        return self._life

    def stop(self) -> None:
        """Leave when the running jobs are done; asked again, leave without them.

        A node that has not begun to work leaves at once: `start` then fails with CancelledError.
        """
        again, self._stopping = self._stopping, True
        if self._loop is not None:
            self._loop.stop()
        elif self._life is not None and (again or not self._tidying):
            self._life.cancel()

    def pause(self, pausing: bool) -> None:
        """Take no job until it is lifted; what runs goes on."""
        log.info("pausing between jobs" if pausing else "taking jobs again")
        self._pausing = pausing
        if self._loop is not None:
            self._loop.pause(pausing)

    async def _run(self) -> None:
        config = self._config
        way = way_of(config, self._mark)
        with closing(Outboxes(self._folder, config.maxoutbox, len(self._names))) as outboxes:
            if config.startup:
                await run_startup(self._reactor, config.startup, self._environ)
            server = config.server_url or await find_server(
                self._reactor, config.broadcast, self._port
            )
            farm = await _farm_at(self._reactor, server)
            open_outbox: Callable[..., Awaitable[Outbox]] = outboxes.open
            while not self._stopping:
                outbox = await open_outbox(self._reactor, server, farm)
                try:
                    await self._work(outboxes, outbox, way, server)
                    return
                except OtherFarm as error:
                    # As if the node was started anew: runs and numbers mean nothing over there.
                    log.info("%s begins anew for the farm that is at %s now", config.name, server)
                    self._loop, farm = None, cast(str, error.detail["farm"])
                    open_outbox = partial(_open_patiently, outboxes)

    async def _work(self, outboxes: Outboxes, outbox: Outbox, way: Way, server: str) -> None:
        """Work for the farm at a URL, whose outbox is open; raises OtherFarm when it is gone."""
        config = self._config
        scratch = Scratch(
            config.scratch_folder,
            other_users=way.other_users,
            in_thread=partial(in_thread, self._reactor),
        )
        machine = Machine(
            config.name,
            self._names,
            affinity=config.affinity,
            sleep=config.sleep,
            exclusive=config.exclusive,
            random=self._random,
        )
        machine.on_host(describe(self._version))
        if copied := is_copy(self._folder):
            log.warning("%s is a copy: what still runs for the first one is left", self._folder)
        machine.on_previous(follow(self._folder, machine.talk.session))
        runs = Runs(
            self._reactor,
            machine,
            outbox,
            scratch,
            server=server,
            environ=self._environ,
            way=way,
            owners=Owners(self._reactor),
            mark=self._mark,
        )
        await runs.prepare()
        self._tidying = True
        await runs.recover(outboxes.others(), copied=copied)
        self._tidying = False
        outboxes.leave_others()
        scratch.clear()
        log.info("%s works for %s", config.name, server)
        link = Link(self._reactor, server, self._version, outboxes)
        self._loop = Loop(self._reactor, machine, runs, outbox, link, Meter(config.sleep))
        if self._pausing:
            self._loop.pause(True)
        if self._stopping:
            self._loop.stop()
        try:
            await self._loop.run()
        finally:
            await link.close()
            await runs.close()
            scratch.close()


async def _open_patiently(outboxes: Outboxes, reactor: Reactor, server: str, farm: str) -> Outbox:
    """Return the outbox for a farm once it can be opened; raises OutboxUnreadable.

    Who starts a node sees that it ends; when it is the next farm's turn nobody may look.
    """
    told = ""
    while True:
        try:
            return await outboxes.open(reactor, server, farm)
        except OSError as error:
            if str(error) != told:
                log.error("there is no outbox for the farm that is at %s now: %s", server, error)
            told = str(error)
            await sleep(reactor, OPEN_AGAIN)


async def _farm_at(reactor: Reactor, server: str) -> str | None:
    """Return the farm that answers at a URL, "" if it tells none, None if none answers."""
    try:
        return (await look(reactor, server)).farm
    except Exception as error:
        log.info("%s does not say yet which farm it is: %s", server, error)
        return None
