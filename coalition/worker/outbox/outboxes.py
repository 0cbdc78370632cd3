"""The outboxes of a node, one for each farm that it has worked for.

A run's number means something to its own farm only: another one has other runs of that number. A
farm is the same one wherever its server is, and whoever answers at the old address is not.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import psutil

from coalition.errors import CoalitionError
from coalition.worker.outbox.disk import copy_file
from coalition.worker.outbox.entries import OutboxUnreadable
from coalition.worker.outbox.journal import Journal
from coalition.worker.outbox.label import Label, noted_at, read_label, write_label
from coalition.worker.outbox.outbox import Outbox
from coalition.worker.reactor import Reactor, in_thread

PORTS = {"http": 80, "https": 443}

log = logging.getLogger(__name__)


class OutboxTaken(CoalitionError):
    """Another worker.py of this name runs here."""

    code = "outbox_taken"


class Outboxes:
    """A folder of folders, each for a farm; owned by one process at a time.

    One of them is open, for the farm that the node works for.
    """

    def __init__(self, folder: Path, limit: int, workers: int) -> None:
        """Take the folder, and make it if need be; `limit` is in bytes of output for one farm.

        Raises OutboxTaken, OSError.
        """
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # the output of one user's jobs is not for another's
        self._folder = folder
        self._limit = limit
        self._workers = workers
        self._lock = _locked(folder / "lock")
        self._label = Label("", "")
        self._noted = False
        self._complained = False
        self._place = folder
        self._outbox: Outbox | None = None
        self._others: dict[Path, Outbox] = {}

    @property
    def identity(self) -> str:
        """That of the farm whose outbox is open; empty while it is known by its URL alone."""
        return self._label.farm

    def close(self) -> None:
        """Let another process have the folder."""
        self._close_all()
        self._lock.close()

    def _close_all(self) -> None:
        for outbox in [self._outbox, *self._others.values()]:
            if outbox is not None:
                outbox.close()
        self._outbox = None
        self._others.clear()

    async def open(self, reactor: Reactor, server: str, farm: str | None = None) -> Outbox:
        """Return the outbox for the farm whose server is at a URL; close the one before.

        `farm` is its identity, empty if it tells none, None while it does not answer: then it is
        taken for the one that was there last. An outbox that it had under another name is taken
        over. Raises OutboxUnreadable, OSError.
        """
        self._close_all()
        self._settle()
        kept = self._labels()
        if farm is None:
            farm = _last_at(server, kept)
        label = Label(farm, server)
        place = self._folder / label.folder
        if place in kept and kept[place].server != server:
            _tell_move(server, kept[place].server)
        earlier = await in_thread(reactor, _earlier, kept, label) if kept else None
        if earlier is not None:
            _tell_move(server, kept[earlier].server)
            if farm:
                write_label(earlier, label)  # from now on it is nobody else's
            _take_over(earlier, place)
        self._label, self._place = label, place
        self._noted = self._complained = False
        self._outbox = self._opened(place)
        return self._outbox

    def meet(self, farm: str) -> bool:
        """Hear which farm answers; say whether its outbox is open, or can become the open one.

        It can where the farm was not known before and has no other: that is noted. Raises OSError
        when it cannot be: then it is not known, and what came from it would be another's later.
        """
        if farm != self._label.farm:
            if self._label.farm or any(one.farm == farm for one in self._labels().values()):
                return False
            self._note(Label(farm, self._label.server))
        elif farm and not self._noted:
            try:
                self._note(self._label)
            except OSError as error:
                self._complain(error)  # the name of its folder says whose it is
        return True

    def _note(self, label: Label) -> None:
        # Each time that it is opened, for the newest note at a URL is of the farm there last.
        write_label(self._place, label)
        self._label, self._noted = label, True

    def _complain(self, error: OSError) -> None:
        """Log once that there is no note, and why; each answer of the farm tries it again."""
        if not self._complained:
            farm = self._label.farm
            log.error("%s is for farm %s, which cannot be noted: %s", self._place, farm, error)
        self._complained = True

    def others(self) -> list[Outbox]:
        """Open those of other farms that hold something; delete those that hold nothing."""
        for place, label in self._labels().items():
            if place == self._place:
                continue
            try:
                outbox = self._opened(place)
            except (OutboxUnreadable, OSError) as error:
                log.warning("the outbox for the server %s is left alone: %s", label.name, error)
                continue
            if outbox.records():
                self._others[place] = outbox
            else:
                outbox.close()
                shutil.rmtree(place, ignore_errors=True)
        return list(self._others.values())

    def leave_others(self) -> None:
        """Close those of other farms: what they hold waits for those."""
        labels = self._labels()
        for place, outbox in self._others.items():
            if self.identity and labels[place].farm == self.identity:
                _tell_left(outbox, place)
            else:
                _tell_kept(outbox, place, labels[place].name)
            outbox.close()
        self._others.clear()

    def _labels(self) -> dict[Path, Label]:
        places = [path for path in sorted(self._folder.iterdir()) if path.is_dir()]
        return {place: label for place in places if (label := read_label(place)) is not None}

    def _settle(self) -> None:
        """Name by its farm what was in use when that became known."""
        for place, label in self._labels().items():
            if place.name != label.folder:
                _take_over(place, self._folder / label.folder)

    def _opened(self, place: Path) -> Outbox:
        return Outbox(place, self._limit, self._workers)


def _tell_move(server: str, before: str) -> None:
    if before not in ("", server):
        log.info("%s is the server that was called %s", server, before)


def _tell_kept(outbox: Outbox, place: Path, server: str) -> None:
    log.warning(
        "%d results for another server, %s, stay in the outbox: start worker.py for that "
        "server to deliver them, wherever it is now; if it is gone for good, delete %s",
        len(outbox.records()),
        server,
        place,
    )


def _tell_left(outbox: Outbox, place: Path) -> None:
    log.warning(
        "%d results for this farm stay in %s, which could not be taken over: the next start of "
        "worker.py tries it again",
        len(outbox.records()),
        place,
    )


def _last_at(server: str, kept: Mapping[Path, Label]) -> str:
    """Return the farm that was last at a URL, by the newest note; nothing if none is known."""
    here = [place for place, one in kept.items() if one.farm and one.server == server]
    return kept[max(here, key=noted_at)].farm if here else ""


def _earlier(kept: Mapping[Path, Label], label: Label) -> Path | None:
    """Return the outbox that a farm has by a URL alone, if there is one; blocks.

    It is from before the farm told its identity. What is there for the URL at which the farm was
    last cannot be: that has come since, from a server that tells none.
    """
    if label in kept.values():
        return None
    nameless = {one.server: place for place, one in kept.items() if not one.farm}
    if label.server in nameless:
        return nameless[label.server]
    if label.farm and any(one.farm == label.farm for one in kept.values()):
        return None
    return next((place for url, place in nameless.items() if is_same(label.server, url)), None)


def _take_over(source: Path, place: Path) -> None:
    """Have what an outbox holds in another place, beside what is there. Raises OSError.

    Where that cannot be done now it is left for the next start, as after a crash.
    """
    if not place.exists():
        source.rename(place)
        return
    try:
        _merge(source, place)
    except (OutboxUnreadable, OSError) as error:
        log.warning("the outbox %s is left alone: %s", source, error)


def _merge(source: Path, place: Path) -> None:
    gone = place / "merged"
    shutil.rmtree(gone, ignore_errors=True)
    found = Journal(source).found
    for path in source.glob("[0-9]*"):
        _have_too(path, place / path.name)
    journal = Journal(place)
    journal.start([*journal.found, *found])
    journal.close()
    source.rename(gone)  # at once: half of it could be taken for somebody's
    shutil.rmtree(gone)


def _have_too(path: Path, other: Path) -> None:
    """Have a file under a second name, too; what is there already stays. Raises OSError."""
    if other.exists():
        return
    try:
        os.link(path, other)  # it needs no room
    except OSError:  # a disk without hard links, or a file of another user
        copy_file(path, other)


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
