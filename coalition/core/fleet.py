"""The instances in a cloud that workers run on."""

from __future__ import annotations

from coalition.core.crew import Crew
from coalition.errors import NoInstance


def terminate(crew: Crew, names: list[str], now: float) -> None:
    """End the instances that workers run on. This farm has started none: raises NoInstance."""
    for worker in [crew.worker(name) for name in names]:
        raise NoInstance(
            f"worker {worker.name!r} runs on no instance: servermode is normal", name=worker.name
        )
