"""HTTP itself, as bytes on a connection: what is taken, and what is refused in which words."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterable

import pytest

from tests.server.builders import Api
from tests.server.conftest import MAXBODY

HOST = b"Host: farm\r\n"
END = b"\r\n"
CHUNKED = HOST + b"Transfer-Encoding: chunked\r\n"
JOB = b'{"command": "true"}'
MB = 1024 * 1024


def connect(api: Api) -> socket.socket:
    host, port = api.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def talk(api: Api, *pieces: bytes) -> bytes:
    """Say something, and give all that comes until the server closes the connection."""
    with connect(api) as wire:
        for piece in pieces:
            wire.sendall(piece)
        wire.shutdown(socket.SHUT_WR) if pieces[-1] == b"" else None
        return b"".join(iter(lambda: wire.recv(65536), b""))


def answers(said: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Give status, headers and body of each answer; all of them must be complete."""
    found = []
    while said:
        head, _, rest = said.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = {key.lower(): value for key, _, value in (one.partition(": ") for one in lines)}
        if headers.get("transfer-encoding") == "chunked":
            body, rest = unchunked(rest)
        else:
            length = int(headers.get("content-length", "0"))
            body, rest = rest[:length], rest[length:]
            assert len(body) == length
        found.append((int(status.split()[1]), headers, body))
        said = rest
    return found


def unchunked(said: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        size, _, said = said.partition(b"\r\n")
        length = int(size, 16)
        body, said = body + said[:length], said[length + 2 :]
        if not length:
            return body, said


def ask(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    """A request that is the last of its connection."""
    fields = b"".join(one + END for one in headers)
    return line + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n" + fields + END + body


def put(body: bytes, *headers: bytes, path: bytes = b"/api/jobs") -> bytes:
    return ask(b"PUT " + path, b"Content-Length: %d" % len(body), *headers, body=body)


def many(number: int) -> bytes:
    return b"".join(b"X-%d: a\r\n" % at for at in range(number))


REFUSED: dict[str, tuple[bytes, int, str]] = {
    "no host": (b"GET /api/jobs HTTP/1.1\r\n\r\n", 400, "bad_request"),
    "two hosts": (b"GET /api/jobs HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "bad_request"),
    "a host with a space": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad_request"),
    "a host with a slash": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "bad_request"),
    "two hosts of 1.0": (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_request"),
    "another host": (ask(b"GET http://other/api/jobs"), 400, "bad_request"),
    "another scheme": (ask(b"GET ftp://farm/api/jobs"), 400, "bad_request"),
    "no path": (ask(b"GET api/jobs"), 400, "bad_request"),
    "two slashes": (ask(b"GET //evil/api/jobs"), 400, "bad_request"),
    "a star": (ask(b"GET *"), 400, "bad_request"),
    "options of a star": (ask(b"OPTIONS *"), 400, "bad_request"),
    "options": (ask(b"OPTIONS /api/jobs"), 405, "wrong_method"),
    "half an escape": (ask(b"GET /api/%4"), 400, "bad_request"),
    "no escape": (ask(b"GET /api/jobs?x=100%"), 400, "bad_request"),
    "a NUL": (ask(b"GET /api/jobs%00"), 400, "bad_request"),
    "bytes": (ask(b"GET /\xc3\xa9"), 400, "bad_request"),
    "bytes in escapes": (ask(b"GET /%ff%fe"), 404, "unknown_route"),
    "above the page": (ask(b"GET /../../etc/passwd"), 404, "unknown_route"),
    "above it in escapes": (ask(b"GET /js/%2e%2e%2f%2e%2e%2fetc/passwd"), 404, "unknown_route"),
    "a folder": (ask(b"GET /js"), 404, "unknown_route"),
    "a long name": (ask(b"GET /" + b"a" * 5000), 404, "unknown_route"),
    "a long address": (ask(b"GET /" + b"a" * 20_000), 414, "target_too_long"),
    "a long first line": (b"x" * 70_000, 414, "target_too_long"),
    "a long field": (ask(b"GET /", b"X: " + b"a" * 20_000), 431, "header_too_large"),
    "long fields": (ask(b"GET /", *[b"X: " + b"a" * 9_000] * 9), 431, "header_too_large"),
    "many fields": (b"GET / HTTP/1.1\r\n" + HOST + many(300) + END, 431, "header_too_large"),
    "a method of nobody": (ask(b"BREW /api/jobs"), 405, "wrong_method"),
    "a method for a file": (ask(b"POST /index.html"), 405, "wrong_method"),
    "a trace": (ask(b"TRACE /api/jobs"), 405, "wrong_method"),
    "a connect": (ask(b"CONNECT other:443"), 405, "wrong_method"),
    "a small method": (ask(b"get /api/jobs"), 405, "wrong_method"),
    "another version": (b"GET / HTTP/9.9\r\n" + HOST + END, 400, "bad_request"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad_request"),
    "TLS": (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n", 400, "bad_request"),
    "no colon": (ask(b"GET /", b"nonsense"), 400, "bad_request"),
    "a space before the colon": (ask(b"PUT /api/jobs", b"Content-Length : 2"), 400, "bad_request"),
    "a line feed": (ask(b"GET /", b"X: a\nY: b"), 400, "bad_request"),
    "a NUL in a field": (ask(b"GET /", b"X: a\0b"), 400, "bad_request"),
    "a negative length": (ask(b"PUT /api/jobs", b"Content-Length: -5"), 400, "bad_request"),
    "a length with a sign": (ask(b"PUT /api/jobs", b"Content-Length: +5"), 400, "bad_request"),
    "an endless length": (ask(b"PUT /api/jobs", b"Content-Length: " + b"9" * 5000), 400,
                          "bad_request"),
    "two lengths": (ask(b"PUT /api/jobs", b"Content-Length: 2", b"Content-Length: 3"), 400,
                    "bad_request"),
    "length and chunks": (ask(b"PUT /api/jobs", b"Content-Length: 5",
                              b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400,
                          "bad_request"),
    "another coding": (ask(b"PUT /api/jobs", b"Transfer-Encoding: gzip"), 400, "bad_request"),
    "chunks of 1.0": (b"PUT /api/jobs HTTP/1.0\r\n" + CHUNKED + b"\r\n0\r\n\r\n", 400,
                      "bad_request"),
    "a bad chunk": (b"PUT /api/jobs HTTP/1.1\r\n" + CHUNKED + b"\r\n0x3\r\n{}\r\n", 400,
                    "bad_request"),
    "a chunk with a wrong end": (b"PUT /api/jobs HTTP/1.1\r\n" + CHUNKED + b"\r\n2\r\n{}xx", 400,
                                 "bad_request"),
    "too large": (ask(b"PUT /api/jobs", b"Content-Length: %d" % (MAXBODY + 1)), 413, "too_large"),
    "too large an order": (ask(b"POST /api/resetjobs", b"Content-Length: %d" % (MB + 1)), 413,
                           "too_large"),
    "too large a report": (ask(b"POST /workers/node", b"Content-Length: %d" % (16 * MB + 1)), 413,
                           "too_large"),
    "too large, and asked first": (ask(b"PUT /api/jobs", b"Content-Length: %d" % 10**12,
                                       b"Expect: 100-continue"), 413, "too_large"),
    "too large in chunks": (b"POST /api/jobs HTTP/1.1\r\n" + CHUNKED + b"\r\n"
                            + b"40000\r\n%b\r\n" % (b" " * 0x40000) * 5, 413, "too_large"),
    "a range of nonsense": (ask(b"GET /api/jobs/1/log", b"Range: bytes=\xff-"), 404, "unknown_job"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_told_in_the_shape_of_all_errors(api: Api, name: str) -> None:
    request, status, code = REFUSED[name]
    ((told, headers, body),) = answers(talk(api, request))

    assert (told, json.loads(body)["error"]["code"]) == (status, code)
    assert headers["content-type"] == "application/json" and headers["connection"] == "close"
    assert ("allow" in headers) == (status == 405)
    assert api.get("jobs") == []


BODIES: dict[str, tuple[bytes, str]] = {
    "a key twice": (b'{"command": "a", "command": "b"}', "'command'"),
    "a key twice, once in escapes": (b'{"command": "a", "\\u0063ommand": "b"}', "'command'"),
    "a key twice in a child": (b'[{"children": [{"title": "a", "title": "a"}]}]', "'title'"),
    "a key twice in an environment": (b'{"environment": {"A": "1", "A": "2"}}', "'A'"),
    "NaN": (b'{"timeout": NaN}', "NaN"),
    "infinity": (b'[{"timeout": -Infinity}]', "-Infinity"),
    "a float of 10^400": (b'{"timeout": 1e400}', "timeout"),
    "an integer of 10^400": (b'{"priority": 1' + b"0" * 400 + b"}", "priority"),
    "it as a text": (b'{"priority": "-1' + b"0" * 400 + b'"}', "priority"),
    "an integer of 10^5000": (b'{"priority": 1' + b"0" * 5000 + b"}", "priority"),
    "a parent of 10^400": (b'{"parent": 1' + b"0" * 400 + b"}", "parent"),
    "half a character": (b'{"title": "\\ud800"}', "surrogate"),
    "half a character as a key": (b'{"environment": {"\\udc00": "1"}}', "surrogate"),
    "half a character in bytes": (b'{"title": "\xed\xa0\x80"}', "UTF-8"),
    "bytes": (b'{"title": "\xff"}', "UTF-8"),
    "bytes in a child": (b'{"children": [{"title": "\xff"}]}', "UTF-8"),
    "a byte order mark": (b"\xef\xbb\xbf" + JOB, "byte order mark"),
    "UTF-16": (JOB.decode().encode("utf-16"), "byte order mark"),
    "100,000 lists": (b"[" * 100_000, "nested too deeply"),
    "25,000 groups": (b'{"children":[' * 25_000, "nested too deeply"),
    "many children": (b'{"children":[' * 300 + b"]}" * 300, "nested deeper"),
}


@pytest.mark.parametrize("name", BODIES)
def test_json_that_programs_would_read_in_different_ways_is_refused(api: Api, name: str) -> None:
    body, named = BODIES[name]
    ((status, _, said),) = answers(talk(api, put(body)))

    assert status == 400 and named in json.loads(said)["error"]["message"], said
    assert api.get("jobs") == []


def test_an_edit_with_a_key_twice_changes_nothing(api: Api) -> None:
    job = api.put({"command": "true"})
    for edit in (b'{"%d": {"title": "a", "title": "b"}}', b'{"%d": {}, "%d": {"title": "a"}}'):
        answer = api.ask("POST", "/api/jobs", edit.replace(b"%d", str(job).encode()))
        assert answer.status_code == 400 and answer.json()["error"]["detail"]["field"]

    assert api.get(f"jobs/{job}")["title"] == ""


def test_the_same_key_in_different_objects_is_no_fault(api: Api) -> None:
    child = {"title": '{"title":', "environment": {"title": "\\"}}
    tree = {"title": "a", "children": [child, child], "environment": {"title": "b"}}

    assert len(api.put([tree, tree])) == 2


# --- what is taken ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /api/jobs HTTP/1.0\r\n\r\n",
        b"GET /api/jobs HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
        b"GET /api/jobs HTTP/1.1\r\nHost: [::1]:19211\r\nConnection: te, close\r\n\r\n",
        ask(b"GET http://FARM/api/jobs"),
        ask(b"GET /api/events/?worker=%C3%A9"),
        b"\r\n" + ask(b"GET /api/jobs"),
    ],
)
def test_what_is_legal_is_answered(api: Api, request_: bytes) -> None:
    ((status, _, body),) = answers(talk(api, request_))

    assert (status, body) == (200, b"[]")


def test_a_body_may_come_in_chunks_with_extensions_and_trailers(api: Api) -> None:
    chunks = b'4;name="value"\r\n%b\r\nf\r\n%b\r\n0\r\nX-Sum: 1\r\n\r\n' % (JOB[:4], JOB[4:])
    first = b"PUT /api/jobs HTTP/1.1\r\n" + CHUNKED + END + chunks
    said = answers(talk(api, *(bytes([one]) for one in first), ask(b"GET /api/jobs")))

    assert [status for status, _, _ in said] == [200, 200]
    assert json.loads(said[1][2])[0]["command"] == "true"


def test_requests_in_one_packet_are_answered_in_their_order(api: Api) -> None:
    jobs = json.dumps([{"command": "true"}] * 1000).encode()
    slow = b"PUT /api/jobs HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(jobs) + jobs
    quick = b"GET /api/nothing/%d HTTP/1.1\r\n" + HOST + END
    packet = slow + b"".join(quick % at for at in range(50)) + ask(b"GET /api/jobs")
    first, *rest, last = answers(talk(api, packet))

    assert len(json.loads(first[2])) == 1000 == len(json.loads(last[2]))
    for at, (status, _, body) in enumerate(rest):
        assert (status, json.loads(body)["error"]["detail"]["path"]) == (404, f"/api/nothing/{at}")


def test_a_refused_request_ends_the_connection_behind_the_answers_before_it(api: Api) -> None:
    good = b"GET /health HTTP/1.1\r\n" + HOST + END
    said = answers(talk(api, good + b"GET //x HTTP/1.1\r\n" + HOST + END + put(JOB)))

    assert [status for status, _, _ in said] == [200, 400]
    assert api.get("jobs") == []


def test_a_client_that_asks_first_is_told_to_go_on(api: Api) -> None:
    with connect(api) as wire:
        wire.sendall(ask(b"PUT /api/jobs", b"Content-Length: 19", b"Expect: 100-continue"))
        assert wire.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.sendall(JOB)
        assert wire.recv(1000).startswith(b"HTTP/1.1 200 OK")


def test_a_client_that_sends_too_much_sees_why_it_was_refused(api: Api) -> None:
    line = b"PUT /api/jobs HTTP/1.1\r\n" + HOST + b"Content-Length: 40000000\r\n\r\n"
    ((status, _, _),) = answers(talk(api, line, *[b"x" * 1_000_000] * 40))

    assert status == 413


@pytest.mark.parametrize(
    "path", ["/", "/js/main.js", "/api/jobs", "/api/workers", "/api/events", "/health", "/api/no"]
)
def test_head_gives_the_headers_of_get(api: Api, path: str) -> None:
    api.put([{"command": "x" * 100}] * 100)
    for take in ("gzip", "identity"):
        headers = {"Accept-Encoding": take}
        got = api.ask("GET", path, headers=headers)
        head = api.ask("HEAD", path, headers=headers)
        assert (head.status_code, head.content) == (got.status_code, b"")
        for name in ("content-type", "content-encoding", "vary", "last-modified"):
            assert head.headers.get(name) == got.headers.get(name)
        if take == "identity":
            assert head.headers["content-length"] == str(len(got.content))


# --- compressed answers ---------------------------------------------------------------------------


def get(api: Api, path: str, accept: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    fields = [f"{name.replace('_', '-')}: {value}".encode() for name, value in headers.items()]
    if accept:
        fields.append(f"Accept-Encoding: {accept}".encode())
    (answer,) = answers(talk(api, ask(f"GET {path}".encode(), *fields)))
    return answer


@pytest.mark.parametrize(
    ("accept", "compressed"),
    [
        ("gzip", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("*", True),
        ("", False),
        ("gzip;q=0", False),
        ("*;q=0", False),
        ("identity, gzip;q=0.5", False),
        ("br", False),
        ("gzip;q=x", False),
    ],
)
def test_a_large_answer_is_compressed_for_who_takes_that(
    api: Api, accept: str, compressed: bool
) -> None:
    for number in (100, 1000):  # one that goes at once, one that goes piece by piece
        api.put([{"command": "x" * 100}] * number)
        _, headers, body = get(api, "/api/jobs", accept)
        assert headers.get("content-encoding") == ("gzip" if compressed else None)
        assert headers["vary"] == "accept-encoding"
        assert json.loads(gzip.decompress(body) if compressed else body) == api.get("jobs")


def test_a_small_answer_is_sent_as_it_is(api: Api) -> None:
    _, headers, body = get(api, "/api/jobs", "gzip")

    assert (body, headers.get("content-encoding")) == (b"[]", None)


def write_log(api: Api, text: bytes) -> int:
    job: int = api.put({"command": "true"})
    (api.datadir / "logs" / f"{job}.log").write_bytes(text)
    return job


@pytest.mark.parametrize("size", [10, 5000, 3_000_000])
def test_a_log_is_compressed_as_it_is_sent(api: Api, size: int) -> None:
    job = write_log(api, b'line "1"\n' * (size // 9))
    _, headers, body = get(api, f"/api/jobs/{job}/log", "gzip")
    plain = gzip.decompress(body) if "content-encoding" in headers else body

    assert ("content-encoding" in headers) == (size > 2048)
    assert json.loads(plain) == 'line "1"\n' * (size // 9)


def test_a_range_of_a_log_is_the_bytes_of_the_log(api: Api) -> None:
    job = write_log(api, b"x" * 100_000)
    status, headers, body = get(api, f"/api/jobs/{job}/log", "gzip", Range="bytes=5-70004")

    assert (status, body, headers["content-length"]) == (206, b"x" * 70_000, "70000")
    assert "content-encoding" not in headers


def test_the_page_is_compressed_and_only_sent_if_it_has_changed(api: Api) -> None:
    status, headers, body = get(api, "/js/table.js", "gzip")
    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert gzip.decompress(body) == api.ask("GET", "/js/table.js").content

    since = headers["last-modified"]
    for accept in ("gzip", ""):
        status, headers, body = get(api, "/js/table.js", accept, If_Modified_Since=since)
        assert (status, body) == (304, b"") and "content-encoding" not in headers
    for since in ("nonsense", "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 99 Foo 99999 9:9:9 GMT", "é"):
        assert get(api, "/js/table.js", "", If_Modified_Since=since)[0] == 200


def test_nothing_of_this_leaves_a_trace_in_the_servers_log(api: Api) -> None:
    """No request is an error of the server's."""
    for request in every_request():
        talk(api, request)

    assert "Traceback" not in (api.datadir / "server.log").read_text()


def every_request() -> Iterable[bytes]:
    yield from (request for request, _, _ in REFUSED.values())
    yield from (put(body) for body, _ in BODIES.values())
