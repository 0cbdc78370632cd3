"""The script that a runcommand has a shell read: its blanks become variables of the shell."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_TOKEN = re.compile(
    r"""
      (?P<gap>      [ \t]+ | \\\n )
    | (?P<operator> && | \|\| | ;; | \d*[<>]+[&|]? | &> | [;&|()\n] )
    | (?P<word>     (?: '[^']*' | "(?: \\. | [^"\\] )*" | \\. | [^\s;&|()<>'"\\] )+ )
    """,
    re.VERBOSE | re.DOTALL,
)

_BEGINNING = frozenset({";", "&&", "||", "|", "&", "(", "\n"})
_RESERVED = frozenset({"{", "!", "then", "do", "else"})
"""After these, a command begins."""

_BLANK = re.compile(r"__(?:user|dir|cmd)__")

_HEAD = '__user__=$1 __dir__=$2 __cmd__=$3; shift 3; export "$@"; set --\n'
"""The values come as arguments. None is left over for the job: a file that it sources would take
them for its own. What follows the three are variables that the job must have."""

_COMMAND = 'eval "${COALITION_JOB_ENVIRONMENT-}unset COALITION_JOB_ENVIRONMENT\n$__cmd__"'
"""The job's variables act from here on, where all rights are the job's. In one text with the
command, as they could change the variables of this script."""


class Unsafe(ValueError):
    """A template cannot be made safe; the message says where and why."""


def rewrite(script: str, refuse: Callable[[Sequence[str]], None]) -> str:
    """Return the script with variables in place of blanks, for `sh -c SCRIPT sh USER DIR CMD ...`.

    `cd __dir__;` leaves the script when there is no such folder, instead of running the command in
    another one. `refuse` is called with the words of a simple command before a blank in it, and
    raises Unsafe if that command would read what stands in the blank as commands. Raises Unsafe.
    """
    tokens = _tokens(script)
    if not any(text == "__cmd__" for _, text in tokens):
        raise Unsafe(f"__cmd__ does not stand by itself in the script {script!r}")
    parts = [_HEAD]
    command: list[str] = []
    for place, (kind, text) in enumerate(tokens):
        part = text
        if kind == "operator":
            if text.startswith("<<"):
                raise Unsafe(f"the script {script!r} has a here-document")
            command = [] if text in _BEGINNING else [*command, text]
        elif kind == "word":
            if _BLANK.search(text):
                part = _variable(text, command, _next(tokens, place), refuse)
            command.append(text)
        parts.append(part)
    return "".join(parts)


def _tokens(script: str) -> list[tuple[str, str]]:
    tokens = []
    place = 0
    while place < len(script):
        found = _TOKEN.match(script, place)
        if found is None:
            raise Unsafe(f"the script {script!r} cannot be read from {script[place:]!r} on")
        tokens.append((str(found.lastgroup), found[0]))
        place = found.end()
    return tokens


def _next(tokens: Sequence[tuple[str, str]], place: int) -> tuple[str, str]:
    following = (token for token in tokens[place + 1 :] if token[0] != "gap")
    return next(following, ("operator", "\n"))


def _variable(
    word: str,
    command: Sequence[str],
    after: tuple[str, str],
    refuse: Callable[[Sequence[str]], None],
) -> str:
    """Return what stands for a word with a blank, between `command` and the token `after`."""
    if word == "__cmd__":
        if not _RESERVED.issuperset(command) or after[0] == "word":
            raise Unsafe(
                "__cmd__ is not a whole command of its script, as in 'cd __dir__; __cmd__'"
            )
        return _COMMAND
    blank = word[1:-1] if word[0] in "'\"" else word
    if blank not in ("__user__", "__dir__"):
        raise Unsafe(f"{word!r} is not a whole word of its script, as in 'cd __dir__; __cmd__'")
    refuse(command)
    leaves = command in (["cd"], ["cd", "--"]) and after[1] in (";", "\n")
    return f'"${blank}"' + (" || exit 1" if leaves else "")
