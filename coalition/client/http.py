"""HTTP as the Python API needs it: JSON there, JSON back, refusals raised as our own errors."""

from __future__ import annotations

import logging
import math
import random
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import index
from typing import Any
from urllib.parse import urlencode

import msgspec
import requests
from requests.adapters import HTTPAdapter

from coalition.client import faults
from coalition.errors import BadRequest, ConfigError

log = logging.getLogger(__name__)

CONNECT = 10.0
"""Seconds until a computer that does not answer counts as away."""

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0
"""Seconds before a request is repeated: the double from time to time, up to this."""

LONGEST_REQUEST = 60.0
"""Seconds that a server's Retry-After is heeded at most."""

OFFSET_BEYOND = 416
"""The status for a range of a file that it has not."""

IDLE = 10.0
"""Seconds after which a connection is not used again: the server might be closing it just then, and
nobody would know whether it has read the request."""

Query = Mapping[str, str]


@dataclass(frozen=True)
class Patience:
    """How often a request is repeated that can be, and by the clock until when."""

    retries: int
    deadline: float = math.inf


@dataclass(frozen=True)
class Login:
    """Who we are: a user and a password, or a token; nobody if all are empty."""

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def headers(self) -> dict[str, str]:
        """Return what goes with each request (RFC 7617, RFC 6750); raises ConfigError."""
        if self.token and (self.user or self.password):
            raise ConfigError("give a user and password or a token, not both")
        if self.token:
            if not (self.token.isascii() and self.token.isprintable()):
                raise ConfigError("the token has characters that no token can have")
            return {"Authorization": f"Bearer {self.token}"}
        if ":" in self.user:
            raise ConfigError("the name of a user has no colon")
        if self.user or self.password:
            pair = f"{self.user}:{self.password}".encode()
            return {"Authorization": f"Basic {b64encode(pair).decode()}"}
        return {}


class _Trusting(HTTPAdapter):
    """Connections that trust the certificates of one context, not those that requests brings."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        conn.cert_reqs = "CERT_REQUIRED"


def trust(verify: str) -> ssl.SSLContext:
    """Return what the system trusts, or, of a file of authorities, only that; or ConfigError."""
    try:
        return ssl.create_default_context(cafile=verify or None)
    except OSError as error:
        raise ConfigError(f"{verify!r} is no file of certificates: {error}") from error


class Http:
    """Requests to one server, over one connection per thread that is kept."""

    def __init__(
        self,
        url: str,
        login: Login,
        verify: str,
        timeout: float,
        patience: Patience,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Remember the base URL; `timeout` is how many seconds the server may be silent."""
        self.url = url
        self._headers = login.headers()
        safe = url.startswith("https:")
        if verify and not safe:
            raise ConfigError(f"{url} is not encrypted: `verify` is for https://")
        self._context = trust(verify) if safe else None
        self._timeout = (min(CONNECT, timeout), timeout)
        self._patience = patience
        self.sleep = sleep
        self.clock = clock
        self._mine = threading.local()

    def ask(
        self, method: str, path: str, body: object = None, patience: Patience | None = None
    ) -> Any:
        """Return the answer of the server; `body` is what msgspec can write as JSON."""
        response = self._send(method, path, encoded(body), {}, patience)
        return decoded(response)

    def page(self, path: str, query: Query) -> tuple[list[Any], int | None]:
        """Return a part of a list, and how long all of it is, if the server says so."""
        response = self._send("GET", f"{path}?{urlencode(query)}", None, {}, None)
        rows = decoded(response)
        total = response.headers.get("X-Total-Count", "")
        if not isinstance(rows, list):
            raise faults.not_coalition(response)
        return rows, int(total) if total.isdecimal() else None

    def read(
        self, path: str, start: int, count: int, patience: Patience | None = None
    ) -> bytes | None:
        """Return up to `count` bytes of a file from `start` on, none at its end.

        None means that the file ends before `start`: it is not the one that was read before.
        """
        # The bytes of the file are counted, not those of a compressed answer.
        span = {"Range": f"bytes={start}-{start + count - 1}", "Accept-Encoding": "identity"}
        response = self._send("GET", path, None, span, patience)
        if response.status_code == OFFSET_BEYOND:
            size = response.headers.get("Content-Range", "").rpartition("/")[2]
            return None if size.isdecimal() and int(size) < start else b""
        if response.status_code != 206:
            raise faults.not_coalition(response)
        return response.content

    def _send(
        self,
        method: str,
        path: str,
        content: bytes | None,
        headers: dict[str, str],
        patience: Patience | None,
    ) -> requests.Response:
        patience = patience or self._patience
        tries = 0
        while True:
            try:
                return self._send_once(method, path, content, headers)
            except faults.Hitch as hitch:
                pause = max(pause_before(tries), min(hitch.after, LONGEST_REQUEST))
                if tries >= patience.retries or self.clock() + pause > patience.deadline:
                    raise hitch.error from hitch.__cause__
                log.info("%s; trying again in %.1f s", hitch.error, pause)
                self.sleep(pause)
                tries += 1

    def _send_once(
        self, method: str, path: str, content: bytes | None, headers: dict[str, str]
    ) -> requests.Response:
        log.debug("%s %s%s", method, self.url, path)
        try:
            response = self._session().request(
                method,
                self.url + path,
                data=content,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
            )
        except requests.RequestException as failure:
            raise faults.of_failure(failure, self.url, method) from failure
        if response.status_code >= 300 and response.status_code != OFFSET_BEYOND:
            raise faults.of_answer(response, method)
        return response

    def _session(self) -> requests.Session:
        """Return this thread's connection: a session of requests is not made for two at once."""
        now = self.clock()
        if hasattr(self._mine, "session"):
            if now > self._mine.used + IDLE:
                self._mine.session.close()
        else:
            session = requests.Session()
            # A farm's server is near; a proxy named in the environment leads away from it, and a
            # password in a .netrc is not for it.
            session.trust_env = False
            session.headers.update({"Content-Type": "application/json", **self._headers})
            if self._context is not None:
                session.mount("https://", _Trusting(self._context))
            self._mine.session = session
        self._mine.used = now
        made: requests.Session = self._mine.session
        return made


def pause_before(tries: int) -> float:
    """Return the seconds to wait after so many retries; random, so that a crowd is spread out."""
    pause = FIRST_PAUSE
    for _ in range(tries):
        pause = min(LONGEST_PAUSE, 2 * pause)
    return pause * random.uniform(0.5, 1.0)


def encoded(body: object) -> bytes | None:
    """Return a body as JSON; raises BadRequest for what JSON cannot say."""
    try:
        return None if body is None else msgspec.json.encode(body, enc_hook=index)
    except UnicodeEncodeError as error:
        # An argument of the command line that was not UTF-8 ends up as such a text.
        raise BadRequest("a text has characters that are not Unicode") from error
    except (TypeError, OverflowError, RecursionError) as error:
        raise BadRequest(f"this cannot be sent: {error}") from error


def decoded(response: requests.Response) -> Any:
    """Return what the JSON of an answer says; raises CoalitionError where it is none."""
    try:
        return msgspec.json.decode(response.content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise faults.not_coalition(response) from error
