"""Reading the head of a request for the hot path: is it a plain inference request?

A head is judged once: llhttp (httptools) parses it, and every rule that the ASGI application would
apply, its guard included, must hold without question; otherwise the verdict is None and the
connection goes to the application, which answers whatever there is to answer. Verdicts are
remembered by the exact bytes of the head, because a client on a kept-alive connection sends the
same head again and again; equal bytes cannot mean two things, so the memory cannot be used to
smuggle.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import httptools

from dosirak.errors import DosirakError
from dosirak.observe.request_ids import is_plain
from dosirak.observe.traces import TRACEPARENT, trace_id_of
from dosirak.serving.access import AccessList
from dosirak.serving.http.guard import check_request
from dosirak.serving.http.options import HttpOptions
from dosirak.serving.lateness import TIMEOUT_HEADER
from dosirak.serving.messages import RequestHead
from dosirak.serving.urgency import DEFAULT_URGENCY, PRIORITY_HEADER, urgency_of

_MOST_REMEMBERED = 2048
# What is made of a head takes some four times its bytes.
_MOST_REMEMBERED_BYTES = 1024 * 1024
_LONGEST_REMEMBERED_BYTES = 2048
_MOST_LENGTH_DIGITS = 19
# Headers whose presence changes what has to be done; the application does it.
_UNUSUAL = frozenset(
    {
        b"content-encoding",
        b"content-range",
        b"cookie",
        b"expect",
        b"origin",
        b"range",
        b"sec-fetch-site",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_ID_LINE = b"\r\nx-request-id: "
_BLANKS = (b" ", b"\t")
_USUAL_CONNECTIONS = frozenset({b"", b"keep-alive", b"close"})


@dataclass(frozen=True, slots=True)
class PlainRequest:
    """What a plain head says.

    Attributes:
        path: the route, byte for byte.
        body_bytes: the declared Content-Length.
        keep_alive: the connection stays open after the answer.
        request_id: the caller's own, empty when there is none or it cannot be used.
        timeout_s: how long the caller will wait at most; None when it does not say.
        wire: what a worker is told of it.
        trace_id: of the caller's trace; empty when it names none.
        urgency: 0 to 7, the most urgent first.
    """

    path: bytes
    body_bytes: int
    keep_alive: bool
    request_id: str
    timeout_s: float | None
    wire: RequestHead
    trace_id: str = ""
    urgency: int = DEFAULT_URGENCY


class _Seen:
    """What one parse saw."""

    __slots__ = ("beginnings", "complete", "has_body", "headers", "keep_alive", "parser", "url")

    parser: httptools.HttpRequestParser

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.beginnings = 0
        self.complete = False
        self.has_body = False
        self.keep_alive = False

    def on_message_begin(self) -> None:
        self.beginnings += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True
        self.keep_alive = self.parser.should_keep_alive()

    def on_body(self, _body: bytes) -> None:
        self.has_body = True

    def takes(self, head: bytes) -> bool:
        """Whether this is the head of one POST of HTTP/1.1 and nothing else."""
        self.parser = httptools.HttpRequestParser(self)
        try:
            self.parser.feed_data(head)
            return self._is_one_post()
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return False
        finally:
            # It and this hold each other: heads must not have to wait for the collector.
            del self.parser

    def _is_one_post(self) -> bool:
        return (
            self.complete
            and not self.has_body
            and self.beginnings == 1
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
        )


class HeadReader:
    """Judges heads and remembers the verdicts on plain ones.

    Args:
        paths: the routes of the hot path.
        options: what the application's guard checks, checked here by the same function.
        access: who may call; a verdict holds until it changes, and with it the reader.
    """

    def __init__(
        self, paths: Collection[bytes], options: HttpOptions, access: AccessList | None = None
    ) -> None:
        self._access = access
        self._paths = frozenset(paths)
        self._options = options
        self._remembered: dict[bytes, PlainRequest] = {}
        self._remembered_bytes = 0

    def read(self, head: bytes) -> PlainRequest | None:
        """Return what a plain head says; None for any other."""
        plain = self._remembered.get(head)
        if plain is not None:
            return plain
        plain = self._judge(head)
        if plain is not None and len(head) <= _LONGEST_REMEMBERED_BYTES:
            self._remember(head, plain)
        return plain

    def _remember(self, head: bytes, plain: PlainRequest) -> None:
        self._remembered_bytes += len(head)
        many = len(self._remembered) >= _MOST_REMEMBERED
        if many or self._remembered_bytes > _MOST_REMEMBERED_BYTES:
            # Heads that never repeat would push out those that do: start again, cheaply.
            self._remembered.clear()
            self._remembered_bytes = len(head)
        self._remembered[head] = plain

    def _judge(self, head: bytes) -> PlainRequest | None:
        # A lone line feed: where such a head ends is a matter of opinion.
        lone = head.count(b"\n") != head.count(b"\r\n")
        if lone or len(head) > self._options.max_head_bytes:
            return None
        seen = _Seen()
        if not seen.takes(head):
            return None
        path, _, query = seen.url.partition(b"?")
        if path not in self._paths or b"#" in query:
            return None
        headers = dict(seen.headers)
        if not self._is_usual(path, seen.headers, headers):
            return None
        return self._plain(path, query, headers, keep_alive=seen.keep_alive)

    def _is_usual(
        self, path: bytes, pairs: list[tuple[bytes, bytes]], headers: dict[bytes, bytes]
    ) -> bool:
        if not _UNUSUAL.isdisjoint(headers):
            return False
        if len(pairs) != len(headers) or len(pairs) > self._options.max_headers:
            return False  # A header sent twice: which of them counts is the application's affair.
        if headers.get(b"connection", b"").lower() not in _USUAL_CONNECTIONS:
            return False
        scope = {"headers": pairs, "method": "POST", "path": path.decode("latin-1")}
        try:
            check_request(scope, _text(headers), self._options, self._access)
        except DosirakError:
            return False
        return True

    def _plain(
        self, path: bytes, query: bytes, headers: dict[bytes, bytes], *, keep_alive: bool
    ) -> PlainRequest | None:
        length = headers.get(b"content-length", b"0")
        # One that is padded with zeros is lawful and odd; and `int` refuses very many digits.
        if not length.isdigit() or len(length) > _MOST_LENGTH_DIGITS:
            return None
        if int(length) > self._options.max_body_bytes:
            return None
        text = _text(headers)
        asked = text.get(TIMEOUT_HEADER)
        timeout_s = None if asked is None else _positive(asked)
        if asked is not None and timeout_s is None:
            return None
        own_id = text.get("x-request-id", "")
        return PlainRequest(
            path=path,
            body_bytes=int(length),
            keep_alive=keep_alive,
            request_id=own_id if is_plain(own_id) else "",
            timeout_s=timeout_s,
            wire=RequestHead(
                text.get("content-type", ""),
                text.get("accept", ""),
                text,
                query.decode("latin-1"),
                "POST",
            ),
            trace_id=trace_id_of(text.get(TRACEPARENT, "")),
            urgency=urgency_of(text.get(PRIORITY_HEADER, "")),
        )


class ProxiedHeadReader(HeadReader):
    """Judges heads from a proxy that gives every request an id of its own.

    What is remembered is the head without that line, so that it is judged once all the same. Every
    other line of the head counts as ever.
    """

    def read(self, head: bytes) -> PlainRequest | None:
        """Return what a plain head says; None for any other."""
        at = head.find(_ID_LINE)
        end = head.find(b"\r\n", at + len(_ID_LINE)) if at >= 0 else -1
        if end < 0:
            return super().read(head)
        request_id = head[at + len(_ID_LINE) : end].decode("latin-1")
        # A line that goes on in the next would go on from the one before.
        if not is_plain(request_id) or head[end + 2 : end + 3] in _BLANKS:
            return super().read(head)
        plain = super().read(head[:at] + head[end:])
        if plain is None or plain.request_id:
            return None  # Two ids: which of them counts is the application's affair.
        return PlainRequest(
            plain.path,
            plain.body_bytes,
            plain.keep_alive,
            request_id,
            plain.timeout_s,
            plain.wire,
            plain.trace_id,
            plain.urgency,
        )


def head_reader(
    paths: Collection[bytes], options: HttpOptions, access: AccessList | None
) -> HeadReader:
    """Return what judges heads under these options."""
    make = ProxiedHeadReader if options.behind_proxy else HeadReader
    return make(paths, options, access)


def _text(headers: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}


def _positive(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number > 0.0 else None
