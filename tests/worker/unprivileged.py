"""A worker.py without rights, and a runcommand that has all of them."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.worker.real import ROOT, Node

WORKER, OWNER = "nobody", "daemon"
"""Two users that every Linux has: of worker.py, and of the jobs."""

READING = "--inh-caps=+dac_read_search --ambient-caps=+dac_read_search"
"""The only right that it is left: Python may be where nobody but root may look."""

CHANGE = "change --reuid=__user__ --clear-groups --"

STAYING = """#!/bin/sh
# As sudo: it is root's, and stays until the command has ended.
[ "$1" = root ] || exec "${0%/*}/change" --reuid=root --regid=root --clear-groups -- "$0" root "$@"
user=$2; shift 2
setpriv --reuid="$user" --regid=nogroup --clear-groups -- "$@"
exit $?
"""


@contextmanager
def setuid_folder() -> Iterator[Path]:
    """Make a folder for the user of worker.py, with programs that make anybody of anybody.

    `change` becomes the command, `stay` waits for it, as sudo.
    """
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    change = shutil.copy(shutil.which("setpriv") or "", folder / "change")
    os.chmod(change, 0o4755)
    (folder / "stay").write_text(STAYING)
    (folder / "stay").chmod(0o755)
    account = pwd.getpwnam(WORKER)
    os.chown(folder, account.pw_uid, account.pw_gid)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def unprivileged_node(
    folder: Path, url: str, cgroup: Path | None, ini: str = "", change: str = CHANGE
) -> Iterator[Node]:
    """Run worker.py in `folder` as a user without rights, in this control group.

    `change` are the words of its runcommand before the shell, the first one a program there.
    """
    (folder / "coalition.ini").write_text(
        f"[worker]\nserverUrl={url}\nsleep=0.1\nname=node\n{ini}"
        f"runcommand={folder}/{change} sh -c 'cd __dir__; __cmd__'\n"
    )
    enter = f"echo 0 > {cgroup}/cgroup.procs && " if cgroup else ""
    become = f"setpriv --reuid={WORKER} --regid=nogroup --clear-groups {READING} --"
    script = f'{enter}exec {become} "$0" {ROOT}/worker.py --config {folder}/coalition.ini'
    process = subprocess.Popen(["sh", "-c", script, sys.executable], cwd=folder)
    try:
        yield Node(process, folder)
    finally:
        left = (
            psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        )
        for one in left:
            one.kill()
        process.kill()
        process.wait()
        psutil.wait_procs(left)
