"""Following what goes on: jobs until they have ended, and logs as they grow."""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from coalition.client.http import Http, Patience
from coalition.client.jobs import Job
from coalition.core.states import FINAL
from coalition.errors import TimedOut

if TYPE_CHECKING:
    from coalition.client.connection import Connection

POLL = 0.5
"""Seconds between two looks at a job or a log that is followed."""

RETRIES = 20
"""Repetitions after which following gives up: a minute, enough to restart a server."""

TOGETHER = 200
"""Jobs that are looked at by one request; more would make too long an address."""

PIECE = 1024 * 1024
"""Bytes of a log that are asked for at once."""

NAMED = 10
"""Jobs that an error names; a message is to be read."""


def watch(
    farm: Connection, http: Http, ids: Sequence[int], deadline: float = math.inf
) -> Iterator[list[Job]]:
    """Give the jobs, in the order of `ids`, again and again until all have ended."""
    jobs = {id: Job(fields, farm) for id, fields in _look(http, ids, None)}
    yield [jobs[id] for id in ids]
    while going := [id for id, job in jobs.items() if job.state not in FINAL]:
        http.sleep(max(0.0, min(POLL, deadline - http.clock())))
        patience = Patience(RETRIES, deadline)
        jobs.update((id, Job(fields, farm)) for id, fields in _look(http, going, patience))
        yield [jobs[id] for id in ids]


def wait(farm: Connection, http: Http, ids: Sequence[int], timeout: float | None) -> list[Job]:
    """Return the jobs when all have ended; raises TimedOut."""
    deadline = math.inf if timeout is None else http.clock() + timeout
    jobs: list[Job] = []
    for jobs in watch(farm, http, ids, deadline):
        going = [job for job in jobs if job.state not in FINAL]
        if going and http.clock() >= deadline:
            raise _timed_out(going, len(jobs), timeout or 0)
    return jobs


def _timed_out(going: list[Job], count: int, timeout: float) -> TimedOut:
    named = ", ".join(f"{job.id} ({job.state})" for job in going[:NAMED])
    more = ", ..." if len(going) > NAMED else ""
    return TimedOut(
        f"{len(going)} of {count} jobs have not ended after {timeout:g} s: {named}{more}",
        jobs=[job.id for job in going],
    )


def _look(
    http: Http, ids: Iterable[int], patience: Patience | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    left = iter(dict.fromkeys(ids))
    while part := list(islice(left, TOGETHER)):
        listed: dict[int, dict[str, Any]] = {}
        if len(part) > 1:
            query = f"id={','.join(map(str, part))}&limit={len(part)}"
            rows = http.ask("GET", f"/api/jobs?{query}", patience=patience)
            listed = {row["id"]: row for row in rows}
        for id in part:
            # One that is missing there is asked for by itself: the server then says why.
            yield id, listed.get(id) or http.ask("GET", f"/api/jobs/{id}", patience=patience)


def read(http: Http, id: int, follow: bool) -> Iterator[str]:
    """Give the log of a job piece by piece as text; with `follow` until the job has ended."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in _follow(http, id) if follow else _read(http, id):
        yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)


def _path(id: int) -> str:
    return f"/api/jobs/{id}/log"


def _read(http: Http, id: int) -> Iterator[bytes]:
    position = 0
    while piece := http.read(_path(id), position, PIECE):
        position += len(piece)
        yield piece


def _follow(http: Http, id: int) -> Iterator[bytes]:
    patience = Patience(RETRIES)
    position, state = 0, _state(http, id, None)
    while True:
        piece = http.read(_path(id), position, PIECE, patience)
        position = 0 if piece is None else position + len(piece)
        if piece:
            yield piece
        elif piece is not None and state in FINAL:
            return
        else:
            http.sleep(POLL)
            # Asked before the log is read on: what the job wrote before its end is then there.
            state = _state(http, id, patience)


def _state(http: Http, id: int, patience: Patience | None) -> str:
    return str(http.ask("GET", f"/api/jobs/{id}", patience=patience)["state"])
