"""Reading an ini file whose every name is known: what is misspelt is refused, not passed over."""

from __future__ import annotations

import configparser
import difflib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from coalition.errors import ConfigError

IGNORED = frozenset({"db_mysql_install"})
"""Keys that stood in 4.0's files and never did anything."""


def read(
    path: Path, keys: Mapping[str, Collection[str]], *, must_exist: bool
) -> dict[str, dict[str, str]]:
    """Return section -> lower-case key -> text of a file.

    `keys` are those that each section may have. A file that is missing counts as empty, unless it
    must exist. Raises ConfigError with one line that names file, section, key and reason.
    """
    parser = configparser.RawConfigParser(default_section="")
    try:
        # Notepad starts a UTF-8 file with a byte order mark.
        parser.read_string(path.read_text("utf-8-sig"), str(path))
    except FileNotFoundError as error:
        if must_exist:
            raise ConfigError(f"{path}: there is no such file", file=str(path)) from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", file=str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: the file is not UTF-8 text", file=str(path)) from error
    except configparser.Error as error:
        raise ConfigError(f"{path}: {_syntax(error)}", file=str(path)) from error
    _check_names(parser, keys, path)
    return {name: dict(parser[name]) if name in parser else {} for name in keys}


def _syntax(error: configparser.Error) -> str:
    """Say in one line what configparser, which uses several, found wrong."""
    match error:
        case configparser.DuplicateSectionError():
            return f"line {error.lineno}: the section [{error.section}] stands there twice"
        case configparser.DuplicateOptionError():
            return f"[{error.section}] {error.option}: the key stands there twice"
        case configparser.MissingSectionHeaderError():
            return f"line {error.lineno}: there is no [server] or [worker] line above it"
        case configparser.ParsingError(errors=[(line, _), *_]):
            return f"line {line}: this is not key=value"
    return "this is not an ini file"


def _check_names(
    parser: configparser.RawConfigParser, keys: Mapping[str, Collection[str]], path: Path
) -> None:
    """Refuse sections and keys that nobody reads, which are misspelt ones."""
    for section in parser.sections():
        if section not in keys:
            hint = _did_you_mean(section, keys)
            reason = f"there is no such section{hint}"
            raise ConfigError(f"{path}: [{section}]: {reason}", file=str(path), section=section)
    for section, names in keys.items():
        known = {name.lower() for name in names} | IGNORED
        for key in parser[section] if parser.has_section(section) else ():
            if key not in known:
                hint = _did_you_mean(key, names)
                raise ConfigError(
                    f"{path}: [{section}] {key}: there is no such setting{hint}",
                    file=str(path),
                    section=section,
                    key=key,
                )


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, 1)
    return f", did you mean '{names[close[0]]}'?" if close else ""
