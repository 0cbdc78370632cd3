"""Again, or give up: what follows a run that ended with an error."""

from __future__ import annotations


def may_retry(run_done: int, retry: int) -> bool:
    """Say whether a job whose `run_done` runs have failed is run again: retry=2 is up to three runs."""
    return run_done <= retry
