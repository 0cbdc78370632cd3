"""Control groups (cgroup v2), where this process may make some: one for each keeper.

By them, what a keeper keeps is found and killed as a whole, even when that and worker.py are gone.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
from pathlib import Path, PurePosixPath

import psutil

from coalition.worker.process.keeper.unended import FORCED, unended
from coalition.worker.reactor import Clock, sleep

LOOK = 0.01
"""Seconds between two looks at whether they are gone."""

_ESCAPE = re.compile(r"\\([0-7]{3})")

log = logging.getLogger(__name__)


class Cgroups:
    """The control groups of a node; none where there can be none."""

    def __init__(self, node: str) -> None:
        """Have none; `node` is a name that no other node on this computer has."""
        digest = hashlib.sha256(node.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        self.prefix = f"coalition-{digest}-"
        self._mount, self._own = _places(_text("mountinfo"), _text("cgroup"))
        self._made: list[Path] = []

    def make(self, number: int) -> str:
        """Return the folder of a new one, "" if it cannot be made; `number` tells them apart."""
        if self._own is None:
            return ""
        folder = self._own / f"{self.prefix}{number}"
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            log.debug("no control group: %s", error)
            return ""
        self._made.append(folder)
        return str(folder)

    def reach_all(self) -> bool:
        """Say whether what is in one can be killed without any right to signal it."""
        folder = self.make(0)  # those of keepers count from 1
        if not folder:
            return False
        self._made.pop()
        needed = [f"{folder}/cgroup.kill", f"{folder}/cgroup.procs", f"{self._own}/cgroup.procs"]
        able = all(os.access(path, os.W_OK) for path in needed)
        _remove(Path(folder))
        return able

    def kill(self, folder: str) -> None:
        """Kill every process of one."""
        if folder:
            _kill(Path(folder))

    async def end_old(self, clock: Clock) -> None:
        """Kill what an earlier life of the node left running, wherever that life was."""
        if self._mount is None:
            return
        named = [path for path in _folders(self._mount) if path.name.startswith(self.prefix)]
        old = [path for path in named if path not in self._made]
        for path in old:
            if _members(path):
                log.warning("processes of an earlier life of this node are ended")
            _kill(path)
        deadline = clock.seconds() + FORCED
        while any(map(_members, old)) and clock.seconds() < deadline:
            await sleep(clock, LOOK)
        for path in old:
            for pid in _members(path):
                log.warning("%s", unended(pid, _name(pid), refused=_refuses(pid)))
            _remove(path)

    def remove(self) -> None:
        """Remove those that were made."""
        for path in self._made:
            _remove(path)
        self._made = []


def _text(name: str) -> str:
    try:
        return Path("/proc/self", name).read_text("utf-8", "surrogateescape")
    except OSError:
        return ""


def _places(mounts: str, groups: str) -> tuple[Path | None, Path | None]:
    """Return where control groups are mounted, and the folder of this process there.

    `mounts` and `groups` are what /proc/self/mountinfo and /proc/self/cgroup hold, see proc(5).
    """
    own = next((line[3:] for line in groups.splitlines() if line.startswith("0::")), None)
    for line in mounts.splitlines():
        mount, _, kind = line.partition(" - ")
        root, point = (_ESCAPE.sub(_unescaped, word) for word in mount.split(" ")[3:5])
        if kind.startswith("cgroup2 "):
            return Path(point), _below(Path(point), root, own)
    return None, None


def _below(mount: Path, root: str, own: str | None) -> Path | None:
    """Return the folder of the group `own`, if it is in what is mounted: `root` and below."""
    path = PurePosixPath(own or "")
    if own is None or ".." in path.parts or not path.is_relative_to(root):
        return None
    return mount / path.relative_to(root)


def _unescaped(found: re.Match[str]) -> str:
    return chr(int(found[1], 8))


def _folders(top: Path) -> list[Path]:
    """Return a folder and all below it, the lowest first."""
    return [Path(path) for path, _, _ in os.walk(top, topdown=False)]


def _members(group: Path) -> list[int]:
    found: list[int] = []
    for folder in _folders(group):
        with contextlib.suppress(OSError):
            found += map(int, (folder / "cgroup.procs").read_text().split())
    return found


def _kill(group: Path) -> None:
    try:
        (group / "cgroup.kill").write_text("1")
    except OSError:  # before Linux 5.14
        for pid in _members(group):
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).kill()


def _name(pid: int) -> str:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).name()
    return "?"


def _refuses(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return False


def _remove(group: Path) -> None:
    for folder in _folders(group):
        with contextlib.suppress(OSError):
            folder.rmdir()
