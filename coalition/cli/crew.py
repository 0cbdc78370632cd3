"""Orders of control.py to workers, which are named one by one or by patterns such as render*."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from coalition.client import Connection
from coalition.errors import ConfigError, UnknownWorker

ORDERS = {
    "start": Connection.startWorkers,
    "stop": Connection.stopWorkers,
    "pause": Connection.pauseWorkers,
    "drain": Connection.drainWorkers,
    "delete": Connection.deleteWorkers,
}

USAGE = f"{', '.join(ORDERS)} NAME..."


def order(farm: Connection, verb: str, names: Sequence[str]) -> None:
    """Give an order to all workers whose names fit; raises ConfigError, UnknownWorker."""
    if verb not in ORDERS:
        raise ConfigError(f"there is no order '{verb}' to workers, only {', '.join(ORDERS)}")
    if not names:
        raise ConfigError(f"workers {verb} needs the names of workers, or patterns like render*")
    known = [worker["name"] for worker in farm.getWorkers()]
    chosen: dict[str, None] = {}
    for name in names:
        # A worker may be called by what is a pattern, too.
        fitting = [name] if name in known else [one for one in known if fnmatchcase(one, name)]
        if not fitting:
            raise UnknownWorker(f"there is no worker {name!r}", name=name)
        chosen.update(dict.fromkeys(fitting))
    ORDERS[verb](farm, list(chosen))
