"""The setting runcommand: a template, read once, that starts each job by another program.

That program may have more rights than the job: sudo, or anything that root runs. So nothing that a
job says is ever pasted into a text that a shell reads. A blank is filled in inside one argument;
in the script of `sh -c` it becomes a variable, whose value comes in an argument of its own. What
cannot be done in one of these two ways is refused when the template is read. Nor is a variable of a
job ever set for that program: all of them come to it in the text of one.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coalition.worker.command.script import Unsafe, rewrite

BLANK = re.compile(r"__(?:user|dir|cmd)__")

CARRIER = "COALITION_JOB_ENVIRONMENT"
"""The variable that carries the job's variables past the runcommand, as text for a shell. Nothing
takes notice of it but a script of `sh -c`, and programs that were written for it. A list of what is
dangerous to set directly, like LD_PRELOAD, would never be complete."""

SHELLS = frozenset({"sh", "ash", "bash", "dash", "ksh", "ksh93", "mksh", "zsh"})

READERS = frozenset(
    {
        "su", "sg", "newgrp", "ssh", "rsh", "eval", "watch", "parallel",
        "csh", "tcsh", "fish", "cmd", "powershell", "pwsh",
    }
)  # fmt: skip
"""Programs that make a text of their arguments and read that as commands again, in which quotes of
a job would count."""

CHANGERS = frozenset({"sudo", "doas", "pkexec"})
"""Programs that run others as another user, also when an ordinary user calls them."""

OWN = frozenset({"UID", "EUID", "PPID", "SHELLOPTS", "BASHOPTS", "BASH_VERSINFO", "IFS"})
"""Variables that a shell does not take from outside; most stop it when they are set."""

_TEXT = re.compile(r"[\w@%+=:,./-]*", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SUDO_SHELL = re.compile(r"-[ABbEeHKklNnPSVv]*[is]|--(?:lo|sh)")
_SUDO_VALUE = re.compile(
    r"-\w*[aCcDghpRrTtUu]|--(?:auth-type|chdir|chroot|close-from|command-timeout|group|host"
    r"|login-class|other-user|prompt|role|type|user)"
)


@dataclass(frozen=True)
class Runcommand:
    """A template that was read; `script` is where in `words` a shell's script stands, 0: none."""

    words: tuple[str, ...]
    script: int
    names_user: bool

    @property
    def changes_user(self) -> bool:
        """Whether it makes somebody else of a worker.py that has no rights for that itself."""
        return self.names_user or any(_program(word) in CHANGERS for word in self.words)

    def arguments(self, values: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
        """Return the argument vector for a job.

        `values` are what goes into the blanks, by `user`, `dir` and `cmd`; `ours` the variables
        that the job must have even if the runcommand lets none through.
        """
        filled = [BLANK.sub(lambda blank: values[blank[0].strip("_")], word) for word in self.words]
        if not self.script:
            return filled
        filled[self.script] = self.words[self.script]
        variables = [f"{name}={value}" for name, value in ours.items()]
        user = values["user"] if self.names_user else ""  # nobody has checked it then
        return [*filled, "sh", user, values["dir"], values["cmd"], *variables]


def carried(own: Mapping[str, str], remarks: list[str]) -> dict[str, str]:
    """Return the variable that stands for a job's `own` ones in the runcommand's environment.

    It holds a line like `export NAME='value'` for each; what is left out is told in `remarks`.
    """
    lines = []
    for name, value in own.items():
        if _NAME.fullmatch(name) and name not in OWN:
            quoted = value.replace("'", "'\\''")
            lines.append(f"export {name}='{quoted}'\n")
        else:
            remarks.append(f"the variable {name} is left out: a shell cannot hand it on")
    return {CARRIER: "".join(lines)}


def read(template: str) -> Runcommand:
    """Read a template. Raises ValueError, whose message says what is wrong with it."""
    words = _split(template)
    blanks = {blank for word in words for blank in BLANK.findall(word)}
    if "__cmd__" not in blanks:
        raise Unsafe("__cmd__, the job's command, stands nowhere in it")
    script = _script(words)
    if script:
        if script != len(words) - 1:
            raise Unsafe(f"nothing may follow the script {words[script]!r}")
        _refuse_readers(words[:script])
        words[script] = rewrite(words[script], _refuse_readers)
    for place, word in enumerate(words):
        if BLANK.search(word) and not (script and place == script):
            _check(word, words[:place])
    return Runcommand(tuple(words), script, "__user__" in blanks)


def _split(template: str) -> list[str]:
    if sys.platform == "win32":
        # A backslash parts folders there, and protects nothing.
        return [word.strip('"') for word in shlex.split(template, posix=False)]
    else:
        return shlex.split(template)


def _program(word: str) -> str:
    return re.split(r"[/\\]", word)[-1].lower().removesuffix(".exe")


def _script(words: Sequence[str]) -> int:
    """Return where the script with blanks stands that a shell is given by -c; 0 if nowhere."""
    for place, word in enumerate(words):
        if _program(word) in SHELLS:
            found = _operand(words, place + 1)
            if found and BLANK.search(words[found]):
                return found
    return 0


def _operand(words: Sequence[str], place: int) -> int:
    """Return where a shell's first operand stands, if an option makes that a script; else 0."""
    given = False
    while place < len(words) and words[place].startswith(("-", "+")):
        word = words[place]
        place += 1
        if word in ("-", "--"):
            break
        if word.startswith("--"):
            place += word in ("--rcfile", "--init-file")
        else:
            given |= word[0] == "-" and "c" in word
            place += len(re.findall("[oO]", word))  # each takes the next word
    return place if given and place < len(words) else 0


def _check(word: str, before: Sequence[str]) -> None:
    """Refuse an argument with blanks that is no whole value, or that is read as commands."""
    if not before:
        raise Unsafe("a job cannot choose the program that runs it")
    if not _TEXT.fullmatch(word):
        raise Unsafe(
            f"{word!r} looks like a text for a shell, in which a job's quotes would count; a script"
            " is safe only as the argument of sh -c"
        )
    _refuse_readers(before)


def _refuse_readers(words: Sequence[str]) -> None:
    """Refuse a blank that comes after these words, if one makes commands of what follows it."""
    for place, word in enumerate(words):
        program = _program(word)
        following = words[place + 1 :]
        if (
            program in READERS
            or program.endswith((".bat", ".cmd"))
            or (program in ("sudo", "doas") and _opens_shell(following))
            or (program == "runuser" and not _names_user(following))
            or (program == "env" and any(re.match(r"-\w*S|--s", one) for one in following))
        ):
            raise Unsafe(
                f"{word!r} may read its arguments as commands again, in which a job's quotes would"
                " count; use sudo -u __user__ -E -- sh -c '...', runuser -u __user__ -- sh -c"
                " '...', or a program of your own that is given __user__, __dir__ and __cmd__"
            )


def _opens_shell(options: Sequence[str]) -> bool:
    """Say whether sudo or doas has a login shell read its arguments (-i, -s)."""
    words = iter(options)
    for word in words:
        if _SUDO_SHELL.match(word):
            return True
        if word == "--" or not (word.startswith("-") or "=" in word):
            return False
        if _SUDO_VALUE.fullmatch(word):
            next(words, None)
    return False


def _names_user(options: Sequence[str]) -> bool:
    """Say whether runuser is used like sudo; without -u it is another su."""
    return any(word.startswith(("-u", "--user")) for word in options)
