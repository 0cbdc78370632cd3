"""What a disk is told on every system: make this durable, remove that."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path


def sync_file(descriptor: int) -> None:
    """Return when what was written to a file survives a power failure. Raises OSError."""
    if sys.platform == "linux":
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Return when the names of a folder's files survive a power failure. Raises OSError."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def copy_file(path: Path, other: Path) -> None:
    """Copy a file, all of it or nothing; the copy is durable, its name is not. Raises OSError."""
    new = other.with_name("copied")
    try:
        shutil.copyfile(path, new)
        with new.open("r+b") as file:
            sync_file(file.fileno())
        os.replace(new, other)
    except OSError:
        remove(new)
        raise


def remove(path: str | Path) -> None:
    """Delete a file; one that cannot be deleted now is left for the next start."""
    with contextlib.suppress(OSError):
        os.unlink(path)
