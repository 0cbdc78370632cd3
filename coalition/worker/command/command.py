"""What a job asks for, made ready to be started: its variables, directory and argument vector."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from coalition import wire
from coalition.errors import CoalitionError, ConfigError
from coalition.worker.command.owner import Owner
from coalition.worker.command.runcommand import CARRIER, Runcommand, carried, read

LONGEST = 1024 * 1024
"""Characters of a command after its variables are filled in; more than any system starts."""

NOT_STARTED = 126
"""Exit code of a command that is not started, as shells have it."""

SIGNALLING = "\0"
"""Stands in a killer for the text that signals processes: nothing else in an argument can be it."""

_PLAIN = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
_ITEM_END = re.compile(r"\\n|\r?\n")


class CommandError(CoalitionError):
    """The command cannot be started."""

    def __init__(self, message: str, code: int) -> None:
        """Say `message` in the job's log and end it with the exit code `code`."""
        super().__init__(message)
        self.exit_code = code


@dataclass(frozen=True)
class Mark:
    """What every process of a run carries in its environment, and can be found by."""

    run: int
    worker: str
    server: str

    def variables(self) -> dict[str, str]:
        """Return the mark as environment variables."""
        return {
            "COALITION_RUN": str(self.run),
            "COALITION_WORKER": self.worker,
            "COALITION_SERVER": self.server,
        }

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Say whether a process with this environment belongs to the run.

        The run alone is not enough: another farm may have a node on this computer too.
        """
        return all(environment.get(name) == value for name, value in self.variables().items())


@dataclass(frozen=True)
class Command:
    """An argument vector with its directory (None: wherever the worker is) and its variables."""

    arguments: list[str] | str
    directory: str | None
    variables: dict[str, str]
    """What its environment has beyond the worker's, or instead of that."""
    remarks: list[str]
    """Lines for the job's log about what was left out."""
    user: Owner | None = None
    """Whom the command's process becomes before anything of the job acts; None: it stays."""
    killer: Command | None = None
    """What runs as the job's user a text that stands for `SIGNALLING` in it; see `Way.beyond`."""


@dataclass(frozen=True)
class Way:
    """How a node starts its jobs: directly, by a runcommand, or as their users.

    Raises ConfigError when the settings do not allow that.
    """

    runcommand: str = ""
    runasuser: bool = False
    beyond: bool = False
    """Whether what jobs start is beyond the reach of worker.py itself: only the runcommand may have
    the rights to end it, which is not sure."""
    template: Runcommand | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.runasuser:
            self._check_runasuser()
        try:
            template = read(self.runcommand) if self.runcommand.strip() else None
        except ValueError as error:
            raise ConfigError(f"[worker] runcommand: {error}") from error
        object.__setattr__(self, "template", template)

    def _check_runasuser(self) -> None:
        if sys.platform == "win32":
            raise ConfigError("[worker] runasuser: Windows has no such thing")
        else:
            if os.geteuid() != 0:
                raise ConfigError("[worker] runasuser: worker.py must be run by root for that")
            if self.runcommand.strip():
                raise ConfigError("[worker] runasuser: there is a runcommand, which does that")

    @property
    def other_users(self) -> bool:
        """Whether jobs may run as other users than worker.py itself."""
        return self.runasuser or self.template is not None

    @property
    def names_user(self) -> bool:
        """Whether it matters which user a job names, so that it has to be a fit one."""
        return self.runasuser or (self.template is not None and self.template.names_user)

    @property
    def needs_reach(self) -> bool:
        """Whether jobs become users whose processes this worker.py has no right to signal."""
        if sys.platform == "win32":
            return False
        else:
            changes = self.template is not None and self.template.changes_user
            return changes and os.geteuid() != 0


def prepare(
    start: wire.Start,
    mark: Mark,
    environ: Mapping[str, str],
    way: Way,
    scratch: str = "",
    owner: Owner | None = None,
) -> Command:
    """Make a run's command ready; `environ` is the worker's own environment.

    `scratch` is the run's empty directory; the command works there if the job wants that. `owner`
    is what `owner_of` says of the job's user, where the way names that.

    `$(NAME)` in command and directory is replaced by the job's or else the worker's variable. In
    the command an unknown NAME is left to the shell, so that `$(hostname)` works; so is everything
    that is not a bare name, like `$(date +%s)`. No shell sees the directory: there an unknown
    NAME becomes empty, with a remark. Raises CommandError.
    """
    if way.names_user and owner is None and sys.platform != "win32":
        raise ValueError(f"nobody has looked up the user {start.user!r}")
    remarks: list[str] = []
    own = parse_environment(start.environment, remarks)
    ours = {**mark.variables(), "COALITION_JOB_ID": str(start.job)}
    if scratch:
        ours["COALITION_SCRATCH_DIR"] = scratch
    login = owner.variables() if owner and way.runasuser else {}
    variables = {**login, **own, **ours}
    environment = {**environ, **variables}
    text = expand(start.command, environment)
    directory = (scratch if start.scratch else "") or _directory(start.dir, environment, remarks)
    if login and owner and directory == ".":
        directory = owner.folder  # worker.py's own folder may be closed to others
    if way.template is None:
        return Command(shell(text), directory, variables, remarks, owner)
    _check_argument(text)
    values = {"user": start.user, "dir": _unmistakable(directory), "cmd": text}
    arguments = way.template.arguments(values, ours)
    own = {name: value for name, value in own.items() if name not in ours and name != CARRIER}
    killer = _killer(way.template, start.user, ours) if way.beyond else None
    return Command(arguments, None, {**carried(own, remarks), **ours}, remarks, killer=killer)


def _killer(template: Runcommand, user: str, ours: Mapping[str, str]) -> Command:
    """Return what signals a job's processes as their user. No variable of the job acts in it."""
    values = {"user": user, "dir": "/", "cmd": SIGNALLING}
    return Command(template.arguments(values, ours), None, {**carried({}, []), **ours}, [])


def _directory(text: str, variables: Mapping[str, str], remarks: list[str]) -> str:
    directory = expand(text, variables)
    for name in _PLAIN.findall(directory):
        remarks.append(f"there is no variable {name}, which the directory {text} names")
    return _PLAIN.sub("", directory) or "."


def _check_argument(text: str) -> None:
    """Refuse a command that the program of a runcommand could take for one of its options.

    Also where it comes after a script: some programs look for options behind their operands too.
    """
    if text.startswith("-"):
        raise CommandError(f"the command begins with -: {text[:100]}", NOT_STARTED)


def _unmistakable(directory: str) -> str:
    """Return the directory by a name that is no option and is not looked for along CDPATH."""
    return directory if os.path.isabs(directory) else os.path.join(".", directory)


def shell(text: str) -> list[str] | str:
    """Return the arguments that have the system's shell run a text."""
    if sys.platform == "win32":
        # As one string: cmd.exe has no rules of quoting that a list could be put through.
        return f'cmd.exe /s /c "{text}"'
    else:
        return ["/bin/sh", "-c", text]


def parse_environment(text: str, remarks: list[str]) -> dict[str, str]:
    r"""Read `A=1\nB=2`, where the items are parted by backslash and n, or by a new line.

    What is not a variable is left out, with a remark.
    """
    variables = {}
    for item in _ITEM_END.split(text):
        name, equals, value = item.partition("=")
        if equals and name.strip():
            variables[name.strip()] = value
        elif item.strip():
            remarks.append(f"the environment holds {item.strip()!r}, which is not NAME=VALUE")
    return variables


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace every `$(NAME)` whose variable is known, in the values too.

    A variable that names itself, over however many others, keeps that name as it stands. Raises
    CommandError when the text grows beyond all use.
    """
    known: dict[str, str] = {}
    room = LONGEST

    def value(found: re.Match[str]) -> str:
        nonlocal room
        name = found[1]
        if name not in known and name in variables:
            known[name] = found[0]
            known[name] = _PLAIN.sub(value, variables[name])
        result = known.get(name, found[0])
        room -= len(result)
        if room < 0:
            raise CommandError("the text is too long once its variables are filled in", NOT_STARTED)
        return result

    try:
        return _PLAIN.sub(value, text)
    except RecursionError as error:
        raise CommandError("the variables name each other too many times", NOT_STARTED) from error
