"""server.py under the service control manager of Windows, which starts it and tells it to stop.

pywin32 runs a service in a thread of its own, while the main thread waits for what Windows says.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import servicemanager
import win32service
import win32serviceutil
from twisted.internet import reactor as twisted_reactor
from twisted.internet.error import ReactorNotRunning

from coalition.errors import CoalitionError

NAME = "Coalition"
"""Source of what stands in the event log; the service itself may be registered by any name."""

ENDING = 30_000
"""Milliseconds until Windows may think that the end hangs: the journal alone may take 10 s."""

NOT_STARTED_BY_WINDOWS = 1063
"""ERROR_FAILED_SERVICE_CONTROLLER_CONNECT: nobody waits for this program to report as a service."""

log = logging.getLogger(__name__)
reactor: Any = twisted_reactor  # Twisted tells its type only when it is running


def host(program: Callable[[], int]) -> int:
    """Run `program` as the service that Windows has started; return once it has ended.

    It is called in another thread, runs the reactor there without signals, and returns an exit
    code. Windows is told how it ended; what is returned here is 1 if Windows is not there to be
    told, and 0 otherwise.
    """
    servicemanager.Initialize(NAME, None)
    servicemanager.PrepareToHostSingle(partial(Service, program))
    try:
        servicemanager.StartServiceCtrlDispatcher()
    except win32service.error as error:
        if error.winerror != NOT_STARTED_BY_WINDOWS:
            raise
        reason = "Windows has not started this as a service; in a console, use --console"
        log.critical(reason)
        print(f"server.py: {reason}", file=sys.stderr)
        return 1
    return 0


def complain(reason: str) -> None:
    """Put an error into the event log of Windows, for a service that has no log of its own yet."""
    servicemanager.Initialize(NAME, None)
    servicemanager.LogErrorMsg(f"server.py: {reason}")


class Service(win32serviceutil.ServiceFramework):  # type: ignore[misc]  # pywin32 has no types
    """The service, under the names that pywin32 looks for."""

    _svc_name_ = NAME
    _svc_display_name_ = NAME

    def __init__(self, program: Callable[[], int], args: Sequence[str]) -> None:
        """Take the program, and what Windows says: the name of the service is the first of it."""
        super().__init__(args)
        self._program = program

    def SvcDoRun(self) -> None:
        """Run the program to its end; an exception is how Windows learns that it has failed."""
        code = self._program()
        if code:
            raise CoalitionError(f"the server has ended with code {code}; server.log says why")

    def SvcStop(self) -> None:
        """Begin the end; the service has stopped when SvcDoRun has returned."""
        self.ReportServiceStatus(win32service.SERVICE_STOP_PENDING, waitHint=ENDING)
        reactor.callFromThread(_stop)

    SvcShutdown = SvcStop
    """Without it, Windows would end the process when the computer is shut down."""


def _stop() -> None:
    with suppress(ReactorNotRunning):  # it is ending already
        reactor.stop()
