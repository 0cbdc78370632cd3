"""What a request names and how much it may bring, judged before its body is read."""

from __future__ import annotations

import re
from functools import lru_cache

from coalition.errors import BadRequest, WrongMethod

MB = 1024 * 1024

LOGS = 16 * MB
"""Bytes of the largest report: a node sends 1 MB of logs at once, a worker of 4.0 all it has."""

OTHERS = MB
"""Bytes of the largest body of any other request."""

METHODS = ("DELETE", "GET", "HEAD", "POST", "PUT")
"""Methods that some address takes."""

NEVER = frozenset({b"CONNECT", b"TRACE"})
"""Methods that no address takes; the target of a CONNECT is no address at all."""

_HOST = re.compile(
    rb"(?:[a-z0-9._~!$&'()*+,;=%-]*|\[[0-9a-f:.]+(?:%[a-z0-9._~-]+)?\])(?::\d*)?", re.I
)
"""A host and perhaps a port, as in RFC 3986, 3.2.2. An empty one is legal: the target has none."""

_PATH = re.compile(rb"/(?!/)[!-$&-~]*+(?:%(?!00)[0-9A-Fa-f]{2}[!-$&-~]*+)*+")
"""A path and perhaps a query: visible ASCII, with escapes that are complete and no NUL.

Two slashes at its beginning would be read as the name of another host by programs that resolve it.
"""

_URL = re.compile(rb"https?://([^/?#]*)(.*)", re.I | re.S)


def limits(submissions: int) -> dict[tuple[bytes, bytes], int]:
    """Give the largest body, in bytes, by method and path; what is not in it has OTHERS."""
    found = {(b"PUT", path): submissions for path in (b"/api/jobs", b"/api/webfrontend/jobs")}
    found.update({(b"POST", path): LOGS for path in (b"/workers/node", b"/workers/heartbeat")})
    return found


def find_limit(known: dict[tuple[bytes, bytes], int], method: bytes, target: bytes) -> int:
    """Give the largest body that a request may have."""
    return known.get((method, target.partition(b"?")[0].rstrip(b"/")), OTHERS)


def check(method: bytes, target: bytes, version: bytes, hosts: tuple[bytes, ...]) -> bytes:
    """Give the path and the query that a request is for, whose Host fields are `hosts`.

    The whole URL of this host is taken, too (RFC 9112, 3.2.2). Raises BadRequest or WrongMethod.
    """
    if method in NEVER:
        name = method.decode()
        raise WrongMethod(f"no address of this server takes {name}", takes=list(METHODS))
    if len(hosts) != 1 and (hosts or version != b"HTTP/1.0"):
        many = "more than one Host header" if hosts else "no Host header"
        raise BadRequest(f"the request has {many}", field="Host")
    if hosts and not _is_host(hosts[0]):
        raise BadRequest("the Host header names no host", field="Host")
    if not target.startswith(b"/"):
        target = _of_url(target, hosts)
    if _PATH.fullmatch(target) is None:
        raise BadRequest("the target is no path of a URL, or an escape in it is wrong", field="URL")
    return target


@lru_cache(maxsize=100)
def _is_host(text: bytes) -> bool:
    return _HOST.fullmatch(text) is not None


def _of_url(target: bytes, hosts: tuple[bytes, ...]) -> bytes:
    found = _URL.fullmatch(target)
    if found is None:
        raise BadRequest("the target is neither a path nor a URL", field="URL")
    if not hosts or found[1].lower() != hosts[0].lower():
        raise BadRequest("the target is on another host than the Host header says", field="URL")
    return found[2] if found[2].startswith(b"/") else b"/" + found[2]
