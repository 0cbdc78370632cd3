"""A worker's keeper: its queue of commands, the one that runs, and the connection to worker.py."""

from __future__ import annotations

import os
import select
import sys
import time

from .messages import TYPE_CHECKING, boottime, pack, unpack
from .orphans import adopt_orphans, wake_as_orphan

if TYPE_CHECKING:
    from .messages import Message

if TYPE_CHECKING and sys.platform != "win32":
    from .killer import Killer

if sys.platform != "win32":
    from .ending import Ending
    from .run import Run
    from .starting import enter, exit_descriptor, settle, spawn

assert sys.platform != "win32"

GRACE = 3.0
"""Seconds between the polite signal and the one that cannot be refused."""

CLOSING_GRACE = 2.0
"""The same when worker.py is gone."""

LAPSED_GRACE = 0.5
"""The same when the lease of an exclusive run is over: another node will have the job soon."""

ANNOUNCED = 0.05
"""Seconds after which worker.py is told of a run's process; what is shorter costs it nothing."""

HOLD = 0.02
"""Seconds that the end of a short run waits for company while more commands stand in the queue, and
between two looks at the connection then."""

LIMIT = 32 * 1024
"""Bytes kept for a worker.py that does not read; then the command that runs has to wait."""

POLLED = 0.02
"""Seconds between two looks at a command whose end no descriptor tells, at most."""

LONGEST_WAIT = 5.0
"""Seconds that a dead orphan keeps its number."""

LEASE_WAIT = 1.0
"""Seconds between two looks at a lease: `poll` does not count those that the computer slept."""


class Keeper:
    """Runs the commands that worker.py sends, until that closes the connection."""

    def __init__(self, control: int, cgroup: str, *, adopt: bool) -> None:
        """Live as the process that this is; `control` is connected to worker.py."""
        os.set_blocking(control, False)
        os.set_inheritable(control, False)
        # A job may have stopped it, and nobody else would wake it to end that. Where worker.py is
        # gone by now, it is awake and hears of that.
        wake_as_orphan()
        adopting = adopt and adopt_orphans()
        self._control = control
        self._connected = True
        self._heard = bytearray()
        self._gathered: list[Message] = []
        self._since = 0.0
        self._unsent = b""
        self._looked = 0.0
        self._environment: dict[bytes, bytes] = {}
        self._queue: list[Message] = []
        self._run: Run | None = None
        self._adopting = adopting
        self._ending = Ending(cgroup, adopting=adopting)
        self._tell(("ready", adopting))

    def work(self) -> None:
        """Run commands until the connection is closed and all is ended."""
        while self._connected:
            # What is unsent may be the end of a run that worker.py would take for the next one.
            if not self._queue or self._unsent:
                self._send()
                self._wait([], None)
            elif time.monotonic() - self._looked > HOLD:
                # Who has stopped this process for a while may have ended worker.py meanwhile.
                self._send()
                self._wait([], 0.0)
            else:
                self._keep(self._queue.pop(0))
        self._send()
        self._finish()

    def _finish(self) -> None:
        """Say the rest to a worker.py that only wants no more from us, and go."""
        left = 0
        while self._unsent and len(self._unsent) != left:
            left = len(self._unsent)
            self._wait([], LONGEST_WAIT)
        self._ending.leave()

    # --- one run -----------------------------------------------------------------------------

    def _keep(self, start: Message) -> None:
        run = self._run = self._begin(start)
        if run is None:
            return
        living = self._ending.reap_soon(run)
        if run.code is None:
            run.exit = exit_descriptor(run.pid)
        while run.code is None or living:
            self._attend(run)
            if run.left:
                break
            living = self._ending.reap(run)
        self._run = None
        self._ended(run)

    def _attend(self, run: Run) -> None:
        """See to a run, and wait for whatever comes next."""
        try:
            self._mind(run, time.monotonic())
            if not run.left:
                self._follow(run, time.monotonic())
        except Exception as error:
            # How it ends is told all the same, and what waits behind it has no part in it.
            run.note_mistake(error)
            time.sleep(POLLED)
            if self._connected:
                self._hear()

    def _begin(self, start: Message) -> Run | None:
        _, number, arguments, variables, directory, owner, killer, lease = start
        if lease is not None and lease <= boottime():
            self._tell(("dropped", number))
            return None
        place = "directory"
        readable = writable = -1
        try:
            environment = {**self._environment, **variables}
            readable, writable = os.pipe()
            os.set_blocking(readable, False)
            enter(directory, owner)
            place = "program"
            signaller = None if killer is None else self._killer(*killer)
            began = time.monotonic()
            pid = spawn(arguments, environment, writable, owner)
            return Run(number, began, pid, readable, lease, signaller)
        except Exception as error:
            # Whatever it is, what waits behind this command has no part in it.
            reason = getattr(error, "strerror", None) or str(error)
            self._tell(("failed", number, getattr(error, "errno", None) or 0, place, reason))
            if readable >= 0:
                os.close(readable)
            return None
        finally:
            if writable >= 0:
                os.close(writable)
            os.chdir("/")

    def _killer(self, arguments: list[list[bytes]], variables: dict[bytes, bytes]) -> Killer | None:
        if not self._adopting:
            return None  # nobody knows all the numbers that it would need
        # Here, for few nodes need it; and before the start, for this too may fail.
        from .killer import Killer

        return Killer(arguments, {**self._environment, **variables})

    def _mind(self, run: Run, now: float) -> None:
        """Do what the time has come for."""
        if not run.announced and run.code is None and now >= run.began + ANNOUNCED:
            run.announced = True
            self._tell(("began", run.number, run.pid))
            self._send()
        if run.lease is not None and run.lease <= boottime():
            # What has ended by itself has its result; what it left behind must go all the same.
            run.lapsed, run.lease = run.code is None, None
            run.end(LAPSED_GRACE)
        if run.press_at is not None and now >= run.press_at:
            if run.kill_at is None:
                run.end(GRACE)
            self._ending.press(run, now)

    def _follow(self, run: Run, now: float) -> None:
        """Wait for whatever comes next, and pass on output that has come."""
        times = [now + LONGEST_WAIT]
        watched = []
        if run.code is None:
            if not run.announced:
                times.append(run.began + ANNOUNCED)
            if run.exit >= 0:
                watched.append(run.exit)
            else:
                run.pause = min(run.pause * 1.5, POLLED)
                times.append(now + run.pause)
        if run.lease is not None:
            times.append(now + min(LEASE_WAIT, run.lease - boottime()))
        if run.press_at is not None:
            times.append(run.press_at)
        pipe, read_at = run.pipe(now) if len(self._unsent) < LIMIT else (-1, None)
        if pipe >= 0:
            watched.append(pipe)
        elif read_at is not None:
            times.append(read_at)
        if pipe in self._wait(watched, max(0.0, min(times) - now)):
            self._read(run)

    def _read(self, run: Run) -> None:
        output = run.read()
        if output:
            run.heard = True
            self._tell(("output", run.number, output))
            self._send()

    def _ended(self, run: Run) -> None:
        output = run.close()
        code = -9 if run.code is None else run.code
        exit = (code, run.seconds, run.clearing(), run.lapsed, run.by_order, run.remarks)
        self._tell(("ended", run.number, run.pid, output, *exit))
        if run.announced or run.heard:
            # Whoever finds us killed now must not take this run for one that still ran.
            self._send()

    # --- the connection ----------------------------------------------------------------------

    def _wait(self, descriptors: list[int], timeout: float | None) -> dict[int, int]:
        """Wait for one of the descriptors, and do what worker.py says meanwhile."""
        if self._gathered:
            left = self._since + HOLD - time.monotonic()
            if left <= 0:
                self._send()
            elif timeout is None or left < timeout:
                timeout = left
        # Not `select`, which takes no descriptor beyond 1023. To keep one poll object and tell it
        # what is different would gain hardly anything.
        poll = select.poll()
        if events := select.POLLIN * self._connected | select.POLLOUT * bool(self._unsent):
            poll.register(self._control, events)
        for descriptor in descriptors:
            poll.register(descriptor, select.POLLIN)
        try:
            ready = dict(poll.poll(None if timeout is None else timeout * 1000))
        except OSError:
            # As when a job has allowed us fewer descriptors than we have. Then all is tried.
            time.sleep(POLLED)
            ready = {self._control: events, **dict.fromkeys(descriptors, select.POLLIN)}
        self._looked = time.monotonic()
        said = ready.get(self._control, 0)
        # An end of the connection or an error counts as both: only the calls tell which it is.
        if said & ~select.POLLIN:
            self._write()
        if self._connected and said & ~select.POLLOUT:
            self._hear()
        return ready

    def _hear(self) -> None:
        try:
            data = os.read(self._control, 65536)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._connected = False
            for start in self._queue:
                self._tell(("dropped", start[1]))
            self._queue.clear()
            if self._run is not None:
                self._run.end(CLOSING_GRACE)
            return
        self._heard += data
        for message in unpack(self._heard):
            self._obey(message)

    def _obey(self, message: Message) -> None:
        kind, what = message[0], message[1]
        run = self._run
        if kind == "start":
            self._queue.append(message)
        elif kind == "lease":
            self._extend(what)
        elif kind == "environment":
            # Not our own: Python may have set a locale in that.
            self._environment = what
        elif kind == "ask":
            self._tell(("here", what))
            self._send()
        elif run is not None and run.number == what:
            self._obey_for(run, message)
        elif kind in ("drop", "end"):
            self._drop(what)

    def _obey_for(self, run: Run, message: Message) -> None:
        if message[0] == "end":
            run.end(message[2])
        elif message[0] != "drop":
            run.held = message[0] == "hold"

    def _drop(self, number: int) -> None:
        for start in self._queue:
            if start[1] == number:
                self._queue.remove(start)
                self._tell(("dropped", number))
                self._send()
                break

    def _extend(self, deadline: float) -> None:
        """Move the leases that are not over: an answer may come after a sleep of the computer."""
        now = boottime()
        run = self._run
        if run is not None and run.lease is not None and run.lease > now:
            run.lease = deadline
        self._queue = [
            start if start[-1] is None or start[-1] <= now else (*start[:-1], deadline)
            for start in self._queue
        ]

    def _tell(self, message: Message) -> None:
        """Say something when there is more to say, or soon."""
        if not self._gathered:
            self._since = time.monotonic()
        self._gathered.append(message)

    def _send(self) -> None:
        """Say now what was gathered."""
        if self._gathered:
            self._unsent += pack(self._gathered)
            self._gathered = []
            self._write()

    def _write(self) -> None:
        try:
            self._unsent = self._unsent[os.write(self._control, self._unsent) :]
        except BlockingIOError:
            pass
        except ConnectionError:
            self._unsent = b""  # worker.py is gone, as the other direction will say


def main(arguments: list[str]) -> None:
    """Be a keeper."""
    control, cgroup, adopt, _ = arguments
    settle()
    Keeper(int(control), cgroup, adopt=adopt == "1").work()
