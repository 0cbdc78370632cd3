"""The one route of Coalition 3 and 4 that is no JSON: a job from an address or a form."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from coalition import wire
from coalition.server.answers import Plain
from coalition.server.routes import Call, route
from coalition.server.routes.jobs import LINKS


class AddJob(msgspec.Struct):
    """A job to create; see NewJob, which also limits the lengths of its texts."""

    title: str = "New job"
    """A name for people."""
    cmd: str = ""
    """What the shell runs; without it the job is a group."""
    command: str = ""
    """Another name of `cmd`."""
    dir: str = wire.FOLDER
    """The folder it runs in."""
    env: str = ""
    r"""`A=1\nB=2`, with a backslash and an n between."""
    parent: str = "0"
    """Its group: an id, a title, or a path of titles such as `films|shot 12`; 0 is the top."""
    priority: int = wire.PRIORITY
    """Any whole number; higher goes first."""
    dependencies: str = ""
    """Jobs that must be FINISHED before it starts: each run of digits is an id."""
    timeout: wire.Seconds = 0
    """Limit of a run in seconds; 0 is none."""
    retry: wire.Count = 0
    """Further tries after an error."""
    affinity: str = ""
    """Words that its worker must offer."""
    url: str = ""
    """An address to show with it."""
    user: str = ""
    """Whose it is."""
    state: Literal["WAITING", "PAUSED"] = "WAITING"
    """PAUSED creates it paused."""
    paused: bool = False
    """Hold it back until it is started."""
    localprogress: str = ""
    """How its log tells the progress of the current step."""
    globalprogress: str = ""
    """How its log tells the progress of the whole job."""


@route("GET", "/json/addjob", raises=LINKS)
@route("POST", "/json/addjob", raises=LINKS)
@route("GET", "/xmlrpc/addjob", raises=LINKS)
@route("POST", "/xmlrpc/addjob", raises=LINKS)
async def add(call: Call, query: AddJob) -> Plain:
    """Create a job from the parameters of an address or a form; its id, as a plain number.

    It is -1 for a command that the white list refuses.
    """
    job = _new_job(query)
    if not call.service.may_run(call.who, job):
        return Plain("-1")
    return Plain(str(await call.service.submit(call.who, msgspec.json.encode(job))))


def _new_job(query: AddJob) -> wire.NewJob:
    return wire.NewJob(
        title=query.title,
        command=query.cmd or query.command,
        dir=query.dir,
        environment=_given(query.env),
        parent=query.parent,
        priority=query.priority,
        dependencies=re.findall("[0-9]+", query.dependencies),
        timeout=query.timeout,
        retry=query.retry,
        affinity=query.affinity,
        url=query.url,
        user=query.user,
        state=query.state,
        paused=query.paused,
        localprogress=_given(query.localprogress),
        globalprogress=_given(query.globalprogress),
    )


def _given(text: str) -> str:
    """Give what was said; 4.0's control.py says None where its user said nothing."""
    return "" if text == "None" else text
