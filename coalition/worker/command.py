"""What a job asks for, made ready to be started: its variables, directory and argument vector."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from coalition import wire
from coalition.errors import CoalitionError

LONGEST = 1024 * 1024
"""Characters of a command after its variables are filled in; more than any system starts."""

_PLAIN = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
_ITEM_END = re.compile(r"\\n|\r?\n")
_BLANK = re.compile(r"__(user|dir|cmd)__")


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
    """An argument vector with its directory (None: wherever the worker is) and environment."""

    arguments: list[str] | str
    directory: str | None
    environment: dict[str, str]
    remarks: list[str]
    """Lines for the job's log about what was left out."""


def prepare(
    start: wire.Start, mark: Mark, environ: Mapping[str, str], runcommand: str = ""
) -> Command:
    """Make a run's command ready; `environ` is the worker's own environment.

    `$(NAME)` in command and directory is replaced by the job's or else the worker's variable. In
    the command an unknown NAME is left to the shell, so that `$(hostname)` works; so is everything
    that is not a bare name, like `$(date +%s)`. No shell sees the directory: there an unknown
    NAME becomes empty, with a remark. Raises CommandError.
    """
    remarks: list[str] = []
    own = parse_environment(start.environment, remarks)
    environment = {**environ, **own, **mark.variables(), "COALITION_JOB_ID": str(start.job)}
    text = expand(start.command, environment)
    directory = expand(start.dir, environment)
    for name in _PLAIN.findall(directory):
        remarks.append(f"there is no variable {name}, which the directory {start.dir} names")
    directory = _PLAIN.sub("", directory) or "."
    if runcommand:
        arguments = fill_in(runcommand, {"user": start.user, "dir": directory, "cmd": text})
        return Command(arguments, None, environment, remarks)
    return Command(shell(text), directory, environment, remarks)


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
            raise CommandError("the text is too long once its variables are filled in", 126)
        return result

    try:
        return _PLAIN.sub(value, text)
    except RecursionError as error:
        raise CommandError("the variables name each other too many times", 126) from error


def fill_in(template: str, values: Mapping[str, str]) -> list[str]:
    """Split a runcommand into arguments and put `user`, `dir` and `cmd` in their places.

    An argument that holds __cmd__ among other text is a script for a shell: what is put beside the
    command there is quoted, everywhere else the values stand for themselves. Raises CommandError.
    """
    try:
        words = shlex.split(template, posix=sys.platform != "win32")
    except ValueError as error:
        raise CommandError(f"runcommand cannot be read: {error}", 126) from error

    def filled(word: str) -> str:
        script = "__cmd__" in word and word != "__cmd__"

        def value(blank: re.Match[str]) -> str:
            text = values[blank[1]]
            return shlex.quote(text) if script and blank[1] != "cmd" else text

        return _BLANK.sub(value, word)

    return [filled(word) for word in words]
