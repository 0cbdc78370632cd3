"""Again, or give up: what follows a run that ended with an error."""

from __future__ import annotations


def may_retry(run_done: int, retry: int) -> bool:
    """Say whether a job is run again after `run_done` failed runs: retry=2 is up to three runs."""
    return run_done <= retry
