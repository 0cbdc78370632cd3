"""How the address of a server is written, by people and in settings."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from coalition.errors import ConfigError
from coalition.wire import PORT


def server_url(text: str, port: int | None = None) -> str:
    """Return the base URL that `farm`, `farm:8080`, `http://farm/` or an IP address mean.

    A port in the text counts before `port`; without both it is 19211, or the usual 443 of https.
    Raises ConfigError.
    """
    url = text.strip()
    if "://" not in url:
        bare_ipv6 = url.count(":") > 1 and not url.startswith("[") and "@" not in url
        url = f"http://[{url}]" if bare_ipv6 else f"http://{url}"
    # Not shown as it is: it may hold a password.
    wrong = ConfigError(f"{text.rpartition('@')[2]!r} is not the address of a server")
    try:
        parts = urlsplit(url)
        named = parts.port is not None
    except ValueError as error:
        raise wrong from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise wrong
    netloc = parts.netloc.rstrip(":")
    if port is None and parts.scheme == "http":
        port = PORT
    if not named and port is not None:
        netloc = f"{netloc}:{port}"
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}"


def without_login(url: str) -> tuple[str, str, str]:
    """Return a URL without `user:password@`, and the user and the password, or empty texts."""
    login, at, _ = urlsplit(url).netloc.rpartition("@")
    user, _, password = login.partition(":")
    return url.replace(login + at, "", 1) if at else url, unquote(user), unquote(password)
