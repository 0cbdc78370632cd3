"""A disk that answers nothing: a process that reads from it cannot be ended."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.worker.real import eventually, running_with

REQUEST = struct.Struct("<IIQ")
"""How a request of the kernel begins: its length, what it wants, its number (linux/fuse.h)."""

WELCOME = struct.Struct("<IiQ7I36x")
"""The answer to the first one: length, error, number, version and some limits."""

BUFFER = 1024 * 1024


class DeadDisk:
    """A file system by FUSE whose other end, this process, never answers."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self.file = folder / "file"
        self._descriptor = descriptor

    def reader(self) -> psutil.Process:
        """Return the process that reads the file, when nothing can end it any more."""
        os.read(self._descriptor, BUFFER)  # before this, it could still be interrupted
        (process,) = eventually(
            lambda: [one for one in running_with(str(self.file)) if one.name() == "cat"]
        )
        found: psutil.Process = process
        return found


@contextmanager
def dead_disk(folder: Path) -> Iterator[DeadDisk]:
    """Mount one in a folder until the block is left; what hangs in it gets an error then."""
    if sys.platform != "linux" or os.geteuid() != 0 or not Path("/dev/fuse").exists():
        pytest.skip("only root can make a dead disk, by /dev/fuse")
    folder.mkdir()
    descriptor = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={descriptor},rootmode=40000,user_id=0,group_id=0"
    mount = ["mount", "-i", "-t", "fuse", "-o", options, "dead", str(folder)]
    made = subprocess.run(mount, pass_fds=[descriptor], capture_output=True, text=True)
    if made.returncode:
        os.close(descriptor)
        pytest.skip(f"no dead disk can be made: {made.stderr.strip()}")
    try:
        _, _, number = REQUEST.unpack_from(os.read(descriptor, BUFFER))
        os.write(descriptor, WELCOME.pack(WELCOME.size, 0, number, 7, 31, 0, 0, 0, 4096, 1))
        yield DeadDisk(folder, descriptor)
    finally:
        os.close(descriptor)
        subprocess.run(["umount", "-l", str(folder)], check=True)
