"""server.py as Windows starts it: the service control manager and pywin32, played on any system.

Run as a program, with the options of server.py, it puts stand-ins for pywin32's modules in place.
Each line on stdin is a control that Windows sends (STOP, SHUTDOWN); each state that the service
reports and each entry in the event log is a line on stdout. With NOBODY in the environment,
the program was not started by Windows. The roles of the two threads and the order of the calls
are those of pywin32's servicemanager.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

STATES = {"STOPPED": 1, "START_PENDING": 2, "STOP_PENDING": 3, "RUNNING": 4}
CONTROLS = {"STOP": 1, "SHUTDOWN": 5}
SERVICE_SPECIFIC_ERROR = 1066


def show(*words: object) -> None:
    print(*words, flush=True)


class Error(Exception):
    """pywintypes.error."""

    def __init__(self, winerror: int, function: str, strerror: str) -> None:
        super().__init__(winerror, function, strerror)
        self.winerror = winerror


class ServiceFramework:
    """What a service is derived from; the methods that Windows' controls call are in the class."""

    def __init__(self, args: Sequence[str]) -> None:
        manager.controlled[args[0]] = self.control

    def control(self, control: int) -> None:
        name = {1: "SvcStop", 5: "SvcShutdown"}[control]
        getattr(self, name)()

    def ReportServiceStatus(self, state: int, waitHint: int = 5000) -> None:
        show(next(name for name, number in STATES.items() if number == state))

    def SvcRun(self) -> None:
        self.ReportServiceStatus(STATES["RUNNING"])
        self.SvcDoRun()
        self.ReportServiceStatus(STATES["STOP_PENDING"])

    def SvcDoRun(self) -> None:
        raise NotImplementedError


class Manager:
    """The module servicemanager."""

    def __init__(self) -> None:
        self.controlled: dict[str, Callable[[int], None]] = {}
        self.make: Callable[[Sequence[str]], Any] | None = None
        self.ended, self.end = os.pipe()

    def Initialize(self, source: str, file: str | None) -> None:
        self.source = source

    def LogErrorMsg(self, message: str) -> None:
        show("event", self.source, message)

    def PrepareToHostSingle(self, make: Callable[[Sequence[str]], Any]) -> None:
        self.make = make

    def StartServiceCtrlDispatcher(self) -> None:
        """Run the service in a thread, and pass controls on in this one until it has stopped."""
        if "NOBODY" in os.environ:
            raise Error(1063, "StartServiceCtrlDispatcher", "could not connect")
        threading.Thread(target=self.service_main).start()
        said = [0, self.ended]
        while self.ended not in (ready := select.select(said, [], [])[0]):
            names = os.read(ready[0], 100).decode().split()
            for name in names:
                self.controlled["Farm"](CONTROLS[name])
            if not names:  # nobody is left who could say more
                said.remove(0)

    def service_main(self) -> None:
        assert self.make
        try:
            self.make(["Farm"]).SvcRun()
        except Exception as error:
            show("event", self.source, error)
            show("STOPPED", SERVICE_SPECIFIC_ERROR)
        else:
            show("STOPPED", 0)
        os.write(self.end, b".")


manager = Manager()


def module(name: str, **names: object) -> None:
    sys.modules[name] = made = ModuleType(name)
    vars(made).update(names)


if __name__ == "__main__":
    functions = ("Initialize", "LogErrorMsg", "PrepareToHostSingle", "StartServiceCtrlDispatcher")
    module("servicemanager", **{name: getattr(manager, name) for name in functions})
    states = {f"SERVICE_{name}": number for name, number in STATES.items()}
    module("win32service", error=Error, **states)
    module("win32serviceutil", ServiceFramework=ServiceFramework)
    from coalition.cli import server

    server.WINDOWS = True
    sys.exit(server.main(sys.argv[1:]))
