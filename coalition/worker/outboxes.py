"""The outboxes of a node, one for each server that it has worked for.

A run's number means something to its own server only: another one has other runs of that number.
"""

from __future__ import annotations

import logging
import shutil
import socket
import sys
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit

import psutil

from coalition.errors import CoalitionError
from coalition.worker.entries import OutboxUnreadable
from coalition.worker.outbox import Outbox
from coalition.worker.reactor import Reactor, in_thread

PORTS = {"http": 80, "https": 443}

log = logging.getLogger(__name__)


class OutboxTaken(CoalitionError):
    """Another worker.py of this name runs here."""

    code = "outbox_taken"


class Outboxes:
    """A folder of folders, each named by a server's URL; owned by one process at a time."""

    def __init__(self, folder: Path, limit: int, workers: int) -> None:
        """Take the folder, and make it if need be; `limit` is in bytes of output for one server.

        Raises OutboxTaken, OSError.
        """
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # the output of one user's jobs is not for another's
        self._folder = folder
        self._limit = limit
        self._workers = workers
        self._lock = _locked(folder / "lock")
        self._server = ""
        self._outbox: Outbox | None = None
        self._others: dict[str, Outbox] = {}

    def close(self) -> None:
        """Let another process have the folder."""
        for outbox in [self._outbox, *self._others.values()]:
            if outbox is not None:
                outbox.close()
        self._lock.close()

    async def open(self, reactor: Reactor, server: str) -> Outbox:
        """Return the outbox for a server; one that it had under another name is taken over.

        Raises OutboxUnreadable, OSError.
        """
        place = self._place(server)
        others = self._servers()
        if others and not place.exists():
            known = await in_thread(reactor, _find_same, server, others)
            if known:
                log.info("%s is the server that was called %s", server, known)
                self._place(known).rename(place)
        self._server, self._outbox = server, self._opened(server)
        return self._outbox

    def others(self) -> list[Outbox]:
        """Open those of other servers that hold something; delete those that hold nothing."""
        for server in self._servers():
            if server == self._server:
                continue
            try:
                outbox = self._opened(server)
            except (OutboxUnreadable, OSError) as error:
                log.warning("the outbox for the server %s is left alone: %s", server, error)
                continue
            if outbox.records():
                self._others[server] = outbox
            else:
                outbox.close()
                shutil.rmtree(self._place(server), ignore_errors=True)
        return list(self._others.values())

    def leave_others(self) -> None:
        """Close those of other servers: what they hold waits for those."""
        for server, outbox in self._others.items():
            log.warning(
                "%d results for another server, %s, stay in the outbox: start worker.py for that "
                "server to deliver them; if it is gone for good, delete %s",
                len(outbox.records()),
                server,
                self._place(server),
            )
            outbox.close()
        self._others.clear()

    def _place(self, server: str) -> Path:
        return self._folder / quote(server, safe="")

    def _servers(self) -> list[str]:
        names = sorted(unquote(path.name) for path in self._folder.iterdir() if path.is_dir())
        return [name for name in names if "://" in name]

    def _opened(self, server: str) -> Outbox:
        return Outbox(self._place(server), self._limit, self._workers)


def _find_same(server: str, others: Iterable[str]) -> str | None:
    """Return that of other URLs which leads to the same server; blocks."""
    return next((other for other in others if is_same(server, other)), None)


def is_same(server: str, other: str) -> bool:
    """Say whether two URLs lead to the same server: by an address of both, or on this computer."""
    one, two = urlsplit(server), urlsplit(other)
    if (one.scheme, _port(one), one.path) != (two.scheme, _port(two), two.path):
        return False
    ours, theirs = _addresses(one.hostname), _addresses(two.hostname)
    own = {entry.address for entries in psutil.net_if_addrs().values() for entry in entries}
    return bool(ours & theirs) or bool(ours and theirs and ours | theirs <= own)


def _port(url: SplitResult) -> int | None:
    return url.port or PORTS.get(url.scheme)


def _addresses(host: str | None) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return set()  # an unknown name, or no name server


def _locked(path: Path) -> FileIO:
    file = path.open("ab", buffering=0)
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise OutboxTaken(f"another worker.py of this name runs here ({path.parent})") from error
    return file
