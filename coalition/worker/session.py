"""Which life of a node this is: what its server tells it apart by from another of its name."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from coalition.worker.outbox.disk import sync_file, sync_folder

KEPT = 8
"""Sessions that are kept: the server need not have heard of the last ones."""

NAME = "session"
"""The file with the note."""

LONGEST = 1000
"""Characters that are read of the file, whatever else somebody has put there."""

log = logging.getLogger(__name__)


def follow(folder: Path, session: str) -> list[str]:
    """Note a node's session in its folder; return those before it, the newest first.

    Without them the server takes the node for another computer, and makes it wait until that is
    surely gone.
    """
    place, here, *previous = _read(folder)
    if place != here:
        previous = []
    try:
        _write(folder, [session, *previous])
    except OSError as error:
        log.warning("the session cannot be noted: %s", error)
    return previous


def is_copy(folder: Path) -> bool:
    """Say whether a folder is the copy of another node's, which may be at work."""
    place, here, *previous = _read(folder)
    return place != here and bool(previous)


def _read(folder: Path) -> list[str]:
    """Return which file the note was written as, which one it is, and the sessions in it."""
    try:
        with (folder / NAME).open(encoding="ascii", errors="replace") as file:
            place, *previous = file.read(LONGEST).split()[: KEPT + 1] or [""]
            return [place, _place(file.fileno()), *previous]
    except OSError:
        return ["", ""]


def _write(folder: Path, sessions: list[str]) -> None:
    new = folder / f"{NAME}.new"
    with new.open("w", encoding="ascii") as file:
        file.write("\n".join([_place(file.fileno()), *sessions]))
        file.flush()
        sync_file(file.fileno())
    os.replace(new, folder / NAME)  # it stays the same file
    sync_folder(folder)


def _place(file: int) -> str:
    """Say which file this is, which no copy of it is."""
    return str(os.fstat(file).st_ino)
