"""The edits of a `with connection:` block: noted, then sent together or taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coalition.client.jobs import Job

ABSENT: Any = object()


class Edits:
    """What was assigned to attributes of jobs since the block began."""

    def __init__(self) -> None:
        """Begin with none."""
        self._noted: list[tuple[Job, str, Any, Any]] = []

    def note(self, job: Job, name: str, value: Any) -> None:
        """Let a job have a value, and remember which it had."""
        self._noted.append((job, name, vars(job).get(name, ABSENT), value))
        vars(job)[name] = value

    def take_back(self) -> None:
        """Give the jobs the values that they had before the block."""
        for job, name, before, _ in reversed(self._noted):
            if before is ABSENT:
                vars(job).pop(name, None)
            else:
                vars(job)[name] = before

    def by_job(self) -> dict[int, dict[str, Any]]:
        """Return the last value of each attribute, by the ids of the jobs."""
        changes: dict[int, dict[str, Any]] = {}
        for job, name, _, value in self._noted:
            changes.setdefault(job.id, {})[name] = value
        return changes
