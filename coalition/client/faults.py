"""What can go wrong with a request, in words that somebody can act on."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator

import msgspec
import requests
from urllib3.exceptions import InvalidHeader, NewConnectionError
from urllib3.util import Retry

from coalition import wire
from coalition.errors import (
    CoalitionError,
    ConfigError,
    Forbidden,
    NotDurable,
    Refused,
    ServerUnreachable,
    Unanswered,
    Unauthorized,
    Unavailable,
)

SAFE = "GET"
"""The method that may be repeated whatever became of the first request."""

GATEWAY = (502, 503, 504)
"""Statuses of a proxy whose server is away or broke off: it may have done what it was asked."""

NO_NAME = {
    getattr(socket, name, None) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_FAIL")
} - {None}  # fmt: skip
"""What is said of a name that nobody has, not of a name service that is away for a moment."""

UNKNOWN = "whether it has done what it was asked is unknown: look before you ask again"

TLS_RECORD = ("\x15\x03", "\x16\x03")
"""How an answer begins that is not HTTP but https (RFC 8446, 5.1)."""


class Hitch(Exception):
    """The request can be repeated: nothing was done, or twice is like once."""

    def __init__(self, error: CoalitionError, after: float = 0.0) -> None:
        """Keep what to raise in the end; `after` is the seconds the server wants to be left."""
        super().__init__(error)
        self.error = error
        self.after = after


# --- no answer ----------------------------------------------------------------------------------


def of_failure(failure: Exception, url: str, method: str) -> Exception:
    """Return what to raise for a request that was not answered."""
    chain = list(_causes(failure))
    for cause in chain:
        if (error := _lasting(cause, url)) is not None:
            return error
    if isinstance(failure, requests.Timeout):
        error = ServerUnreachable(f"the server at {url} takes too long to answer")
    elif isinstance(failure, (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        error = ServerUnreachable(f"the server at {url} does not answer{_reason(chain, url)}")
    else:
        return CoalitionError(f"the request to {url} failed: {failure}")
    unsent = isinstance(failure, requests.ConnectTimeout) or any(
        isinstance(cause, NewConnectionError) for cause in chain
    )
    if method == SAFE or unsent:
        return Hitch(error)
    return Unanswered(f"{error}; {UNKNOWN}")


def _lasting(cause: BaseException, url: str) -> CoalitionError | None:
    """Return the error for what will be the same at the next try."""
    if isinstance(cause, socket.gaierror) and cause.errno in NO_NAME:
        return ServerUnreachable(f"the name in {url} is unknown: no computer is called so here")
    if isinstance(cause, ssl.SSLCertVerificationError):
        return ConfigError(
            f"the certificate of {url} is not trusted: {cause.verify_message}; the file of the "
            "authority that signed it can be given as `verify`"
        )
    if isinstance(cause, ssl.SSLError) and cause.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        return ConfigError(f"what answers at {url} does not speak https; try http://")
    if isinstance(cause, http.client.RemoteDisconnected):
        return None
    if isinstance(cause, http.client.BadStatusLine):
        if str(cause).strip("'").startswith(TLS_RECORD):
            return ConfigError(f"the server at {url} speaks https; try https://")
        return CoalitionError(f"what answers at {url} is no web server; is the port right?")
    return None


def _reason(chain: list[BaseException], url: str) -> str:
    reasons = [cause.strerror for cause in chain if isinstance(cause, OSError) and cause.strerror]
    hung_up = any(isinstance(cause, ConnectionResetError) for cause in chain)
    if hung_up and url.startswith("http:"):
        # What a server of https does that gets a request in clear, and one that is ended.
        reasons.append("it hung up; does it speak https?")
    return f" ({reasons[-1]})" if reasons else ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__cause__ or at.__context__


# --- an answer that is a refusal ----------------------------------------------------------------


def of_answer(response: requests.Response, method: str) -> Exception:
    """Return what to raise for an answer that does not say that all went well."""
    body = _error_body(response)
    error = _foreign(response) if body is None else _named(body)
    if isinstance(error, Unauthorized) and "Authorization" not in response.request.headers:
        return Unauthorized(f"{error}; give the connection a user and password, or a token")
    if response.status_code in GATEWAY and body is None and method != SAFE:
        return Unanswered(f"{error}; {UNKNOWN}")
    if not isinstance(error, Unavailable) or (isinstance(error, NotDurable) and method != SAFE):
        return error  # what is not durable yet is done nevertheless, as soon as that can be
    return Hitch(error, _retry_after(response))


def not_coalition(response: requests.Response) -> CoalitionError:
    """Return the error for an answer that a Coalition server does not give."""
    url = str(response.url).partition("/api/")[0]
    return CoalitionError(
        f"{url} answered {response.status_code} and not as a Coalition server does; is that its "
        "address and port?"
    )


def _error_body(response: requests.Response) -> wire.ErrorBody | None:
    try:
        return msgspec.json.decode(response.content, type=wire.ErrorAnswer).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _named(body: wire.ErrorBody) -> CoalitionError:
    known = {kind.code: kind for kind in _kinds(CoalitionError)}
    error = known.get(body.code, Refused)(body.message)
    error.detail = dict(body.detail)
    return error


def _foreign(response: requests.Response) -> CoalitionError:
    """Return the error for an answer of a proxy, or of another kind of server."""
    status = response.status_code
    url = str(response.url).partition("/api/")[0]
    if response.is_redirect:
        # Not followed: what was meant for one server, a password say, is not for another.
        return ConfigError(
            f"{url} sends elsewhere, to {response.headers['Location']}; connect to that address"
        )
    if status == 401:
        return Unauthorized(f"{url} does not let you in")
    if status == 403:
        return Forbidden(f"{url} does not let you do that")
    if status in GATEWAY:
        return Unavailable(f"{url} answered {status}: the server behind it is away")
    if "HTTPS" in response.text.upper() and status == 400:
        return ConfigError(f"the server at {url} speaks https; try https://")
    return not_coalition(response)


def _retry_after(response: requests.Response) -> float:
    """Return the seconds that a Retry-After header asks for (RFC 9110, 10.2.3), or 0."""
    wanted = response.headers.get("Retry-After", "")
    try:
        return float(Retry().parse_retry_after(wanted)) if wanted else 0.0
    except InvalidHeader:
        return 0.0


def _kinds(kind: type[CoalitionError]) -> Iterator[type[CoalitionError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)
