"""Reading an ini file whose every name is known: what is misspelt is refused, not passed over.

Files of Coalition 4.0 are read as its Python 2 read them, and what has no meaning any more is told.
"""

from __future__ import annotations

import configparser
import difflib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from coalition.errors import ConfigError

LEFT_OVER = frozenset(
    {
        "backupmax", "backuptime", "db_mysql_install", "ldaptemplate", "savetime", "service",
        "trustedusers",
    }
)  # fmt: skip
"""Keys of 3.x and 4.0 that mean nothing, or nothing in that section."""

DEFAULT = "DEFAULT"
"""The section that older programs took as part of all others."""


@dataclass(frozen=True)
class Section:
    """Lower-case key -> text, and what the user of the file should know, a line each."""

    texts: dict[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


class _Parser(configparser.RawConfigParser):
    """Takes a key or section that stands twice, as Python 2 did, and counts the keys it reads."""

    def __init__(self) -> None:
        super().__init__(strict=False, default_section="")
        self.read_keys: Counter[str] = Counter()

    def optionxform(self, optionstr: str) -> str:
        key = optionstr.lower()
        self.read_keys[key] += 1
        return key


def read(
    path: Path, section: str, keys: Mapping[str, Collection[str]], *, must_exist: bool
) -> Section:
    """Return a section of a file whose other sections are looked at, too.

    `keys` are those that each section may have. A file that is missing counts as empty, unless it
    must exist. Raises ConfigError with one line that names file, section, key and reason.
    """
    parser = _Parser()
    try:
        text, remarks = _decode(path.read_bytes())
        parser.read_string(text, str(path))
    except FileNotFoundError as error:
        if must_exist:
            raise ConfigError(f"{path}: there is no such file", file=str(path)) from error
        return Section()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", file=str(path)) from error
    except configparser.Error as error:
        raise ConfigError(f"{path}: {_syntax(error)}", file=str(path)) from error
    remarks += _twice(parser, section)
    _check_names(parser, keys, path)
    texts = dict(parser[section]) if section in parser else {}
    remarks += _passed_over(parser, section, texts, keys[section])
    return Section(texts, tuple(f"{path}: {remark}" for remark in remarks))


def _decode(written: bytes) -> tuple[str, list[str]]:
    """Read UTF-8, which Notepad begins with a byte order mark, or else what was usual before."""
    # As in any text file: configparser itself takes only \n for the end of a line.
    lines = written.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    try:
        return lines.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        remarks = ["the file is not UTF-8; it is read as Windows-1252"]
    try:
        return lines.decode("cp1252"), remarks
    except UnicodeDecodeError:
        return lines.decode("latin-1"), remarks


def _syntax(error: configparser.Error) -> str:
    """Say in one line what configparser, which uses several, found wrong."""
    match error:
        case configparser.MissingSectionHeaderError():
            return f"line {error.lineno}: there is no [server] or [worker] line above it"
        case configparser.ParsingError(errors=[(line, _), *_]):
            return f"line {line}: this is not key=value"
    return "this is not an ini file"


def _twice(parser: _Parser, section: str) -> list[str]:
    """Tell the keys of a section that were read more often than there are sections with them."""
    read_keys = dict(parser.read_keys)  # every look at the parser counts
    there = Counter(key for name in parser.sections() for key in parser[name])
    return [
        f"[{section}] {key}: the key stands there twice; the last one counts"
        for key, times in read_keys.items()
        if times > there[key] and parser.has_option(section, key)
    ]


def _passed_over(
    parser: _Parser, section: str, texts: Mapping[str, str], known: Collection[str]
) -> Iterator[str]:
    """Tell what older programs read, or read otherwise."""
    if parser.has_section(DEFAULT):
        yield f"[{DEFAULT}]: the section is passed over"
    names = {name.lower() for name in known}
    for key, text in texts.items():
        if key not in names:
            yield f"[{section}] {key}: it means nothing any more; it is passed over"
        elif "%%" in text:
            yield f"[{section}] {key}: each % stands for itself here; 4.0 wanted it twice"


def _check_names(parser: _Parser, keys: Mapping[str, Collection[str]], path: Path) -> None:
    """Refuse sections and keys that nobody ever read, which are misspelt ones."""
    for section in parser.sections():
        if section not in keys and section != DEFAULT:
            hint = _did_you_mean(section, keys)
            reason = f"there is no such section{hint}"
            raise ConfigError(f"{path}: [{section}]: {reason}", file=str(path), section=section)
    for section, names in keys.items():
        known = {name.lower() for name in names} | LEFT_OVER
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
