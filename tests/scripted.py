"""An HTTP server that answers as it was told and remembers what it was asked."""

from __future__ import annotations

import json
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl


@dataclass
class Request:
    method: str
    path: str
    body: Any
    headers: dict[str, str]
    port: int
    """Of the client; another connection has another one."""


@dataclass
class Answer:
    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


LOST = Answer(b"", 0)
"""No answer: the connection is cut when the request has been read."""


def as_json(value: object, status: int = 200) -> Answer:
    return Answer(json.dumps(value).encode(), status)


def refused(status: int, code: str, message: str, **detail: object) -> Answer:
    return as_json({"error": {"code": code, "message": message, "detail": detail}}, status)


COUNTERS = (
    "finished", "errors", "working", "total", "total_finished", "total_errors", "total_working",
)  # fmt: skip


def job(id: int, **fields: object) -> dict[str, Any]:
    numbers = dict.fromkeys(COUNTERS, 0)
    fixed = {"id": id, "parent": 0, "title": f"Job {id}", "command": "echo", "state": "WAITING",
             "paused": False, "worker": "", "user": "", "priority": 1000, "dependencies": [],
             "progress": None}  # fmt: skip
    return {**fixed, **numbers, **fields}


class Scripted:
    """The answers to a method and path are given in turn; the last one again and again."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[Request] = []
        self.answers: dict[tuple[str, str], list[Answer | Callable[[], Answer]]] = defaultdict(list)
        self.logs: dict[int, bytes] = {}
        self.lists: dict[str, list[dict[str, Any]]] = {}
        self.asked = threading.Event()

    def on(self, method: str, path: str, *answers: object) -> None:
        for answer in answers:
            known = isinstance(answer, Answer) or callable(answer)
            self.answers[method, path].append(answer if known else as_json(answer))  # type: ignore[arg-type]

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        self.asked.set()
        waiting = self.answers[request.method, request.path]
        if not waiting:
            path, _, query = request.path.partition("?")
            return self.part(path, query) if query and path in self.lists else self.log(request)
        given = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return given() if callable(given) else given

    def log(self, request: Request) -> Answer:
        """Answer the range of a log, as the server does."""
        words = request.path.split("/")
        if words[-1] != "log" or int(words[-2]) not in self.logs:
            return refused(404, "unknown_route", "There is no such address on this server.")
        text = self.logs[int(words[-2])]
        start, _, end = request.headers["Range"].removeprefix("bytes=").partition("-")
        if int(start) >= len(text):
            return Answer(b"", 416, {"Content-Range": f"bytes */{len(text)}"})
        part = text[int(start) : int(end) + 1]
        last = int(start) + len(part) - 1
        return Answer(part, 206, {"Content-Range": f"bytes {start}-{last}/{len(text)}"})

    def part(self, path: str, query: str) -> Answer:
        """Answer a page of a list, as the server does; of filters it knows those for equality."""
        asked = dict(parse_qsl(query))
        limit, offset = int(asked.pop("limit")), int(asked.pop("offset", 0))
        sort, least = asked.pop("sort", "id"), int(asked.pop("id_min", 0))
        rows = [
            row
            for row in sorted(self.lists[path], key=lambda row: row[sort.lstrip("-")])
            if row.get("id", 0) >= least
            and all(str(row[name]) in value.split(",") for name, value in asked.items())
        ]
        rows = rows[::-1] if sort.startswith("-") else rows
        answer = as_json(rows[offset : offset + limit])
        answer.headers["X-Total-Count"] = str(len(rows))
        return answer

    def sent(self) -> list[tuple[str, str, Any]]:
        """What was asked so far: method, path, body."""
        return [(one.method, one.path, one.body) for one in self.requests]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer; two cost 40 ms each
    scripted: Scripted

    def handle_any(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.loads(content) if content else None
        port = self.client_address[1]
        request = Request(self.command, self.path, body, dict(self.headers), port)
        answer = self.scripted.answer(request)
        if answer is LOST:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_PUT = do_POST = do_DELETE = handle_any

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def scripted_server(tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    handler = type("BoundHandler", (Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    script = Scripted(f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}")
    handler.scripted = script  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def free_port() -> int:
    """A port that nobody listens on."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        return server.server_port
