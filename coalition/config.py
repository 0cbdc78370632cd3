"""The settings of server and worker: each is described once, as a field of its dataclass.

The sources, the later ones winning: the defaults below, the ini file, the environment
(COALITION_SERVER_PORT), the command line. The ini file is read without interpolation, so that a
`%` in a password or a command is a `%`.
"""

from __future__ import annotations

import configparser
import dataclasses
import ipaddress
import math
import os
import re
import reprlib
import socket
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from coalition import ini, wire
from coalition.errors import ConfigError

FILE = "coalition.ini"
"""The file that is read when none is named; it stands in the data folder."""

_COMMENT = re.compile(r"(?:^|\s);")

Value = TypeVar("Value")


@dataclass(frozen=True)
class Rule:
    """What is said about a setting beside its type and default.

    `lowest` and `highest` bound a number, `choices` a text. `secret` keeps it out of logs. A
    setting that is not `in_file` comes from the command line only. What stands in the file behind
    white space and a semicolon is a comment, unless the text is `verbatim`: it may be meant there.
    """

    help: str
    lowest: float = -math.inf
    highest: float = math.inf
    choices: tuple[str, ...] = ()
    key: str = ""
    secret: bool = False
    in_file: bool = True
    verbatim: bool = False


def setting(default: Value, help: str, lowest: float = -math.inf, **rest: Any) -> Value:
    """Describe a setting; `rest` are the other fields of Rule."""
    rule = Rule(help, lowest, **rest)
    return dataclasses.field(default=default, repr=not rule.secret, metadata={"rule": rule})


@dataclass(frozen=True)
class ServerConfig:
    """The `[server]` section and the folder that its relative paths start at."""

    datadir: Path
    remarks: tuple[str, ...] = dataclasses.field(default=(), compare=False, repr=False)
    """What the log should say about the file, a line each."""

    db_type: str = setting("sqlite", "Kind of database", choices=("sqlite", "mysql"))
    db_sqlite_file: str = setting("coalition.db", "File of the SQLite database")
    db_mysql_host: str = setting("127.0.0.1", "MySQL or MariaDB server, as host or host:port")
    db_mysql_port: int = setting(3306, "Its port, if the host does not name one", 1, highest=65535)
    db_mysql_user: str = setting("", "Account on the MySQL server")
    db_mysql_password: str = setting("", "Password of that account", secret=True, verbatim=True)
    db_mysql_base: str = setting("base", "Name of the MySQL database")

    port: int = setting(
        wire.PORT,
        "Port of the web page, the API and the workers (TCP), and of discovery (UDP)",
        0,
        highest=65535,
    )
    servermode: str = setting(
        "normal",
        "Where more workers come from when there is work for them",
        choices=("normal", "aws", "gcloud", "qarnot_api"),
    )
    timeout: float = setting(60.0, "Seconds of silence after which a worker is lost", 0.1)
    maxbody: int = setting(64 * 1024 * 1024, "Largest submission (PUT /api/jobs), in bytes", 1)
    maxlogsize: int = setting(
        wire.MAXLOG,
        "Bytes of a run's log that are kept as they are; of more, the middle is left out",
        64 * 1024,
    )
    service: bool = setting(False, "Run as a service (Windows only)")
    verbose: bool = setting(False, "Say more in the log")

    notifyafter: int = setting(10, "Mail a group's user after this many finished jobs, 0: never", 0)
    decreasepriorityafter: int = setting(
        10, "Lower a group's priority after this many failed jobs, 0: never", 0
    )

    smtphost: str = setting("", "Mail server; empty: no mail is sent")
    smtpport: int = setting(587, "Port of the mail server", 1, highest=65535)
    smtptls: bool = setting(True, "Encrypt the connection to the mail server (STARTTLS)")
    smtpsender: str = setting("", "Address that mails come from")
    smtplogin: str = setting("", "Account on the mail server; empty: no login")
    smtppasswd: str = setting("", "Password of that account", secret=True, verbatim=True)

    ldaphost: str = setting("", "URL of the LDAP server; empty: no login, everybody may do all")
    ldaptemplatelogin: str = setting(
        "", "Name under which a user logs in to the LDAP server", verbatim=True
    )
    ldapbase: str = setting("", "Where in the LDAP tree the searches start")
    ldapunsafeapi: bool = setting(False, "Let scripts use the API without a password")
    ldaptemplatecreatejob: str = setting("", "Filter: may create jobs of their own", verbatim=True)
    ldaptemplateviewjob: str = setting("", "Filter: may see their own jobs", verbatim=True)
    ldaptemplateeditjob: str = setting("", "Filter: may change their own jobs", verbatim=True)
    ldaptemplatedeletejob: str = setting("", "Filter: may delete their own jobs", verbatim=True)
    ldaptemplatecreatejobglobal: str = setting(
        "", "Filter: may create jobs for anybody", verbatim=True
    )
    ldaptemplateviewjobglobal: str = setting("", "Filter: may see anybody's jobs", verbatim=True)
    ldaptemplateeditjobglobal: str = setting("", "Filter: may change anybody's jobs", verbatim=True)
    ldaptemplatedeletejobglobal: str = setting(
        "", "Filter: may delete anybody's jobs", verbatim=True
    )

    commandwhitelist: str = setting(
        "",
        "Commands that jobs may have: expressions that match all of one; empty: any",
        verbatim=True,
    )

    @property
    def database(self) -> Path:
        """The file of the SQLite database."""
        return self.datadir / self.db_sqlite_file

    @property
    def logs(self) -> Path:
        """The folder of the jobs' logs."""
        return self.datadir / "logs"

    @property
    def log_file(self) -> Path:
        """The file the server writes its own log to."""
        return self.datadir / "server.log"

    @property
    def mysql_address(self) -> tuple[str, int]:
        """Host and port of the MySQL server; a port in `db_mysql_host` wins.

        Raises ConfigError if what follows the colon is no port.
        """
        host, colon, port = self.db_mysql_host.rpartition(":")
        if not colon or (":" in host and not host.endswith("]")):
            return self.db_mysql_host.strip("[]"), self.db_mysql_port
        if not (port.isdecimal() and 0 < int(port) <= 65535):
            raise ConfigError(f"[server] db_mysql_host: {reprlib.repr(port)} is not a port")
        return host.strip("[]"), int(port)


@dataclass(frozen=True)
class WorkerConfig:
    """The `[worker]` section, what only the command line says, and the data folder."""

    datadir: Path
    remarks: tuple[str, ...] = dataclasses.field(default=(), compare=False, repr=False)
    """What the log should say about the file, a line each."""

    server_url: str = setting(
        "", "Server, like http://host:19211; empty: look for it on the network", key="serverUrl"
    )
    broadcast: tuple[str, ...] = setting(
        (), "Addresses to ask for the server, by comma; empty: every interface's broadcast address"
    )
    workers: int = setting(1, "Workers of this computer: jobs it runs at the same time", 1)
    name: str = setting("", "Name of the worker; empty: the name of the computer")
    sleep: float = setting(2.0, "Seconds between two reports to the server", 0.01)
    cpus: int | None = setting(None, "Processors per worker; given, it decides how many workers", 1)
    startup: str = setting("", "Command to run before the first job", verbatim=True)
    verbose: bool = setting(False, "Say more in the log")
    runcommand: str = setting(
        "",
        "How to run a job's command, with __user__, __dir__ and __cmd__; empty: directly",
        verbatim=True,
    )
    exclusive: bool = setting(
        False, "Treat all jobs as exclusive: end them when the server is out of reach for too long"
    )
    runasuser: bool = setting(False, "Run each job as its user; worker.py has to be root")
    scratch: str = setting(
        "", "Folder for the jobs' scratch directories; empty: the folder of this file"
    )
    maxoutbox: int = setting(
        1024 * 1024 * 1024,
        "Bytes of output to keep on this computer while no server takes them",
        16 * 1024 * 1024,
    )
    logfile: str = setting("./worker.log", "File of the worker's own log")
    debug: bool = setting(False, "Show what is said to the server", in_file=False)
    affinity: str = setting("", "Affinity to announce to the server", in_file=False)

    @property
    def log_file(self) -> Path:
        """The file the worker writes its own log to."""
        return self.datadir / self.logfile

    @property
    def scratch_folder(self) -> Path:
        """The folder of this node's scratch directories; no other node may use it.

        Nodes of two farms on one computer may have the same name, but not the same data folder.
        """
        mark = f"{quote(self.name, safe='')}-{zlib.crc32(os.fsencode(self.datadir)):08x}"
        return self.datadir / self.scratch / f"scratch-{mark}"


Config = TypeVar("Config", ServerConfig, WorkerConfig)

SECTIONS: dict[type[Any], str] = {ServerConfig: "server", WorkerConfig: "worker"}


@dataclass(frozen=True)
class Setting:
    """One setting as a reader of the file or of the documentation sees it.

    `name` is the field's, `kind` its type as it is written.
    """

    section: str
    key: str
    name: str
    kind: str
    default: object
    rule: Rule

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"COALITION_{self.section}_{self.key}".upper()


def settings(config: type[ServerConfig] | type[WorkerConfig]) -> list[Setting]:
    """Return the settings of a section in the order in which they are described."""
    return [
        Setting(
            SECTIONS[config],
            field.metadata["rule"].key or field.name,
            field.name,
            str(field.type),
            field.default,
            field.metadata["rule"],
        )
        for field in dataclasses.fields(config)
        if "rule" in field.metadata
    ]


def load_server(
    options: Mapping[str, object], config: Path | None, datadir: Path, environ: Mapping[str, str]
) -> ServerConfig:
    """Read the server's settings.

    `options` are the command line's by field name; None is "not given", and names that are no
    settings are passed over. Without `config`, coalition.ini of the data folder is read if there is
    one. Raises ConfigError with one line that names file, section, key and reason.
    """
    return _load(ServerConfig, options, config, datadir, environ)


def load_worker(
    options: Mapping[str, object], config: Path | None, datadir: Path, environ: Mapping[str, str]
) -> WorkerConfig:
    """Read the worker's settings as `load_server` does; without a name it has the computer's."""
    loaded = _load(WorkerConfig, options, config, datadir, environ)
    return dataclasses.replace(loaded, name=loaded.name or socket.gethostname())


def _load(
    kind: type[Config],
    options: Mapping[str, object],
    config: Path | None,
    datadir: Path,
    environ: Mapping[str, str],
) -> Config:
    path = config or datadir / FILE
    file = ini.read(path, SECTIONS[kind], _keys_in_file(), must_exist=config is not None)
    values: dict[str, Any] = {}
    for one in settings(kind):
        if one.rule.in_file:
            where = f"{path}: [{one.section}] {one.key}"
            _take(values, one, _uncommented(one, file.texts.get(one.key.lower())), where, path)
            _take(values, one, environ.get(one.variable), one.variable)
        _take(values, one, options.get(one.name), f"option {one.name}")
    return kind(datadir=datadir, remarks=file.remarks, **values)


def _keys_in_file() -> dict[str, list[str]]:
    return {
        section: [one.key for one in settings(kind) if one.rule.in_file]
        for kind, section in SECTIONS.items()
    }


def _uncommented(one: Setting, text: str | None) -> str | None:
    if text is None or one.rule.verbatim:
        return text
    return _COMMENT.split(text, maxsplit=1)[0].strip()


def _take(
    values: dict[str, Any], one: Setting, value: object, where: str, path: Path | None = None
) -> None:
    """Put what a source says about a setting into `values`, if it says something."""
    try:
        if isinstance(value, str):
            value = _parse(one, value)
        if value is not None:
            _check(one.rule, value)
            values[one.name] = value
    except ValueError as error:
        raise ConfigError(
            f"{where}: {error}", file=str(path or ""), section=one.section, key=one.key
        ) from error


def _parse(one: Setting, text: str) -> object:
    """Return the value that `text` stands for; None where a number or switch is left empty."""
    if one.kind == "str":
        return text.strip().lower() if one.rule.choices else text
    return READERS[one.kind](text.strip()) if text.strip() else None


def _check(rule: Rule, value: object) -> None:
    if rule.choices and value not in rule.choices:
        raise ValueError(f"{reprlib.repr(value)} is none of {', '.join(rule.choices)}")
    if isinstance(value, int | float) and not rule.lowest <= value <= rule.highest:
        bounds = f"at least {rule.lowest:g}"
        if rule.highest < math.inf:
            bounds = f"between {rule.lowest:g} and {rule.highest:g}"
        raise ValueError(f"{value} is out of range, it must be {bounds}")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{reprlib.repr(text)} is not a whole number") from None


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{reprlib.repr(text)} is not a number")
    return number


def _switch(text: str) -> bool:
    if text.isdecimal():
        return int(text) != 0  # 4.0 counted how often `verbose` was meant
    states = configparser.RawConfigParser.BOOLEAN_STATES
    if text.lower() not in states:
        raise ValueError(f"{reprlib.repr(text)} is neither yes nor no")
    return states[text.lower()]


def _whole_or_none(text: str) -> int | None:
    return None if text.lower() == "none" else _whole(text)


def _addresses(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    for word in words:
        try:
            ipaddress.IPv4Address(word)
        except ValueError:
            raise ValueError(f"{reprlib.repr(word)} is not an IPv4 address") from None
    return words


READERS: dict[str, Callable[[str], object]] = {
    "int": _whole,
    "float": _number,
    "bool": _switch,
    "int | None": _whole_or_none,
    "tuple[str, ...]": _addresses,
}
"""How a text becomes a value, by the type of the field."""
