"""What this computer is and how busy it is."""

from __future__ import annotations

import logging
import os
import platform
import socket

import psutil

from coalition import wire

MB = 1024 * 1024

log = logging.getLogger(__name__)


def cores() -> int:
    """Return the number of processors that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return psutil.cpu_count() or 1


def describe(version: str) -> wire.Host:
    """Describe the computer; `version` is that of Coalition."""
    return wire.Host(
        hostname=socket.gethostname(),
        os=f"{platform.system()} {platform.release()}".strip(),
        cores=cores(),
        memory=psutil.virtual_memory().total // MB,
        version=version,
    )


class Meter:
    """Measures the load, at most once per `interval` seconds."""

    def __init__(self, interval: float) -> None:
        """Begin; processor time counts from here."""
        self._interval = interval
        self._next = 0.0
        psutil.cpu_percent(percpu=True)

    def measure(self, now: float) -> wire.Load | None:
        """Return the load since the last measurement; None when that was just now or fails."""
        if now < self._next:
            return None
        self._next = now + self._interval
        try:
            memory = psutil.virtual_memory()
            cpu = psutil.cpu_percent(percpu=True)
        except OSError as error:
            # No descriptor left: a report without the load is better than none.
            log.warning("the load cannot be measured: %s", error)
            return None
        return wire.Load(
            cpu=cpu, free_memory=memory.available // MB, total_memory=memory.total // MB
        )
