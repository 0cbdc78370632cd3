"""Who asks, and whom a connection trusts."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from coalition import Connection, errors
from tests.scripted import Answer, Scripted, job, refused, scripted_server


def authorization(server: Scripted) -> str | None:
    return server.requests[-1].headers.get("Authorization")


def test_a_connection_without_a_login_sends_none(server: Scripted, farm: Connection) -> None:
    server.on("GET", "/api/jobs/1", job(1))
    farm.getJob(1)
    assert authorization(server) is None


def test_user_and_password_are_given_apart_or_in_the_url(server: Scripted) -> None:
    server.on("GET", "/api/jobs/1", job(1))
    Connection(server.url, user="zoé", password="a:b@c").getJob(1)
    apart = authorization(server)
    Connection(server.url.replace("//", "//zo%C3%A9:a%3Ab%40c@")).getJob(1)
    assert authorization(server) == apart == "Basic em/DqTphOmJAYw=="


def test_a_token_is_given_instead(server: Scripted) -> None:
    server.on("GET", "/api/jobs/1", job(1))
    Connection(server.url, token="abc").getJob(1)
    assert authorization(server) == "Bearer abc"


def test_a_login_that_cannot_be_is_refused_at_once() -> None:
    with pytest.raises(errors.ConfigError, match="not both"):
        Connection("farm", user="bob", token="abc")
    with pytest.raises(errors.ConfigError, match="no colon"):
        Connection("farm", user="b:ob")
    with pytest.raises(errors.ConfigError, match="characters that no token can have"):
        Connection("farm", token="abc\r\nX: 1")


def test_a_password_is_not_shown(server: Scripted) -> None:
    server.on("GET", "/api/jobs/1", Answer(b"<html>"))
    farm = Connection(server.url.replace("//", "//bob:secret@"))
    assert (farm.url, repr(farm)) == (server.url, f"<Connection {server.url}>")
    with pytest.raises(errors.CoalitionError) as caught:
        farm.getJob(1)
    assert "secret" not in str(caught.value)
    with pytest.raises(errors.ConfigError, match=r"^'farm:x' is not") as refusal:
        Connection("bob:secret@farm:x")
    assert "secret" not in str(refusal.value)


def test_who_is_not_known_is_told_what_to_give(server: Scripted, farm: Connection) -> None:
    server.on("GET", "/api/jobs/1", refused(401, "unauthorized", "Who are you"))
    with pytest.raises(errors.Unauthorized, match="^Who are you; give .* user and password, or a"):
        farm.getJob(1)
    with pytest.raises(errors.Unauthorized, match="^Who are you$"):
        Connection(server.url, token="abc").getJob(1)


@pytest.mark.parametrize(("status", "kind"), [(401, errors.Unauthorized), (403, errors.Forbidden)])
def test_a_proxy_may_want_to_know_who_asks(
    server: Scripted, farm: Connection, status: int, kind: type[errors.CoalitionError]
) -> None:
    server.on("GET", "/api/jobs/1", Answer(b"<html>", status))
    with pytest.raises(kind, match="does not let you"):
        farm.getJob(1)


# --- https --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def safe(authority: trustme.CA) -> Iterator[Scripted]:
    """A server that speaks https, with a certificate that the system does not trust."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with scripted_server(context) as script:
        script.on("GET", "/api/jobs/1", job(1))
        yield script


def test_a_server_is_trusted_whose_authority_is_given(
    safe: Scripted, authority: trustme.CA, tmp_path: Path
) -> None:
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    assert Connection(safe.url, verify=file).getJob(1).id == 1


def test_a_server_is_reached_at_the_port_that_is_given(
    safe: Scripted, authority: trustme.CA, tmp_path: Path
) -> None:
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    host, _, port = safe.url.rpartition(":")
    assert Connection(host, int(port), verify=file).getJob(1).id == 1


def test_a_server_that_nobody_vouches_for_gets_no_password(safe: Scripted) -> None:
    farm = Connection(safe.url, user="bob", password="secret")
    with pytest.raises(errors.ConfigError, match="is not trusted: .*`verify`"):
        farm.getJob(1)
    assert safe.sent() == []


def test_an_authority_that_the_system_trusts_is_trusted(
    safe: Scripted, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    assert Connection(safe.url).getJob(1).id == 1


def test_a_file_that_holds_no_authority_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="is no file of certificates"):
        Connection("https://farm", verify=tmp_path / "missing.pem")
    with pytest.raises(errors.ConfigError, match="not encrypted: `verify` is for https://"):
        Connection("farm", verify="authority.pem")


def test_https_where_the_server_speaks_http_is_explained(server: Scripted) -> None:
    farm = Connection(server.url.replace("http:", "https:"))
    with pytest.raises(errors.ConfigError, match="does not speak https; try http://"):
        farm.getJob(1)


def test_http_where_the_server_speaks_https_is_explained(safe: Scripted) -> None:
    farm = Connection(safe.url.replace("https:", "http:"), sleep=lambda seconds: None)
    with pytest.raises(errors.CoalitionError, match="https"):
        farm.getJob(1)
