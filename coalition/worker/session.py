"""Which life of a node this is: what its server tells it apart by from another of its name."""

from __future__ import annotations

import logging
import os
from pathlib import Path

KEPT = 8
"""Sessions that are kept: the server need not have heard of the last ones."""

LONGEST = 1000
"""Characters that are read of the file, whatever else somebody has put there."""

log = logging.getLogger(__name__)


def follow(folder: Path, session: str) -> list[str]:
    """Note a node's session in its folder; return those before it, the newest first.

    Without them the server takes the node for another computer, and makes it wait until that is
    surely gone.
    """
    path = folder / "session"
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            place, *previous = file.read(LONGEST).split()[: KEPT + 1] or [""]
            if place != _place(file.fileno()):
                previous = []  # the copy of another node's folder
    except OSError:
        previous = []
    try:
        with path.open("w", encoding="ascii") as file:
            file.write("\n".join([_place(file.fileno()), session, *previous]))
    except OSError as error:
        log.warning("the session cannot be noted: %s", error)
    return previous


def _place(file: int) -> str:
    """Say which file this is, which no copy of it is."""
    return str(os.fstat(file).st_ino)
