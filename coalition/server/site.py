"""HTTP: from twisted.web's requests to calls of routes, and back."""

from __future__ import annotations

import codecs
import logging
from io import BytesIO
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
from twisted.internet.defer import ensureDeferred
from twisted.python.failure import Failure
from twisted.web.http import CACHED
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from twisted.web.static import File, NoRangeStaticProducer, getTypeAndEncoding

from coalition import errors
from coalition.server import answers
from coalition.server.channel import LOOK, Channel
from coalition.server.logfile import open_log
from coalition.server.request import LimitedRequest
from coalition.server.routes import Call, documents, find, jobs, legacy, protocols, state, workers
from coalition.server.service import Service
from coalition.server.stream import Stream
from coalition.server.target import limits

log = logging.getLogger(__name__)

ROUTES = (jobs, workers, state, legacy, documents, protocols)
"""The modules that register routes by being imported."""

PREFIXES = frozenset({b"api", b"health", b"json", b"metrics", b"workers", b"xmlrpc"})
"""First segments of paths that are calls; all others are files of the web page."""


PAGE_OF_40 = ("api", "webfrontend")
"""How paths begin that 4.0's page asked for; they mean the same without the second segment."""


class Calls(Resource):
    """Everything below /api and /workers."""

    isLeaf = True

    def __init__(self, service: Service) -> None:
        """Serve a service."""
        super().__init__()
        self._service = service

    def render(self, request: LimitedRequest) -> int:
        """Begin to answer a request."""
        call = Call(self._service, request.method.decode("ascii", "replace"))
        gone: list[bool] = []

        def hung_up(_: object) -> None:
            gone.append(True)
            if call.hung_up is not None:
                call.hung_up()

        def send(answer: answers.Answer) -> None:
            if not gone:
                _send(request, answer)

        request.notifyFinish().addErrback(hung_up)
        answering = ensureDeferred(_answer(call, request))
        answering.addErrback(_error)
        answering.addCallback(send)
        answering.addErrback(_log_failure)
        return NOT_DONE_YET


async def _answer(call: Call, request: LimitedRequest) -> answers.Answer:
    route, call.id = find(call.method, _segments(request.uri))
    content = request.content
    call.body = content.read() if content is not None else b""
    call.ip = request.getClientAddress().host
    call.query = request.uri.partition(b"?")[2].decode("ascii", "replace")
    kind = request.getHeader("content-type") or ""
    call.is_form = kind.startswith("application/x-www-form-urlencoded")
    call.args = _args(call)
    call.range = request.getHeader("range") or ""
    call.last_event = request.getHeader("last-event-id") or ""
    value = await route.answer(call)
    return value if isinstance(value, answers.Answer) else answers.of_value(value, call.status)


def _path(uri: bytes) -> str:
    return unquote_to_bytes(uri.partition(b"?")[0]).decode(errors="replace")


def _segments(uri: bytes) -> tuple[str, ...]:
    segments = tuple(_path(uri).strip("/").split("/"))
    return (segments[0], *segments[2:]) if segments[:2] == PAGE_OF_40 else segments


def _args(call: Call) -> dict[str, str]:
    """Give the parameters of the query and of a form body; of repeated ones the last."""
    args = _pairs(call.query) if call.query else {}
    if call.body and call.is_form:
        args.update(_pairs(call.body.decode("latin-1")))
    return args


def _pairs(form: str) -> dict[str, str]:
    """Read a form whose bytes stand there as Latin-1 characters, which any bytes are."""
    pairs = parse_qsl(form, keep_blank_values=True, encoding="latin-1")
    return {_text(name): _text(value) for name, value in pairs}


def _text(latin: str) -> str:
    """Read bytes as UTF-8, and those that are none as Latin-1, as old workers on Windows send them.

    Replacing them would make one name of two.
    """
    if latin.isascii():
        return latin
    try:
        return latin.encode("latin-1").decode()
    except UnicodeDecodeError:
        return latin


def _error(failure: Failure) -> answers.Answer:
    error = cast(BaseException, failure.value)
    if answers.is_bug(error):
        log.error("a request failed: %s", failure.getTraceback())
    return answers.of_error(error)


def _send(request: LimitedRequest, answer: answers.Answer) -> None:
    request.setResponseCode(answer.status)
    headers = request.responseHeaders
    headers.setRawHeaders(b"content-type", [answer.content_type.encode()])
    for name, value in answer.headers.items():
        headers.setRawHeaders(name.encode(), [value.encode()])
    if isinstance(answer, answers.Events) and request.method != b"HEAD":
        EventConnection(request, answer.stream).begin(answer.last)
        return
    size = answer.file[2] if answer.file is not None else len(answer.body)
    if not answer.as_json:  # else nobody knows it before the end, and it comes in chunks
        headers.setRawHeaders(b"content-length", [b"%d" % size])
    if answer.file is None or answer.as_json:  # the bytes of a range are those of the file
        request.compress(size)
    if request.method == b"HEAD":
        request.write(b"")
        request.finish()
    elif answer.file is not None:
        _send_file(request, answer)
    elif size > FilePart.bufferSize:
        FilePart(request, BytesIO(answer.body), size).start()
    else:
        request.write(answer.body)
        request.finish()


def _send_file(request: LimitedRequest, answer: answers.Answer) -> None:
    assert answer.file is not None
    path, offset, size = answer.file
    file = open_log(path)  # the producer closes it
    file.seek(offset)
    if answer.as_json:
        JsonFilePart(request, file, size, answer.remark).start()
    else:
        FilePart(request, file, size).start()


class EventConnection:
    """A connection to the stream: a push producer, told to pause where the client does not read."""

    def __init__(self, request: LimitedRequest, stream: Stream) -> None:
        """Answer a request with a stream."""
        self._request = request
        self._stream = stream

    def begin(self, last: str) -> None:
        """Begin after the message with the id `last`."""
        self._request.notifyFinish().addBoth(lambda _: self._stream.leave(self))
        self._request.registerProducer(self, True)
        self._stream.watch(self, last)

    def send(self, text: bytes) -> None:
        """Send a piece of the stream."""
        self._request.write(text)

    def end(self) -> None:
        """Close the connection."""
        self._request.unregisterProducer()
        self._request.finish()

    def pauseProducing(self) -> None:
        """Wait: the client does not take what was sent."""
        self._stream.hold(self)

    def resumeProducing(self) -> None:
        """Go on."""
        self._stream.go_on(self)

    def stopProducing(self) -> None:
        """Know that the client is gone."""
        self._stream.leave(self)


class FilePart(NoRangeStaticProducer):
    """Sends a part of a file as the connection takes it, without reading it into memory."""

    def __init__(self, request: LimitedRequest, file: Any, size: int) -> None:
        """Send `size` bytes of an open file."""
        super().__init__(request, file)
        self._left = size

    def resumeProducing(self) -> None:
        """Send the next piece."""
        if not self.request:
            return
        data = self.fileObject.read(min(self.bufferSize, self._left))
        self._left -= len(data)
        last = not data or not self._left
        piece = self.encode(data, last)
        if piece:
            self.request.write(piece)
        if last:
            self.request.unregisterProducer()
            self.request.finish()
            self.stopProducing()

    def encode(self, data: bytes, last: bool) -> bytes:
        """Give what is sent for the next bytes of the file."""
        return data


class JsonFilePart(FilePart):
    """Sends a file as a JSON text; bytes that are no UTF-8 become U+FFFD."""

    def __init__(self, request: LimitedRequest, file: Any, size: int, remark: str) -> None:
        """Send `size` bytes of an open file, and a last line."""
        super().__init__(request, file, size)
        self._remark = f"\n* {remark}\n" if remark else ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = False

    def encode(self, data: bytes, last: bool) -> bytes:
        """Give the next piece of the text, with the quotation marks around all of it."""
        text = self._decoder.decode(data, last) + (self._remark if last else "")
        inner = msgspec.json.encode(text)[1:-1]
        before, self._begun = b"" if self._begun else b'"', True
        return before + inner + (b'"' if last else b"")


def _log_failure(failure: Failure) -> None:
    log.error("an answer could not be sent: %s", failure.getTraceback())


class NotThere(Resource):
    """The answer for a file that the web page does not have: an error as everywhere else."""

    isLeaf = True

    def render(self, request: Any) -> int:
        """Answer 404."""
        path = _path(request.uri)
        _send(request, answers.of_error(errors.UnknownRoute(f"there is no {path} on this server")))
        return NOT_DONE_YET


class Page(File):
    """The files of the web page; folders are not listed."""

    childNotFound: Any = NotThere()

    def directoryListing(self) -> Any:
        """Refuse to list a folder."""
        return self.childNotFound

    def render(self, request: Any) -> int:
        """Give a file: all of it, for they are small, and as any other answer is given."""
        if request.method not in (b"GET", b"HEAD"):
            _send(request, answers.of_error(_wrong_method(request)))
            return NOT_DONE_YET
        data = self._read()
        if data is None:
            return int(self.childNotFound.render(request))
        if request.setLastModified(self.getModificationTime()) is CACHED:
            request.finish()
            return NOT_DONE_YET
        kind, _ = getTypeAndEncoding(
            self.basename(), self.contentTypes, self.contentEncodings, self.defaultType
        )
        _send(request, answers.Answer(data, content_type=kind))
        return NOT_DONE_YET

    def _read(self) -> bytes | None:
        self.restat(reraise=False)
        try:
            return self.getContent() if self.isfile() else None
        except OSError as error:
            log.error("a file of the page cannot be read: %s", error)
            return None


def _wrong_method(request: Any) -> errors.WrongMethod:
    path, method = _path(request.uri), request.method.decode("ascii", "replace")
    return errors.WrongMethod(
        f"{path} takes GET and HEAD, not {method}", path=path, takes=["GET", "HEAD"]
    )


class CoalitionSite(Site):
    """The calls, and the files of the web page for all other paths."""

    protocol: Any = Channel
    requestFactory = LimitedRequest
    displayTracebacks = False

    def __init__(self, service: Service, public: Path, maxbody: int, reactor: Any) -> None:
        """Serve a service and a folder."""
        self.limits = limits(maxbody)
        self.channels: set[Channel] = set()
        self._clock = reactor
        self._looking: Any = None
        self._calls = Calls(service)
        page = Page(str(public))
        page.indexNames = ["index.html"]
        # Calls read forms themselves, for a tenth of what it costs there. The channels have one
        # time for all that may take long.
        super().__init__(page, parsePOSTFormSubmission=False, timeout=None, reactor=reactor)

    def startFactory(self) -> None:
        """Begin to look at the connections."""
        super().startFactory()
        self._looking = self._clock.callLater(LOOK, self._look)

    def stopFactory(self) -> None:
        """Look no more."""
        self._looking.cancel()
        super().stopFactory()

    def _look(self) -> None:
        self._looking = self._clock.callLater(LOOK, self._look)
        now = self._clock.seconds()
        for channel in list(self.channels):
            channel.look(now)

    def getResourceFor(self, request: Any) -> Any:
        """Choose who answers."""
        if request.postpath and request.postpath[0] in PREFIXES:
            return self._calls
        return super().getResourceFor(request)

    def log(self, request: Any) -> None:
        """Keep no access log: thousands of lines a second say nothing."""


def make_site(service: Service, public: Path, maxbody: int, reactor: Any) -> Site:
    """Make what listens to HTTP."""
    return CoalitionSite(service, public, maxbody, reactor)
