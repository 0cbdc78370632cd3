"""Deleting a directory with all that is in it, whatever a job may have put there."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterator


def remove(path: str) -> None:
    """Delete a directory; a link in it, or in its place, goes without what it leads to.

    Deletes as much as it can, and raises the first OSError that left something.
    """
    if sys.platform == "win32":
        shutil.rmtree(path, onerror=_make_writable)
    elif stat.S_ISDIR(os.lstat(path).st_mode):
        _remove_directory(path)
    else:
        os.unlink(path)


def _make_writable(again: Callable[[str], object], path: str, _error: object) -> None:
    """Delete what Windows would not: a file that may only be read."""
    os.chmod(path, stat.S_IWRITE)
    again(path)


if sys.platform != "win32":

    class _Emptying:
        """A directory being emptied: what is below it moves up into it, level by level.

        So no depth needs more than two descriptors, no path grows too long, and there is no
        recursion; shutil.rmtree fails at some hundred levels.
        """

        def __init__(self, top: int) -> None:
            """Work on the directory with the descriptor `top`."""
            self._top = top
            self._folders: list[str] = []
            self.error: OSError | None = None

        def run(self) -> None:
            """Delete all that can be deleted; `error` is why something could not."""
            self._empty(self._top)
            while self._folders:
                with self._noting():
                    self._remove(self._folders.pop())

        def _remove(self, name: str) -> None:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self._top)
            try:
                self._empty(fd)
            finally:
                os.close(fd)
            os.rmdir(name, dir_fd=self._top)

        def _empty(self, folder: int) -> None:
            with os.scandir(folder) as entries:
                found = list(entries)
            for entry in found:
                with self._noting():
                    if entry.is_dir(follow_symlinks=False):
                        self._lift(entry.name, folder)
                    else:
                        os.unlink(entry.name, dir_fd=folder)

        def _lift(self, name: str, folder: int) -> None:
            """Move a directory up to the top, by a name that nothing there has."""
            with contextlib.suppress(OSError):
                _unlock(name, folder)
            new = secrets.token_hex(16)
            os.rename(name, new, src_dir_fd=folder, dst_dir_fd=self._top)
            self._folders.append(new)

        @contextlib.contextmanager
        def _noting(self) -> Iterator[None]:
            try:
                yield
            except OSError as error:
                self.error = self.error or error

    def _remove_directory(path: str) -> None:
        with contextlib.suppress(OSError):
            _unlock(path, None)
        top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            emptying = _Emptying(top)
            emptying.run()
        finally:
            os.close(top)
        if emptying.error:
            raise emptying.error
        os.rmdir(path)

    def _unlock(name: str, folder: int | None) -> None:
        """Let us into a directory of our own that its owner has closed."""
        if os.chmod in os.supports_follow_symlinks:
            os.chmod(name, stat.S_IRWXU, dir_fd=folder, follow_symlinks=False)
        else:
            # Linux changes the mode of a link's target only. This way it cannot be a link.
            fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            try:
                os.chmod(f"/proc/self/fd/{fd}", stat.S_IRWXU)
            finally:
                os.close(fd)
