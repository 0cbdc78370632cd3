"""What a client says about the encodings that it takes."""

from __future__ import annotations

import re
from functools import lru_cache

_ONE = re.compile(
    r"\s*([\w*!#$%&'+.^`|~-]+)\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*)?", re.A | re.I
)


@lru_cache(maxsize=100)
def takes_gzip(header: str | None) -> bool:
    """Say whether an Accept-Encoding header (RFC 9110, 12.5.3) allows gzip.

    Where it is as welcome as no encoding at all, it is used. What is malformed counts for nothing.
    """
    weights: dict[str, float] = {}
    for part in (header or "").split(","):
        found = _ONE.fullmatch(part)
        if found is not None:
            weights[found[1].lower()] = float(found[2] or 1)
    gzip = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    return gzip > 0 and gzip >= weights.get("identity", 0.0)
