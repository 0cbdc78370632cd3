"""What happens because time passes."""

from __future__ import annotations

import logging

from coalition.server.service import Service

log = logging.getLogger(__name__)

PERIOD = 1.0
"""Seconds between two looks; time limits are kept to that precision."""

LATE = 5.0
"""Seconds that a look comes too late by which the server has stood still: it was stopped, or its
computer was. What was said meanwhile waits to be read, and is read before anybody is given up. Of a
short timeout it is half."""


def tick(service: Service, due: float | None = None) -> None:
    """Find what is over time and who is silent, and go on whatever goes wrong."""
    now = service.clock.seconds()
    late = 0.0 if due is None else now - due
    try:
        if late > min(LATE, service.farm.worker_timeout / 2):
            log.warning("the server stood still for %.0f s", late)
            service.farm.on_standstill(late, now)
        else:
            service.farm.on_tick(now)
            service.nodes.look()
        if service.logs.owed:
            service.logs.try_again()
        if service.farm.changes:
            service.journal.kick()
    except Exception:
        log.exception("a look at the clock failed")
    service.clock.callLater(PERIOD, tick, service, now + PERIOD)
