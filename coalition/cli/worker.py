"""worker.py: options, settings and log of a node, and the signals that end it."""

from __future__ import annotations

import argparse
import dataclasses
import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.logger import STDLibLogObserver, globalLogBeginner
from twisted.python.failure import Failure

import coalition
from coalition.address import server_url
from coalition.config import WorkerConfig, load_server, load_worker
from coalition.errors import CoalitionError, ConfigError
from coalition.worker.app import App
from coalition.worker.command.command import Way
from coalition.worker.process import boottime

HERE = Path(__file__).resolve().parents[2]
"""Where worker.py stands: the default home of coalition.ini, the log and the outbox."""

YOUNG = 20_000
"""New objects between two looks for cyclic garbage."""

log = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    result = argparse.ArgumentParser(
        prog="worker.py", description="Runs the jobs of a Coalition server.", allow_abbrev=False
    )
    add = result.add_argument
    add("server_url", nargs="?", metavar="SERVER_URL", help="default: look for it on the network")
    add("-n", "--name", help="name of the worker, default: that of the computer")
    add("-s", "--sleep", type=float, metavar="SECONDS", help="time between two pieces of a log")
    add("-w", "--workers", type=int, metavar="N", help="how many jobs run at the same time")
    add("-c", "--cpus", type=int, metavar="N", help="processors per worker, instead of --workers")
    add("-u", "--startup", metavar="COMMAND", help="command to run before the first job")
    add("-a", "--affinity", metavar="WORDS", help="affinity, if the server knows none for it")
    add("-v", "--verbose", action="store_true", default=None, help="show the log on the terminal")
    add("-d", "--debug", action="store_true", default=None, help="log what is said to the server")
    add("--config", type=Path, metavar="FILE", help="settings file, whose folder is used for files")
    add("--version", action="version", version=coalition.__version__)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run worker.py; return its exit code: 2 for wrong options or settings, 1 for other trouble."""
    options = vars(parser().parse_args(argv))
    file: Path | None = options["config"]
    folder = file.resolve().parent if file else HERE
    try:
        config = load_worker(options, file, folder, os.environ)
        if config.server_url:
            config = dataclasses.replace(config, server_url=server_url(config.server_url))
        _check_texts(config)
        Way(config.runcommand, config.runasuser)  # a mistake there is told now, not per job
        # The server to look for has the port that this farm's settings give it.
        port = load_server({}, file, folder, os.environ).port
        _start_logging(config)
    except (ConfigError, OSError) as error:
        print(f"worker.py: {error}", file=sys.stderr)
        return 2
    return _serve(config, port)


def _check_texts(config: WorkerConfig) -> None:
    """Refuse what no report and no request can hold."""
    for name, text in (("name", config.name), ("affinity", config.affinity)):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(f"[worker] {name}: {text!a} is not text") from error
    if not config.server_url.isascii():
        raise ConfigError(f"[worker] serverUrl: {config.server_url!a} is not in ASCII")


def _start_logging(config: WorkerConfig) -> None:
    handlers: list[logging.Handler] = [logging.FileHandler(config.log_file, encoding="utf-8")]
    if config.verbose:
        handlers.append(logging.StreamHandler())
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=handlers,
    )
    logging.getLogger("coalition").setLevel(logging.DEBUG if config.debug else logging.INFO)
    observer: Any = STDLibLogObserver()
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    for remark in config.remarks:
        log.warning("%s", remark)


def _serve(config: WorkerConfig, port: int) -> int:
    """Run until a signal comes and what follows from it is done."""
    from twisted.internet import reactor as twisted_reactor

    reactor: Any = twisted_reactor  # Twisted tells its type only when it is running
    # Twisted counts by the wall clock: set back an hour, it would keep a node silent for an hour.
    # And leases of exclusive runs go on while the computer sleeps.
    reactor.seconds = boottime
    app = App(
        config,
        reactor,
        port=port,
        random=SystemRandom(),
        environ=dict(os.environ),
        version=coalition.__version__,
    )
    code = 0

    def end(result: Failure | None) -> None:
        nonlocal code
        try:
            if isinstance(result, Failure) and not isinstance(result.value, CancelledError):
                code = 1
                _tell(result)
        finally:
            reactor.stop()  # whatever cannot be told: nothing else would end the program

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: reactor.callFromThread(app.stop))
    if sys.platform != "win32":
        for number, pausing in ((signal.SIGUSR1, True), (signal.SIGUSR2, False)):
            signal.signal(number, partial(_pause, reactor, app, pausing))
    # What a report leaves behind has no cycles: the collector need not look for them so often.
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 100)
    reactor.callWhenRunning(lambda: app.start().addBoth(end))
    reactor.run(installSignalHandlers=False)
    return code


def _pause(reactor: Any, app: App, pausing: bool, *_: object) -> None:
    reactor.callFromThread(app.pause, pausing)


def _tell(failure: Failure) -> None:
    error = failure.value
    known = isinstance(error, CoalitionError | OSError)
    log.critical("%s", error, exc_info=None if known else error)
    with suppress(OSError):  # nobody may read it any more
        print(f"worker.py: {error}", file=sys.stderr)
