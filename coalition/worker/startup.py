"""The command that a node runs before its first job."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from tempfile import TemporaryFile
from typing import IO

from coalition.worker.command.command import shell
from coalition.worker.reactor import Reactor, in_thread

log = logging.getLogger(__name__)


async def run_startup(reactor: Reactor, text: str, environ: Mapping[str, str]) -> None:
    """Run the startup command and wait for its end; what it leaves in the background stays.

    What it writes until then goes to the log: to a file first, for a pipe would not end before the
    last process that it left. A node that is stopped meanwhile ends it.
    """
    with TemporaryFile() as output:
        try:
            process = _start(text, environ, output)
        except (OSError, ValueError) as error:
            log.error("startup: %s", error)
            return
        try:
            code = await in_thread(reactor, process.wait)
        except BaseException:
            _end(process)
            raise
        output.seek(0)
        for line in output.read().decode("utf-8", "replace").splitlines():
            log.info("startup: %s", line)
    log.log(logging.WARNING if code else logging.INFO, "startup ends with %d", code)


def _start(text: str, environ: Mapping[str, str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        shell(text),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=dict(environ),
        start_new_session=True,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the command and its children at once: worker.py was asked to leave."""
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
