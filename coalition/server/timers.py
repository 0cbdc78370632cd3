"""What happens because time passes."""

from __future__ import annotations

import logging

from coalition.server.service import Service

log = logging.getLogger(__name__)

PERIOD = 1.0
"""Seconds between two looks; time limits are kept to that precision."""


def tick(service: Service) -> None:
    """Find what is over time and who is silent, and go on whatever goes wrong."""
    try:
        service.farm.on_tick(service.clock.seconds())
        service.nodes.look()
        if service.farm.changes:
            service.journal.kick()
    except Exception:
        log.exception("a look at the clock failed")
    service.clock.callLater(PERIOD, tick, service)
