"""The user that a job runs as."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from coalition.errors import CoalitionError

MOST_GROUPS = 65536
"""Groups that a user can have, on Linux."""


class UnfitUser(CoalitionError):
    """No job may run as this user."""

    code = "unfit_user"


@dataclass(frozen=True)
class Owner:
    """A user of this computer; `groups` are the ids of all groups, the first one, `gid`, too."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str
    folder: str = "/"
    """Where jobs work that name no directory: the home, if there is one."""

    def variables(self) -> dict[str, str]:
        """Return the environment variables that a login would set."""
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "SHELL": self.shell}


def owner_of(user: str) -> Owner | None:
    """Return the user that a job names; None on Windows, which tells no ids.

    Raises UnfitUser for one that no job may run as: root under any name, what a program like sudo
    would not take for a name (`#0`, `-x`, `1000`), and what this computer does not know.
    """
    if not user:
        raise UnfitUser("the job names no user, and can run as none")
    if user[0] in "#-+" or user.isdecimal():
        raise UnfitUser(f"{user!r} is not the name of a user")
    if user == "root":
        raise UnfitUser("no job may run as root")
    if sys.platform == "win32":
        return None
    else:
        import pwd  # there is none on Windows

        try:
            found = pwd.getpwnam(user)
        except (KeyError, ValueError) as error:  # the latter for what no name can hold, like NUL
            raise UnfitUser(f"this computer does not know the user {user!r}") from error
        if found.pw_uid == 0:
            raise UnfitUser(f"{user!r} is root under another name, as which no job may run")
        groups = _groups(user, found.pw_gid)
        home = found.pw_dir
        folder = home if os.path.isdir(home) else "/"
        return Owner(user, found.pw_uid, found.pw_gid, groups, home, found.pw_shell, folder)


def _groups(user: str, first: int) -> tuple[int, ...]:
    """Return the ids of all groups of a user, of which `first` is one.

    Not by os.getgrouplist: that holds Python's lock, so all threads would wait for the answer too.
    """
    import ctypes

    ask = ctypes.CDLL(None, use_errno=True).getgrouplist
    room = ctypes.c_int(64)
    while True:
        size = room.value
        groups = (ctypes.c_uint * size)()
        if ask(os.fsencode(user), ctypes.c_uint(first), groups, ctypes.byref(room)) >= 0:
            return tuple(groups[: room.value])
        if size >= MOST_GROUPS:
            raise UnfitUser(f"this computer does not tell the groups of {user!r}")
        # Some systems do not say how many there are.
        room.value = min(max(room.value, 2 * size), MOST_GROUPS)
