"""server.py: options, settings, the database's upkeep, and the server itself."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL

import coalition
from coalition.config import ServerConfig, load_server
from coalition.errors import CoalitionError, ConfigError
from coalition.store import versions
from coalition.store.coalition40 import takeover
from coalition.store.engine import Store, open_store

HERE = Path(__file__).resolve().parents[2]
"""Where server.py stands: the default data folder, and the home of public/."""

WINDOWS = sys.platform == "win32"
"""Whether this system has services of the kind that --service means."""

NAMED = (
    "The farm has an identity now, by which nodes know it; a copy from before, restored and "
    "migrated, would be another farm to them"
)

CONFIRMATION = "Yes, proceed!"

log = logging.getLogger(__name__)


def parser(windows: bool = WINDOWS) -> argparse.ArgumentParser:
    """Describe the command line, that of Windows if asked for."""
    result = argparse.ArgumentParser(
        prog="server.py", description="The server of Coalition.", allow_abbrev=False
    )
    add = result.add_argument
    add("-p", "--port", type=int, help="port of the web page, the API and the workers")
    add("-v", "--verbose", action="store_true", default=None, help="say more, on the terminal")
    add("--datadir", type=Path, default=HERE, help="folder of coalition.ini, database and logs")
    add("--config", type=Path, help="settings file instead of the data folder's coalition.ini")
    add("--init", action="store_true", help="set up an empty database and end")
    add("--migrate", action="store_true", help="bring an older database up to date and end")
    add("--reset", action="store_true", help="delete all jobs, workers and logs, and end")
    add("--yes", action="store_true", help="ask nothing before --migrate and --reset")
    add("--version", action="version", version=coalition.__version__)
    if windows:
        add = result.add_mutually_exclusive_group().add_argument
        add("-c", "--console", dest="service", action="store_false", help="run in this console")
        add("-s", "--service", action="store_true", help="run as a service")
    result.set_defaults(service=None)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run server.py; give its exit code: 2 for wrong options or settings, 1 for other trouble."""
    options = parser(WINDOWS).parse_args(argv)
    if options.service:
        # Windows starts services in its own folder, where no path of a user begins.
        os.chdir(HERE)
    datadir = options.datadir.resolve()
    try:
        datadir.mkdir(parents=True, exist_ok=True)
        config = load_server(vars(options), options.config, datadir, os.environ)
        url = database_url(config)
        _start_logging(config)
    except (ConfigError, OSError) as error:
        print(f"server.py: {error}", file=sys.stderr)
        if options.service:
            from coalition.cli import winservice

            winservice.complain(str(error))
        return 2
    if options.init or options.migrate or options.reset:
        return _attempt(partial(_keep, options, config, url))
    if config.service and WINDOWS:
        from coalition.cli import winservice

        return winservice.host(partial(_attempt, partial(_serve, config, url, signals=False)))
    if config.service:
        log.warning("the setting service is for Windows only; it is passed over")
    return _attempt(partial(_serve, config, url, signals=True))


def _attempt(work: Callable[[], int]) -> int:
    """Do the work and give its exit code, or 1 once it is said why it could not be done."""
    try:
        return work()
    except CoalitionError as error:
        log.critical("%s", error)
        print(f"server.py: {error}", file=sys.stderr)
        return 1


def database_url(config: ServerConfig) -> str:
    """Give the SQLAlchemy URL of the database that the settings name."""
    if config.db_type == "sqlite":
        return f"sqlite:///{config.database}"
    host, port = config.mysql_address
    user, password = config.db_mysql_user or None, config.db_mysql_password or None
    url = URL.create("mysql+pymysql", user, password, host, port, config.db_mysql_base)
    return url.render_as_string(hide_password=False)


def _start_logging(config: ServerConfig) -> None:
    handlers: list[logging.Handler] = [logging.FileHandler(config.log_file, encoding="utf-8")]
    if config.verbose:
        handlers.append(logging.StreamHandler())
    logging.basicConfig(
        level=logging.INFO if config.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=handlers,
    )
    # Alembic and the rest speak at INFO about what they always do.
    logging.getLogger("coalition").setLevel(logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    for remark in config.remarks:
        log.warning("%s", remark)


def _keep(options: argparse.Namespace, config: ServerConfig, url: str) -> int:
    """Carry out --init, --migrate or --reset."""
    store = open_store(url)
    store.lock()
    if options.init:
        store.init()
        print("The database is set up.")
        return 0
    what = "delete all jobs, workers, events and logs" if options.reset else "change the database"
    if not (options.yes or _confirmed(what)):
        print("Nothing was done.")
        return 1
    if options.migrate:
        _migrate(store)
        print("The database is up to date.")
    else:
        store.reset()
        for log in config.logs.glob("[0-9]*.log"):
            log.unlink()
        print("All data are deleted.")
    return 0


def _migrate(store: Store) -> None:
    if takeover.is_needed(store):
        takeover.take_over(store, time.time(), print)
        return
    known = _has_identity(store)
    copy = store.migrate(time.time())
    if copy is not None:
        print(f"The database as it was is kept in {copy}.")
    if not known:
        print(f"{NAMED}.")


def _has_identity(store: Store) -> bool:
    with store.reading() as connection:
        return bool(versions.identity(connection))


def _confirmed(what: str) -> bool:
    print(f'This will {what}. Type "{CONFIRMATION}" to go on: ', end="", flush=True)
    try:
        return input().strip() == CONFIRMATION
    except EOFError:
        return False


def _check_promises(config: ServerConfig) -> None:
    """Refuse to open a farm that is to be closed, and say which other settings do nothing."""
    if config.ldaphost:
        raise ConfigError(
            "ldaphost is set, but this version has no logins yet: everybody could do everything. "
            "Remove it from the settings to run an open farm"
        )
    if config.smtphost:
        log.warning("smtphost is set, but this version sends no mails yet")
    if config.servermode != "normal":
        log.warning("servermode is %s, but this version starts no workers yet", config.servermode)


def _serve(config: ServerConfig, url: str, signals: bool) -> int:
    """Run until the reactor is stopped, by signals if they are to be listened to."""
    from twisted.internet import reactor as twisted_reactor
    from twisted.internet.error import CannotListenError

    from coalition.server.app import App

    _check_promises(config)
    reactor: Any = twisted_reactor  # Twisted tells its type only when it is running
    store = open_store(url)
    store.lock()
    store.prepare()
    reactor.seconds = time.monotonic  # setting the computer's clock must not stop the timers
    app = App(reactor, config, store, HERE / "public", coalition.__version__)
    try:
        app.start()
    except CannotListenError as error:
        store.close()
        raise CoalitionError(f"port {config.port} cannot be used: {error.socketError}") from error
    reactor.addSystemEventTrigger("before", "shutdown", app.stop)
    reactor.run(installSignalHandlers=signals)
    return app.exit_code
