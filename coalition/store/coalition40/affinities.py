"""4.0's affinities: 63 bits that have names, or none. Ours are words.

What its jobs and workers have are the bits; a text beside them may hold names of long ago.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from coalition.core.affinity import CALL
from coalition.store.coalition40.report import Report
from coalition.store.coalition40.values import text, whole

BITS = 63

NUMBER = "#"
"""Begins what 4.0 shows for a bit without a name: "#5"."""


class Affinities:
    """The names of the bits, and the word that each bit becomes."""

    def __init__(self, rows: Iterable[tuple[int, str]], report: Report) -> None:
        """Take numbers with their names."""
        self.names: dict[int, str] = {}
        for number, name in rows:
            if 1 <= number <= BITS and name:
                self.names[number] = name
        self._bits = {name.strip(): bit for bit, name in sorted(self.names.items())}
        self._words = {
            bit: name.strip()
            for bit, name in self.names.items()
            if self._bits[name.strip()] == bit and is_word(name)
        }
        for bit in sorted(self.names.keys() - self._words.keys()):
            report.change(
                "affinities whose name is no word for them alone",
                f"affinity {bit}: its name {self.names[bit]!r} is no word for it alone; jobs and "
                f"workers that have it get {self.word(bit)}",
            )

    def word(self, bit: int) -> str:
        """Give the word of a bit."""
        return self._words.get(bit, f"{NUMBER}{bit}")

    def of_mask(self, value: Any) -> str:
        """Give a comma list for bits: number 1 is the lowest one."""
        mask = whole(value)
        bits = (bit for bit in range(1, BITS + 1) if mask >> (bit - 1) & 1)
        return ",".join(sorted(self.word(bit) for bit in bits))

    def of_names(self, value: Any) -> str:
        """Give the comma list that stands for one of names, as 4.0 would have understood them."""
        names = (name.strip() for name in text(value).split(","))
        return ",".join(self._understood(name) for name in names if name)

    def _understood(self, name: str) -> str:
        return self.word(self._bits[name]) if name in self._bits else name


def is_word(name: str) -> bool:
    """Say whether a name means one word in an affinity of ours, and nothing else."""
    special = name.strip().startswith((CALL, NUMBER)) or "\\n" in name or "," in name
    return not special and len(name.strip().splitlines()) == 1
