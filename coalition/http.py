"""HTTP as the Python API needs it: JSON there, JSON back, refusals raised as our own errors."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests

from coalition import wire
from coalition.errors import BadRequest, CoalitionError, ConfigError, Refused, ServerUnreachable

log = logging.getLogger(__name__)

CONNECT = 10.0
"""Seconds until a computer that does not answer counts as away."""

AWAY = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)
"""Nobody is there, or whoever was there left in the middle of the answer."""


def server_url(text: str, port: int = wire.PORT) -> str:
    """Return the base URL that `farm`, `farm:8080`, `http://farm/` or an IP address mean.

    Without a port it is `port`; https without one is the usual 443. Raises ConfigError.
    """
    url = text.strip()
    if "://" not in url:
        bare_ipv6 = url.count(":") > 1 and not url.startswith("[")
        url = f"http://[{url}]" if bare_ipv6 else f"http://{url}"
    wrong = ConfigError(f"{text!r} is not the address of a server")
    try:
        parts = urlsplit(url)
        named = parts.port is not None
    except ValueError as error:
        raise wrong from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise wrong
    netloc = parts.netloc.rstrip(":")
    if not named and parts.scheme == "http":
        netloc = f"{netloc}:{port}"
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}"


class Http:
    """Requests to one server, over one connection that is kept."""

    def __init__(self, url: str, timeout: float) -> None:
        """Remember the base URL; `timeout` is how many seconds the server may be silent."""
        self.url = url
        self._timeout = (CONNECT, timeout)
        self._session = requests.Session()
        # A farm's server is near; a proxy named in the environment leads away from it.
        self._session.trust_env = False

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return the answer of the server; `body` is what msgspec can write as JSON."""
        try:
            content = None if body is None else msgspec.json.encode(body)
        except UnicodeEncodeError as error:
            # An argument of the command line that was not UTF-8 ends up as such a text.
            raise BadRequest("a text has characters that are not Unicode") from error
        response = self._send(method, path, content, {"Content-Type": "application/json"})
        if response.status_code != 200:
            raise refusal(response)
        try:
            return msgspec.json.decode(response.content)
        except msgspec.DecodeError as error:
            raise not_coalition(response) from error

    def read(self, path: str, start: int, count: int) -> bytes | None:
        """Return up to `count` bytes of a file from `start` on, none at its end.

        None means that the file ends before `start`: it is not the one that was read before.
        """
        # The bytes of the file are counted, not those of a compressed answer.
        span = {"Range": f"bytes={start}-{start + count - 1}", "Accept-Encoding": "identity"}
        response = self._send("GET", path, None, span)
        if response.status_code == 416:
            size = response.headers.get("Content-Range", "").rpartition("/")[2]
            return None if size.isdecimal() and int(size) < start else b""
        if response.status_code != 206:
            raise refusal(response)
        return response.content

    def _send(
        self, method: str, path: str, content: bytes | None, headers: dict[str, str]
    ) -> requests.Response:
        log.debug("%s %s%s", method, self.url, path)
        try:
            return self._session.request(
                method, self.url + path, data=content, headers=headers, timeout=self._timeout
            )
        except requests.Timeout as error:
            raise ServerUnreachable(f"the server at {self.url} takes too long to answer") from error
        except AWAY as error:
            raise ServerUnreachable(f"the server at {self.url} does not answer") from error
        except requests.RequestException as error:
            raise CoalitionError(f"the request to {self.url} failed: {error}") from error


def refusal(response: requests.Response) -> CoalitionError:
    """Return the error, of the class the server's code names, that an answer stands for."""
    try:
        body = msgspec.json.decode(response.content, type=wire.ErrorAnswer).error
    except msgspec.MsgspecError:
        return not_coalition(response)
    known = {kind.code: kind for kind in _kinds(CoalitionError)}
    error = known.get(body.code, Refused)(body.message)
    error.detail = dict(body.detail)
    return error


def not_coalition(response: requests.Response) -> CoalitionError:
    """Return the error for an answer that a Coalition server does not give."""
    return CoalitionError(
        f"{response.url} answered {response.status_code} and not as a Coalition server does"
    )


def _kinds(kind: type[CoalitionError]) -> Iterator[type[CoalitionError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)
