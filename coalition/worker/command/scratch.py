"""Scratch directories: each run gets an empty one, and nothing of it stays."""

from __future__ import annotations

import logging
import os
import re
import secrets
import stat
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock

from coalition.errors import ConfigError
from coalition.worker.command.owner import Owner
from coalition.worker.command.removal import remove

OURS = re.compile(r"[0-9]+-[0-9a-f]{16}")
"""Names of scratch directories. Nothing else in the folder is ever deleted."""

log = logging.getLogger(__name__)

TICK = 0.1
"""Seconds after which a change surely has another time than the one before: the clock of a file
system goes in steps of some milliseconds."""

State = tuple[int, ...]


class Scratch:
    """The folder of a node's scratch directories.

    To make and delete a directory costs a disk as much as starting a process. So one that its job
    has not touched is handed to the next run, unless jobs run as different users.
    """

    def __init__(
        self, root: Path, *, other_users: bool, in_thread: Callable[[Callable[[], None]], object]
    ) -> None:
        """Take the folder `root` and make it if need be.

        With `other_users`, jobs do not run as the user of worker.py. `in_thread` has a function
        called in a thread. Raises OSError, and ConfigError for a folder of somebody else.
        """
        self._root = str(root)
        self._mode = 0o711 if other_users else 0o700
        self._taken: State = ()  # what it was when it was taken
        self._other_users = other_users
        self._in_thread = in_thread
        self._states: dict[str, tuple[State, float]] = {}  # as made, and when that was seen
        self._given: dict[str, float] = {}
        self._untouched: list[str] = []
        self._doomed: deque[str] = deque()
        self._deleting = False
        self._lock = Lock()
        self._take()

    def _take(self) -> None:
        """Make the folder, or make sure of what is there. Raises OSError and ConfigError."""
        root = Path(self._root)
        root.mkdir(parents=True, exist_ok=True)
        if sys.platform != "win32":
            _secure(root, self._mode)
        self._taken = _identity(self._root)

    def clear(self) -> None:
        """Delete what an earlier life has left; nothing of it may run any more. Raises OSError."""
        for name in os.listdir(self._root):
            path = os.path.join(self._root, name)
            if OURS.fullmatch(name) and path not in self._states:
                self._delete_later(path)

    def close(self) -> None:
        """Delete what was kept for further runs; what else is left is for the next life."""
        while self._untouched:
            self._delete(self._untouched.pop())
        self._doomed.clear()

    def make(self, run: int, owner: Owner | None) -> str:
        """Return an empty directory for a run, which belongs to `owner` if that can be.

        If not, and jobs run as other users, each of them may write there who knows the name; it
        can be neither listed nor guessed. Raises OSError.
        """
        while self._untouched:
            path = self._untouched.pop()
            if self._has_state(path):
                self._given[path] = time.monotonic()
                return path
            self._delete(path)
        self._take_again()
        path = os.path.join(self._root, f"{run}-{secrets.token_hex(8)}")
        os.mkdir(path, 0o700)
        if self._other_users:
            _hand_over(path, owner)
        self._given[path] = time.monotonic()
        self._states[path] = _state(path), self._given[path]
        return path

    def _take_again(self) -> None:
        """Take the folder once more if a job, or who empties /tmp, has deleted it. Raises OSError.

        In its place may be anything by now, of anybody.
        """
        with suppress(FileNotFoundError):
            if _identity(self._root) == self._taken:
                return
        try:
            self._take()
        except ConfigError as error:
            raise PermissionError(str(error)) from error  # it may be gone again soon
        log.warning("%s was deleted or changed, and is made again", self._root)

    def remove(self, path: str) -> None:
        """Delete the directory of a run that has ended, later if there is something in it."""
        if not self._other_users and self._is_as_made(path):
            self._untouched.append(path)
        else:
            self._delete(path)

    def _is_as_made(self, path: str) -> bool:
        """Say whether nobody has changed the directory or its place since it was given away."""
        settled = self._given[path] > self._states[path][1] + TICK
        return self._has_state(path) and (settled or _is_empty(path))

    def _has_state(self, path: str) -> bool:
        try:
            return _state(path) == self._states[path][0]
        except OSError:
            return False

    def _delete(self, path: str) -> None:
        self._states.pop(path, None)
        self._given.pop(path, None)
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass
        except OSError:
            self._delete_later(path)

    # --- one after the other, so that a thread is left for what is urgent ------------------------

    def _delete_later(self, path: str) -> None:
        with self._lock:
            self._doomed.append(path)
            begin, self._deleting = not self._deleting, True
        if begin:
            try:
                self._in_thread(self._delete_doomed)
            except RuntimeError as error:  # Python's word for a thread that the system refuses
                self._deleting = False
                log.warning("the scratch directory %s waits to be deleted: %s", path, error)

    def _delete_doomed(self) -> None:
        while path := self._next_doomed():
            try:
                remove(path)
            except FileNotFoundError:
                pass
            except Exception as error:
                log.warning("the scratch directory %s cannot be deleted: %s", path, error)

    def _next_doomed(self) -> str:
        with self._lock:
            self._deleting = bool(self._doomed)
            return self._doomed.popleft() if self._doomed else ""


def _state(path: str) -> State:
    found = os.lstat(path)
    return (found.st_ino, found.st_mode, found.st_uid, found.st_gid, found.st_ctime_ns)


def _identity(path: str) -> State:
    """Return what is the same for as long as a folder is there, whatever is done in it."""
    found = os.lstat(path)
    return (found.st_dev, found.st_ino, found.st_mode, found.st_uid)


def _is_empty(path: str) -> bool:
    try:
        return not os.listdir(path)
    except OSError:
        return False


def _secure(root: Path, mode: int) -> None:
    """Make sure that nobody else can change what is in the folder, nor, with 0o711, list it."""
    if sys.platform != "win32":
        found = root.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise ConfigError(f"[worker] scratch: {root} belongs to somebody else")
        root.chmod(mode)
        for folder in root.parents if mode & 0o001 else ():
            if not folder.stat().st_mode & 0o001:
                log.warning("other users cannot reach their jobs' scratch: %s is closed", folder)


def _hand_over(path: str, owner: Owner | None) -> None:
    if sys.platform != "win32":
        if owner is not None and os.geteuid() == 0:
            os.chown(path, owner.uid, owner.gid, follow_symlinks=False)
        else:
            # As for /tmp: who writes a file there keeps it for himself.
            os.chmod(path, 0o1777)
