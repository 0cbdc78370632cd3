"""What cannot be ended: when it is taken for that, and in which words it is told."""

from __future__ import annotations

FORCED = 10.0
"""Seconds that a process may live on after the signal that cannot be refused. Even a large one is
gone sooner; what is not waits inside the system, as a rule for a disk that is gone."""


def unended(pid: int, name: str, *, refused: bool, tried: bool = False) -> str:
    """Say that a process was left running, and why.

    `refused`: it may not be signalled; `tried`: the runcommand was to do it then.
    """
    why = "it belongs to another user" if refused else "the system does not end it"
    if refused and tried:
        why += ", and the runcommand has not ended it either"
    # A program names itself as it likes.
    shown = "".join(letter if letter.isprintable() else "?" for letter in name)
    return f"process {pid} ({shown}) could not be ended: {why}"
