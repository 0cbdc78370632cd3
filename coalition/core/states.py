"""States of jobs, runs and workers, and every legal move of a job, as data.

They are plain words, the ones that stand in the database and in answers; an enum's members cost
a Python call wherever they are hashed, and this is the busiest data of the server.
"""

from __future__ import annotations

from typing import Final, Literal

from coalition.errors import IllegalMove

State = Literal["WAITING", "PENDING", "WORKING", "FINISHED", "ERROR"]

WAITING: Final = "WAITING"
PENDING: Final = "PENDING"
WORKING: Final = "WORKING"
FINISHED: Final = "FINISHED"
ERROR: Final = "ERROR"

STATES: Final[tuple[State, ...]] = (WAITING, PENDING, WORKING, FINISHED, ERROR)

PAUSED: Final = "PAUSED"
"""Not a state: how a job whose pause flag is set is shown."""

FINAL: Final = frozenset({FINISHED, ERROR})
"""States in which a job stays until somebody resets or starts it."""

QUEUED: Final = frozenset({WAITING, PENDING})
"""States of a job that has a run before it."""

Move = Literal[
    "pick", "finish", "fail", "give back", "reset", "hold", "free",
    "declare finished", "declare failed",
]  # fmt: skip

MOVES: Final[dict[Move, dict[State, State]]] = {
    # A worker is given the job.
    "pick": {WAITING: WORKING},
    # Its run ended with exit code 0.
    "finish": {WORKING: FINISHED},
    # Its run ended otherwise and no try is left.
    "fail": {WORKING: ERROR},
    # Its run ended otherwise and a try is left, was taken away, or its worker is silent.
    "give back": {WORKING: WAITING},
    # Somebody wants it to run again from the start.
    "reset": dict.fromkeys(STATES, WAITING),
    # One of its dependencies is not finished (any more); the last one is.
    "hold": {WAITING: PENDING},
    "free": {PENDING: WAITING},
    # Somebody says that it is done, or that it has failed, whatever it was.
    "declare finished": dict.fromkeys(STATES, FINISHED),
    "declare failed": dict.fromkeys(STATES, ERROR),
}
"""Every legal move of a job that is not a group: move -> state before -> state after."""

DECLARE: Final[dict[str, Move]] = {FINISHED: "declare finished", ERROR: "declare failed"}
"""States that somebody may give a job by hand, and the moves that do it."""

RunState = Literal["WORKING", "FINISHED", "ERROR", "STOPPED", "LOST", "RESERVED"]

RESERVED: Final = "RESERVED"
"""A run that was handed to a node ahead of its turn and has not begun; it is shown to nobody."""

STOPPED: Final = "STOPPED"
"""A run that was ended by somebody: pause, reset, delete, worker stopped, node left."""

LOST: Final = "LOST"
"""A run whose worker fell silent, or that its node no longer knows."""

WorkerState = Literal["WAITING", "WORKING", "TIMEOUT", "STARTING", "TERMINATED"]

TIMEOUT: Final = "TIMEOUT"
STARTING: Final = "STARTING"
TERMINATED: Final = "TERMINATED"


def after(state: State, move: Move) -> State:
    """Give the state that `move` leads to from `state`, or raise IllegalMove."""
    try:
        return MOVES[move][state]
    except KeyError:
        raise IllegalMove(f"a job that is {state} cannot {move}") from None
