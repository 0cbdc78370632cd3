"""Turning the body of PUT /api/jobs into jobs: one, a list, or trees of them."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from coalition.core.affinity import parse_words
from coalition.core.model import Job
from coalition.core.submission import Submission
from coalition.errors import BadRequest, UnknownDependency
from coalition.server import strict
from coalition.server.joblog import check_patterns
from coalition.wire import (
    FOLDER,
    LONGEST_TEXT,
    PRIORITY,
    READ_ONLY_JOB_FIELDS,
    Environment,
    NewJob,
)

LONGEST_ID = 18
"""Digits of an id: more than there can be, and less than a database takes."""

LONGEST_PRIORITY = 100
"""Digits of a priority. The order needs no limit, but each look at a job writes them all."""

LARGEST_PRIORITY = 10**LONGEST_PRIORITY

DEPTH = 200
"""Levels of `children` in one request; deeper trees are made by several."""

_new_job = msgspec.json.Decoder(NewJob, strict=False)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw = msgspec.json.Decoder(msgspec.Raw)
_raw_list = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass
class Wanted:
    """The jobs of a request, parents before children, and the shape its answer takes."""

    specs: list[NewJob] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)  # index of the parent's spec, -1: its `parent`
    shape: Any = None  # an index into specs, a list of shapes, or (index, list of shapes)
    keys: dict[str, int] = field(default_factory=dict)

    def read(self, body: bytes) -> Iterator[None]:
        """Read a body, yielding after each job. Raises BadRequest with the path of the fault."""
        if body.lstrip()[:1] == b"[":
            self.shape = []
            items = _decode(_raw_list, body, "$")
            yield from strict.check(body)
            yield from self._read_list(items, -1, self.shape, "$", 0)
        else:
            self.shape = [None]
            _decode(_raw, body, "$")
            yield from strict.check(body)
            yield from self._read_one(body, -1, self.shape, 0, "$", 0)
            self.shape = self.shape[0]

    def _read_list(
        self, items: Iterable[msgspec.Raw], parent: int, shape: list[Any], path: str, depth: int
    ) -> Iterator[None]:
        for number, raw in enumerate(items):
            shape.append(None)
            yield from self._read_one(raw, parent, shape, number, f"{path}[{number}]", depth)

    def _read_one(
        self,
        raw: bytes | msgspec.Raw,
        parent: int,
        shape: list[Any],
        at: int,
        path: str,
        depth: int,
    ) -> Iterator[None]:
        spec = _decode_job(raw, path)
        index = len(self.specs)
        self.specs.append(spec)
        self.parents.append(parent)
        if spec.key is not None:
            if spec.key in self.keys:
                text = f"the key {spec.key!r} stands there twice - at `{path}.key`"
                raise BadRequest(text, field="key")
            self.keys[spec.key] = index
        shape[at] = index
        yield
        if spec.children is not None:
            if depth == DEPTH:
                raise BadRequest(f"children are nested deeper than {DEPTH} - at `{path}`")
            below: list[Any] = []
            shape[at] = (index, below)
            children, spec.children = spec.children, []
            yield from self._read_list(children, index, below, f"{path}.children", depth + 1)

    def submission(
        self, first_id: int, outer: dict[int | str, int], result: Submission
    ) -> Iterator[None]:
        """Make the jobs, with ids from `first_id` on, yielding after each.

        `outer` gives the id of each parent that is named outside of the request.
        """
        jobs: list[Job] = []
        for index, (spec, parent) in enumerate(zip(self.specs, self.parents, strict=True)):
            jobs.append(_make_job(first_id + index, spec))
            result.add(
                jobs[index],
                outer[spec.parent or 0] if parent < 0 else jobs[parent],
                is_group=spec.children is not None,
            )
            yield
        for job, spec in zip(jobs, self.specs, strict=True):
            if spec.dependencies:
                result.dependencies[job] = [
                    jobs[self.keys[name]] if isinstance(name, str) else name
                    for name in self._names(spec)
                ]
            yield

    def outer_dependencies(self) -> list[int]:
        """Give the ids of jobs outside of the request that any of its jobs depends on."""
        found: dict[int, None] = {}
        for spec in self.specs:
            if spec.dependencies:
                names = parse_dependencies(spec.dependencies, self.keys)
                found.update((name, None) for name in names if isinstance(name, int))
        return list(found)

    def _names(self, spec: NewJob) -> Iterator[int | str]:
        for name in parse_dependencies(spec.dependencies, keys=self.keys):
            if isinstance(name, str) and name not in self.keys:
                raise no_dependency(name)
            yield name

    def answer(self, first_id: int, shape: Any = None) -> Any:
        """Give the ids in the shape of the request."""
        shape = self.shape if shape is None else shape
        if isinstance(shape, int):
            return first_id + shape
        if isinstance(shape, tuple):
            index, below = shape
            return {"id": first_id + index, "children": [self.answer(first_id, s) for s in below]}
        return [self.answer(first_id, one) for one in shape]


def _decode(decoder: Any, raw: bytes | msgspec.Raw, path: str) -> Any:
    try:
        return decoder.decode(raw)
    except strict.FAULTS as error:
        raise strict.fault(error, bytes(raw), path) from None


def _decode_job(raw: bytes | msgspec.Raw, path: str) -> NewJob:
    try:
        spec: NewJob = _new_job.decode(raw)
    except strict.FAULTS as error:
        spec = _decode_answer(raw, path, strict.fault(error, bytes(raw), path))
    check_priority(spec.priority or 0, f"{path}.priority")
    local = spec.progress_pattern or spec.localprogress or ""
    check_patterns(local, spec.globalprogress or "", path)
    return spec


def _decode_answer(raw: bytes | msgspec.Raw, path: str, fault: BadRequest) -> NewJob:
    """Read a job with fields of an answer, which may be sent back; without them, raise `fault`."""
    try:
        fields = _fields.decode(raw)
    except strict.FAULTS:
        raise fault from None
    kept = {name: fields[name] for name in fields if name not in READ_ONLY_JOB_FIELDS}
    if len(kept) == len(fields):
        raise fault
    spec: NewJob = _decode(_new_job, msgspec.json.encode(kept), path)
    return spec


def check_priority(priority: int, path: str) -> None:
    """See that a priority is one that can be written down. Raises BadRequest."""
    if not -LARGEST_PRIORITY < priority < LARGEST_PRIORITY:
        text = f"priority has more than {LONGEST_PRIORITY} digits - at `{path}`"
        raise BadRequest(text, field="priority")


def _make_job(id: int, spec: NewJob) -> Job:
    return Job(
        id,
        title=spec.title or "",
        command=spec.command or "",
        dir=FOLDER if spec.dir is None else spec.dir,
        environment=environment_text(spec.environment or spec.env or ""),
        affinity=spec.affinity or "",
        words=parse_words(spec.affinity or ""),
        priority=PRIORITY if spec.priority is None else spec.priority,
        timeout=spec.timeout or 0,
        retry=spec.retry or 0,
        url=spec.url or "",
        user=spec.user or "",
        progress_pattern=spec.progress_pattern or spec.localprogress or "",
        globalprogress=spec.globalprogress or "",
        paused=bool(spec.paused) or spec.state == "PAUSED",
        exclusive=spec.exclusive,
        scratch=spec.scratch,
    )


def environment_text(environment: Environment) -> str:
    r"""Give an environment as one text, "A=1\nB=2" with a backslash and an n, as 4.0 has it."""
    if isinstance(environment, str):
        return environment
    for name, value in environment.items():
        if not name or "=" in name or any(mark in name + value for mark in ("\n", "\\n", "\0")):
            raise BadRequest(
                f"the environment variable {name!r} cannot be written as NAME=value: an = in the "
                "name, a line break or a backslash followed by n in it",
                field="environment",
            )
    text = "\\n".join(f"{name}={value}" for name, value in environment.items())
    if len(text) > LONGEST_TEXT:
        raise BadRequest(
            f"the environment is longer than {LONGEST_TEXT} characters", field="environment"
        )
    return text


def parse_dependencies(
    wanted: str | list[int | str] | None, keys: Iterable[str] = ()
) -> list[int | str]:
    """Read dependencies: ids in a list or in a text such as "1,3,5"; names are keys."""
    if not wanted:
        return []
    if isinstance(wanted, str):
        return [_id_or_name(part, keys) for part in re.split(r"[,\s]+", wanted.strip()) if part]
    # 4.0's page had [""] for none.
    parts = (part for part in wanted if part != "")
    return [_id_or_name(part, keys) if isinstance(part, str) else part for part in parts]


def _id_or_name(text: str, keys: Iterable[str]) -> int | str:
    return int(text) if is_id(text) and text not in keys else text


def no_dependency(name: str) -> BadRequest | UnknownDependency:
    """Make the error for a dependency that is no id a job can have, and no key of the request."""
    if name.isdigit():
        text = f"there is no job {reprlib.repr(name)} to depend on"
        return UnknownDependency(text, field="dependencies")
    text = f"the dependency {reprlib.repr(name)} is neither an id nor a key"
    return BadRequest(text, field="dependencies")


def is_id(text: str) -> bool:
    """Say whether a text is a number that can be the id of a job."""
    return text.isascii() and text.isdigit() and len(text) <= LONGEST_ID
