"""Affinity: words that a job asks for and that the lines of a worker offer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Words = frozenset[str]
"""A requirement: all of these words must stand in one line of the worker."""

NO_WORDS: Words = frozenset()

MOST_KNOWN = 20_000
"""Entries of a cache until it is emptied: a farm has dozens of requirements, but who sends new
words with every job must not fill the memory."""

_interned: dict[Words, Words] = {}

CALL = "@"
"""Begins a word that every worker of that name, or on a computer of that name, has by itself."""

_calls: set[Words] = set()
"""The requirements that hold such a word: as a rule none, which costs nothing."""


def intern_words(words: Words) -> Words:
    """Give the one object that stands for this set: sets are few, jobs are many."""
    known = _interned.get(words)
    if known is None:
        if len(_interned) >= MOST_KNOWN:
            _interned.clear()
        known = _interned[words] = words
        if any(word.startswith(CALL) for word in words):
            _calls.add(words)
    return known


def called(requirements: Iterable[Words]) -> list[Words]:
    """Give the requirements, as sets of those words alone, that call workers by name."""
    if not _calls:
        return []
    calls = (words for words in requirements if words in _calls)
    return [frozenset(word for word in words if word.startswith(CALL)) for words in calls]


def parse_words(text: str) -> Words:
    """Read "LINUX, 24GB" as a set of words; white space around words does not count."""
    if not text:
        return NO_WORDS
    return intern_words(frozenset(word for part in text.split(",") if (word := part.strip())))


LEASED: Words = intern_words(frozenset({"\0leased"}))
"""What an exclusive job asks for beside its words: a worker whose node ends it before the server
could give it to another. Those of protocol 1 do not; no text of anybody holds such a word."""

_joined: dict[tuple[Words, Words], Words] = {}


def join(first: Words, second: Words) -> Words:
    """Give the interned union of two requirements."""
    if not first:
        return second
    if not second:
        return first
    both = _joined.get((first, second))
    if both is None:
        if len(_joined) >= MOST_KNOWN:
            _joined.clear()
        both = _joined[first, second] = intern_words(first | second)
    return both


def requirement(words: Words, *, exclusive: bool) -> Words:
    """Give what a job asks for: the words of its affinity, and to be leased if it is exclusive."""
    return join(words, LEASED) if exclusive else words


class Line:
    """One affinity line of a worker, with a cache of the requirements it holds."""

    __slots__ = ("_holds", "words")

    def __init__(self, words: Words) -> None:
        """Make a line that offers `words`."""
        self.words = words
        self._holds: dict[Words, bool] = {}

    def holds(self, requirement: Words) -> bool:
        """Say whether every word of the requirement stands in this line."""
        answer = self._holds.get(requirement)
        if answer is None:
            if len(self._holds) >= MOST_KNOWN:
                self._holds.clear()
            answer = self._holds[requirement] = requirement <= self.words
        return answer


_lines: dict[Words, Line] = {}

LAST = Line(LEASED)
"""Stands last among the lines of a worker that may have exclusive jobs, for those without words."""


def own_lines(lines: tuple[Line, ...], tags: Words) -> tuple[Line, ...]:
    """Give the lines of a worker with the words that it has by itself, in each and in any case."""
    if lines[-1:] == (LAST,):
        return (*own_lines(lines[:-1], tags | LEASED), LAST)
    return tuple(Line(line.words | tags) for line in lines) or (Line(tags),)


def parse_lines(text: str, *, leased: bool) -> tuple[Line, ...]:
    """Read a worker's affinity: ordered lines, each a comma list; empty lines are left out.

    3.17 had one comma list, 4.0 several lines: a text without newlines is the one-line case.
    `leased` says that it may have exclusive jobs.
    """
    lines = tuple(_lines_of(text, LEASED if leased else NO_WORDS))
    return (*lines, LAST) if leased else lines


def _lines_of(text: str, more: Words) -> Iterator[Line]:
    for row in text.replace("\\n", "\n").splitlines():
        words = parse_words(row)
        if words:
            words = join(words, more)
            yield _lines.setdefault(words, Line(words))
