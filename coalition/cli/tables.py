"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coalition.client import Job


def jobs(found: Sequence[Job]) -> str:
    """Return a table of jobs; of a group it shows how many of its jobs are finished."""
    head = ("ID", "STATE", "PRIORITY", "PROGRESS", "DONE", "WORKER", "USER", "TITLE")
    return table(head, [job_row(job) for job in found])


def job_row(job: Job) -> tuple[object, ...]:
    """Return the cells of a job."""
    progress = "" if job.progress is None else f"{job.progress:.0%}"
    done = f"{job.total_finished}/{job.total}" if job.total else ""
    return job.id, job.state, job.priority, progress, done, job.worker, job.user, job.title


def workers(found: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of workers, with the job of those that work and the free memory in MB."""
    head = ("NAME", "STATE", "ACTIVE", "JOB", "FINISHED", "ERRORS", "FREE", "AFFINITY")
    return table(head, [worker_row(worker) for worker in found])


def worker_row(worker: Mapping[str, Any]) -> tuple[object, ...]:
    """Return the cells of a worker; its affinity lines are shown one after the other."""
    return (
        worker["name"],
        worker["state"],
        "yes" if worker["active"] else "no",
        worker["last_job"] if worker["state"] == "WORKING" else "",
        worker["finished"],
        worker["error"],
        worker["free_memory"],
        " / ".join(worker["affinity"].splitlines()),
    )


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return lines with columns under each other, numbers at the right."""
    cells = [[printable(str(cell)) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [
        bool(rows) and all(isinstance(row[column], int) for row in rows)
        for column in range(len(head))
    ]
    lines = (
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        )
        for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)


def printable(text: str) -> str:
    """Return the text without what would steer the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)
