"""Whose an outbox is: a note in its folder, or the name of that."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote

import msgspec

from coalition import wire
from coalition.worker.outbox.disk import sync_file, sync_folder
from coalition.worker.outbox.entries import OutboxUnreadable

NAME = "farm"
"""The file with the note; nothing else in an outbox is called like that."""

_IDENTITY = re.compile(wire.IDENTITY)


class Label(msgspec.Struct, frozen=True):
    """The farm that an outbox is for, and the URL at which its server answered last.

    The first is empty for a server that tells no farm, the second while it has not answered.
    """

    farm: str
    server: str

    @property
    def name(self) -> str:
        """What people know it by."""
        return self.server or self.farm

    @property
    def folder(self) -> str:
        """What the folder of such an outbox is called."""
        return self.farm or quote(self.server, safe="")


def read_label(folder: Path) -> Label | None:
    """Return whose outbox a folder is, None if it is none. Raises OutboxUnreadable, OSError."""
    path, name = folder / NAME, folder.name
    if _is_there(path):
        return _decoded(path)
    if _IDENTITY.fullmatch(name):
        return Label(name, "")
    return Label("", unquote(name)) if "://" in unquote(name) else None


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return False  # no folder of ours: each disk has a lost+found that only root may enter


def _decoded(path: Path) -> Label:
    try:
        label = msgspec.json.decode(path.read_bytes(), type=Label)
    except msgspec.DecodeError as error:
        raise OutboxUnreadable(f"{path} does not say whose outbox this is: {error}") from error
    if not _IDENTITY.fullmatch(label.farm):
        raise OutboxUnreadable(f"{path} names no farm")
    return label


def noted_at(folder: Path) -> int:
    """Return when the note in a folder was written, in nanoseconds of its disk. Raises OSError."""
    return (folder / NAME).stat().st_mtime_ns


def write_label(folder: Path, label: Label) -> None:
    """Note whose outbox a folder is; on return that is durable. Raises OSError."""
    new = folder / f"{NAME}.new"
    with new.open("wb") as file:
        file.write(msgspec.json.encode(label))
        file.flush()
        sync_file(file.fileno())
    os.replace(new, folder / NAME)  # so a crash leaves the old note or the new one
    sync_folder(folder)
