"""Outboxes to try, and what to write into them."""

from __future__ import annotations

import shutil
from pathlib import Path

from coalition.worker.outbox.outbox import Outbox, Record

KB = 1024
GB = KB**3

NO_BOUND = GB

SMALL = 64 * KB
"""A disk for one worker, which has head, segments and ring of 16 KB."""


def opened(folder: Path, limit: int = GB, workers: int = 1) -> Outbox:
    return Outbox(folder, limit, workers)


def begun(folder: Path, limit: int = GB, *, maxlog: int = NO_BOUND, workers: int = 1) -> Outbox:
    """An outbox with run 5."""
    outbox = opened(folder, limit, workers)
    outbox.begin(Record(5, 1005, "node", "http://farm:19211"), maxlog)
    return outbox


def reopened(outbox: Outbox, folder: Path, limit: int = GB) -> Outbox:
    outbox.close()
    return opened(folder, limit)


def killed(outbox: Outbox, folder: Path, limit: int = GB) -> Outbox:
    """What the next process finds after a SIGKILL: files as they are, nothing more written."""
    copy = folder.with_name(f"{folder.name}-killed")
    shutil.copytree(folder, copy)
    outbox.close()
    return opened(copy, limit)


def ended(outbox: Outbox, run: int = 5) -> bytes:
    """All the output of a run, which ends."""
    return outbox.read(run, 0, outbox.end(run, 0, False, 1.0, 2.0))


def spools(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name[0].isdigit()}


def journal(folder: Path) -> Path:
    (path,) = folder.glob("journal.*")
    return path


def lines(size: int, start: int = 0) -> bytes:
    """Output that tells its place: lines of ten bytes."""
    return b"".join(b"%09d\n" % n for n in range(start, start + size // 10))
