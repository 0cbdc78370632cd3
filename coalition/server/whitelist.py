"""Which commands jobs may have: the setting `commandwhitelist`."""

from __future__ import annotations

from collections.abc import Iterable

import re2

from coalition.errors import CommandRefused, ConfigError


class Whitelist:
    """Expressions of which one must match the whole of a command; none at all: any command may be.

    Lines before the first `@user` are for everybody, those below it for that user besides.
    """

    def __init__(self, text: str) -> None:
        """Read the setting. Raises ConfigError for what is no regular expression."""
        self._lists: dict[str, list[re2._Regexp]] = {}
        user = ""
        for line in filter(None, map(str.strip, text.splitlines())):
            if line.startswith("@"):
                user = line[1:].strip()
                self._lists.setdefault(user, [])
            else:
                self._lists.setdefault(user, []).append(_compiled(line))

    def allows(self, user: str, command: str) -> bool:
        """Say whether a user may have a command. A group has none, and is nobody's concern."""
        lists = {name: self._lists[name] for name in ("", user) if name in self._lists}
        return not (command and lists) or any(_matches(one, command) for one in lists.values())

    def check(self, jobs: Iterable[tuple[str, str]]) -> None:
        """Raise CommandRefused if one of these users may not have that command."""
        for user, command in jobs if self._lists else ():
            if not self.allows(user, command):
                short = command if len(command) <= 100 else command[:100] + "..."
                raise CommandRefused(
                    f"the white list of this server has no command such as {short!r}",
                    field="command",
                )


def _compiled(line: str) -> re2._Regexp:
    try:
        return re2.compile(line)
    except re2.error as error:
        raise ConfigError(f"commandwhitelist: {line!r} is no regular expression") from error


def _matches(expressions: list[re2._Regexp], command: str) -> bool:
    return any(one.fullmatch(command) is not None for one in expressions)
