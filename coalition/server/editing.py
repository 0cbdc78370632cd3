"""Turning the bodies of edits and orders into what the farm takes."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

import msgspec

from coalition.errors import BadRequest
from coalition.server.joblog import check_patterns
from coalition.server.submitting import (
    check_priority,
    environment_text,
    is_id,
    no_dependency,
    parse_dependencies,
)
from coalition.wire import Dependencies, JobEdit, WorkerEdit

ORDERS = {"WAITING": {"start": True}, "PAUSED": {"paused": True}}
"""States that are not set but come about by an order, and what that is in an edit."""


def job_ids(wanted: list[int | str] | dict[str, Any]) -> list[int]:
    """Read the ids of an order: numbers or texts of digits; an object stands for its keys."""
    return [_id(one) for one in wanted]


def _id(wanted: int | str) -> int:
    if isinstance(wanted, str):
        if not is_id(wanted):
            short = reprlib.repr(wanted)
            raise BadRequest(f"{short} is not the id of a job", field=short.strip("'"))
        wanted = int(wanted)
    return wanted


def job_edits(wanted: Mapping[str, JobEdit]) -> dict[int, dict[str, Any]]:
    """Read the edits of POST /api/jobs: job id -> fields as the farm takes them."""
    return {_id(id): _job_edit(edit) for id, edit in wanted.items()}


def _job_edit(edit: JobEdit) -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: value
        for name in edit.__struct_fields__
        if (value := getattr(edit, name)) is not msgspec.UNSET
    }
    if "priority" in fields:
        check_priority(fields["priority"], "$[...].priority")
    if "localprogress" in fields:
        fields["progress_pattern"] = fields.pop("localprogress")
    check_patterns(fields.get("progress_pattern", ""), fields.get("globalprogress", ""), "$[...]")
    if "environment" in fields:
        fields["environment"] = environment_text(fields["environment"])
    if "dependencies" in fields:
        fields["dependencies"] = dependency_ids(fields["dependencies"])
    if "state" in fields:
        state = fields.pop("state")
        fields.update(ORDERS.get(state, {"state": state}) if state else {})
    return fields


def dependency_ids(wanted: Dependencies | dict[str, Any]) -> list[int]:
    """Read the ids that a job depends on, from a list or a text such as "1,3,5"."""
    found = parse_dependencies(list(wanted) if isinstance(wanted, dict) else wanted)
    for name in found:
        if isinstance(name, str):
            raise no_dependency(name)
    return [name for name in found if isinstance(name, int)]


def worker_edits(wanted: Mapping[str, WorkerEdit]) -> dict[str, dict[str, object]]:
    """Read the edits of POST /api/workers: name -> fields as the farm takes them."""
    return {
        name: {
            key: value
            for key in edit.__struct_fields__
            if (value := getattr(edit, key)) is not msgspec.UNSET
        }
        for name, edit in wanted.items()
    }
