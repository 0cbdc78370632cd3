"""Which life of a node this is: what its server tells it apart by from another of its name."""

from __future__ import annotations

import logging
from pathlib import Path

LONGEST = 100
"""Characters that are read of the file, whatever else somebody has put there."""

log = logging.getLogger(__name__)


def follow(folder: Path, session: str) -> str:
    """Note a node's session in its folder; return the one before it, empty if none is known.

    Without it the server takes the node for another computer, and makes it wait for some seconds
    until that is surely gone.
    """
    path = folder / "session"
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            previous = file.read(LONGEST).strip()
    except OSError:
        previous = ""
    try:
        path.write_text(session, encoding="ascii")
    except OSError as error:
        log.warning("the session cannot be noted: %s", error)
    return previous
