"""Who asks. On an open farm everybody is nobody, who may do everything."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Who:
    """The one who makes a request; the service asks it for its rights."""

    name: str = ""


NOBODY = Who()
