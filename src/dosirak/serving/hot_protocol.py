"""The hot path: one connection of plain inference requests, answered without a framework.

    bytes ─▶ head (remembered) ─▶ body ─▶ HotRequest ─▶ HotRoute ─▶ pool … answer ─▶ bytes

One request is under way at a time; bytes that arrive meanwhile wait, and reading stops when they
are many. At the first head that is not plain the connection goes, with every byte not yet used, to
the protocol that serves the ASGI application, and never comes back: one behaviour stands behind
both. So does one whose head or body does not come at once: what is too slow is said there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

from dosirak.errors import DosirakError
from dosirak.observe.request_ids import RequestIds
from dosirak.observe.traces import Trace
from dosirak.payload.codec import error_response
from dosirak.payload.wire import Body
from dosirak.serving.access import AccessList
from dosirak.serving.answer_heads import AnswerHeads, closes
from dosirak.serving.heads import HeadReader, PlainRequest, head_reader
from dosirak.serving.http.options import HttpOptions
from dosirak.serving.http2 import PREFACE, has_chosen_http2
from dosirak.serving.messages import AnswerBatch, AnswerHead, Headers
from dosirak.serving.pending import PendingCall

# More bytes than this waiting behind a request under way: stop reading until it is answered.
_MOST_WAITING_BYTES = 256 * 1024
_HEAD_END = b"\r\n\r\n"
_METHODS = (
    b"POST ", b"GET ", b"HEAD ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", PREFACE,
)  # fmt: skip
# Answers up to this size are written in one piece with their head.
_JOINED_BYTES = 64 * 1024
# A head or body that takes longer than this is the application's affair.
_PROMPT_S = 1.0
_CLIENT_CLOSED = 499


class Answering(Protocol):
    """Where a plain request came from: a connection here, or one of another process.

    Attributes:
        client: the client's address.
    """

    client: str

    def send_answer(
        self, request: HotRequest, status: int, content_type: str, headers: Headers, body: Body
    ) -> None:
        """Write an answer."""
        ...


class HotRequest(PendingCall):
    """One plain request, from its last byte to its answer.

    Attributes:
        plain: what its head says.
        status: what it was answered with; 0 until then.
        response_bytes: the bytes of the answer's body.
        noted: metrics and log have been told of it.
        trace: its place in a trace, where requests are traced.
    """

    __slots__ = ("connection", "noted", "plain", "response_bytes", "route", "status", "trace")

    def __init__(
        self,
        connection: Answering,
        route: HotRoute,
        plain: PlainRequest,
        body: Body,
        request_id: str,
    ) -> None:
        now_s = time.monotonic()
        allowed_s = route.timeout_s
        if plain.timeout_s is not None:
            allowed_s = min(allowed_s, plain.timeout_s)
        # What the base class does, written out: this is once for each request.
        self.head = plain.wire
        self.body = body
        self.request_id = request_id
        self.arrived_s = now_s
        self.deadline_s = now_s + allowed_s
        self.done = False
        self.crashes = 0
        self.sends = 0
        self.worker = None
        self.batch_id = 0
        self.index = 0
        self.urgency = plain.urgency
        self.connection = connection
        self.route = route
        self.plain = plain
        self.status = 0
        self.response_bytes = 0
        self.noted = False
        self.trace: Trace | None = None

    def answered(self, head: AnswerHead, body: Body, batch: AnswerBatch) -> None:
        """Send the answer."""
        if head.status >= 400:
            self.route.note_failure(head.status, body)
        self._send(head.status, head.content_type, tuple(head.headers), body)
        if not batch.done:
            self.route.note(self, batch)

    def failed(self, error: DosirakError) -> None:
        """Send the error as the application does."""
        problem = error_response(error, request_id=self.request_id)
        # What belongs to the status is written with every answer.
        self._send(problem.status, problem.content_type, (), problem.body)
        self.route.note_error(self, error)

    def abandon(self) -> None:
        """The client is gone: work not begun need not begin."""
        self.status = _CLIENT_CLOSED
        self.route.withdraw(self)
        self.route.note(self)

    def _send(self, status: int, content_type: str, headers: Headers, body: Body) -> None:
        self.status = status
        self.response_bytes = len(body)
        self.connection.send_answer(self, status, content_type, headers, body)


class HotRoute(Protocol):
    """Where plain requests of one route go."""

    @property
    def timeout_s(self) -> float:
        """How long a call may take."""
        ...

    @property
    def revision(self) -> bytes:
        """The line of an answer's head that names the revision."""
        ...

    def submit(self, request: HotRequest) -> None:
        """Take the request; it is answered once, later or at once."""
        ...

    def withdraw(self, request: HotRequest) -> None:
        """Nobody waits for it any more."""
        ...

    def note(self, request: HotRequest, batch: AnswerBatch | None = None) -> None:
        """Count and log a request that is not answered at the end of its batch, or without."""
        ...

    def note_failure(self, status: int, body: Body) -> None:
        """Count an error that a worker answered."""
        ...

    def note_error(self, request: HotRequest, error: DosirakError) -> None:
        """Count and log a request that was answered with an error of the front."""
        ...


@dataclass(slots=True)
class HotServer:
    """What all connections of a front share.

    Attributes:
        heads: judges and remembers heads.
        routes: where the requests of each path go.
        hand_over: gives a connection, and what it sent, to what serves the ASGI application.
        options: bounds on heads.
        idle_s: time that a connection may be open after an answer.
        connections: every open connection of the hot path.
        draining: answers close their connections.
        offers_http2: connections may have chosen HTTP/2 in their TLS handshake.
        access: who may call, where a file says it.
    """

    heads: HeadReader
    routes: Mapping[bytes, HotRoute]
    hand_over: Callable[[asyncio.Transport, bytes], None]
    options: HttpOptions
    idle_s: float = 75.0
    answer_heads: AnswerHeads = field(default_factory=AnswerHeads)
    request_ids: RequestIds = field(default_factory=RequestIds)
    connections: set[HotProtocol] = field(default_factory=set["HotProtocol"])
    draining: bool = False
    offers_http2: bool = False
    access: AccessList | None = None

    def serve(self, routes: Mapping[bytes, HotRoute]) -> None:
        """Lead requests to other routes from now on; those under way stay where they are."""
        self.heads = head_reader(routes, self.options, self.access)
        self.routes = routes

    def connect(self) -> HotProtocol:
        """Make the protocol of a new connection."""
        return HotProtocol(self)

    def sweep(self) -> None:
        """Look after time: the date, slow senders, idle connections. Call it every half second."""
        self.answer_heads.tick()
        if self.access is not None and self.access.refresh():
            # What was remembered of heads is no longer true.
            self.serve(self.routes)
        now_s = time.monotonic()
        for connection in list(self.connections):
            connection.sweep(now_s)

    def close_idle(self) -> None:
        """Close every connection with nothing under way."""
        for connection in list(self.connections):
            connection.close_if_idle()

    def abort(self) -> None:
        """Close every connection."""
        for connection in list(self.connections):
            connection.abort()


class HotProtocol(asyncio.Protocol):
    """One connection while its requests are plain."""

    __slots__ = (
        "_blocked",
        "_body",
        "_body_missing",
        "_buffer",
        "_head",
        "_held",
        "_paused",
        "_request",
        "_served",
        "_server",
        "_since_s",
        "_transport",
        "_unsent",
        "client",
    )

    def __init__(self, server: HotServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._head: PlainRequest | None = None
        self._held = b""
        self._body: list[bytes] = []
        self._body_missing = 0
        self._request: HotRequest | None = None
        self._paused = False
        self._blocked = False
        self._served = False
        # Since when the connection has been as it is: idle, or within a head or body.
        self._since_s = 0.0
        # Bytes that a client who does not read had left when it was last looked at.
        self._unsent = 0
        self.client = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio calls this)."""
        self._transport = cast(asyncio.Transport, transport)
        self._since_s = time.monotonic()
        peer = transport.get_extra_info("peername")
        self.client = str(peer[0]) if peer else ""
        self._server.connections.add(self)
        if self._server.offers_http2 and has_chosen_http2(transport):
            self._hand_over(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        """Withdraw the request under way (asyncio calls this)."""
        self._server.connections.discard(self)
        self._transport = None
        request, self._request = self._request, None
        if request is not None:
            request.abandon()

    def data_received(self, data: bytes) -> None:
        """Take bytes (asyncio calls this)."""
        if self._request is not None or self._blocked:
            self._keep(data)
        elif self._head is not None:
            self._take_body(self._head, data)
        else:
            self._take_head(self._buffer + data if self._buffer else data)

    def pause_writing(self) -> None:
        """Take no further request from a client that does not read (asyncio calls this)."""
        self._blocked = True

    def resume_writing(self) -> None:
        """Go on (asyncio calls this)."""
        self._blocked = False
        self._go_on()

    def send_answer(
        self, request: HotRequest, status: int, content_type: str, headers: Headers, body: Body
    ) -> None:
        """Write an answer and go on with the next request."""
        transport = self._transport
        if transport is None or request is not self._request:
            return
        self._request = None
        server = self._server
        close = server.draining or not request.plain.keep_alive or (status > 400 and closes(status))
        head = server.answer_heads.write(
            status,
            content_type,
            headers,
            len(body),
            request.request_id,
            request.route.revision,
            close=close,
        )
        if len(body) <= _JOINED_BYTES:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        if close:
            transport.close()
            return
        self._served = True
        # Without asking for the time: what took long was seen by `sweep`.
        if request.arrived_s > self._since_s:  # noqa: PLR1730 - cheaper than a call
            self._since_s = request.arrived_s
        if self._buffer or self._paused:
            # Not from here: the answers of many requests in one piece would go ever deeper.
            asyncio.get_running_loop().call_soon(self._go_on)

    def sweep(self, now_s: float) -> None:
        """End a silence that lasts too long; hand over what comes slowly."""
        if self._transport is None or self._is_at_work(now_s):
            return
        waited_s = now_s - self._since_s
        options = self._server.options
        if self._blocked:
            if waited_s > options.send_timeout_s:
                self._transport.abort()
        elif self._head is not None or self._buffer:
            if waited_s > _PROMPT_S:
                self._hand_over(b"".join([self._held, *self._body, self._buffer]))
        elif waited_s > (self._server.idle_s if self._served else options.head_timeout_s):
            self._transport.close()

    def close_if_idle(self) -> None:
        """Close the connection if nothing is under way."""
        if self._transport is not None and self._request is None and self._head is None:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def _is_at_work(self, now_s: float) -> bool:
        """Whether a request is under way, or its client has read some more of an answer."""
        unsent = self._transport.get_write_buffer_size() if self._blocked and self._transport else 0
        moves = self._request is not None or unsent != self._unsent
        self._unsent = unsent
        if moves:
            self._since_s = now_s
        return moves

    def _keep(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > _MOST_WAITING_BYTES and not self._paused:
            self._paused = True
            cast(asyncio.Transport, self._transport).pause_reading()

    def _go_on(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing() or self._blocked:
            return
        if self._request is not None:
            return
        if self._paused:
            self._paused = False
            transport.resume_reading()
        if self._buffer:
            data, self._buffer = self._buffer, b""
            self._since_s = time.monotonic()
            self.data_received(data)

    def _take_head(self, data: bytes) -> None:
        end = data.find(_HEAD_END)
        if end < 0:
            self._await_head(data)
            return
        end += 4
        head = self._server.heads.read(data[:end])
        if head is None:
            self._hand_over(data)
            return
        self._buffer = b""
        if len(data) - end == head.body_bytes:
            self._submit(head, data[end:])
            return
        self._head = head
        self._held = data[:end]
        self._body_missing = head.body_bytes
        self._since_s = time.monotonic()
        self._take_body(head, data[end:])

    def _await_head(self, data: bytes) -> None:
        """Wait for the rest of a head; hand over what will not be one."""
        known = any(data.startswith(method[: len(data)]) for method in _METHODS)
        lone = data.count(b"\n") != data.count(b"\r\n")
        if lone or not known or len(data) > self._server.options.max_head_bytes:
            self._hand_over(data)
            return
        if not self._buffer:
            self._since_s = time.monotonic()
        self._buffer = data

    def _take_body(self, head: PlainRequest, data: bytes) -> None:
        if len(data) < self._body_missing:
            self._body.append(data)
            self._body_missing -= len(data)
            return
        if head.path not in self._server.routes:
            # The revision whose route this was has gone while the body came.
            self._hand_over(b"".join([self._held, *self._body, data]))
            return
        rest = data[self._body_missing :]
        self._body.append(data[: self._body_missing] if rest else data)
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        self._head = None
        self._held = b""
        self._buffer = rest
        self._submit(head, body)

    def _submit(self, head: PlainRequest, body: bytes) -> None:
        server = self._server
        route = server.routes[head.path]
        request_id = head.request_id or server.request_ids.next()
        request = self._request = HotRequest(self, route, head, body, request_id)
        route.submit(request)

    def _hand_over(self, data: bytes) -> None:
        transport = cast(asyncio.Transport, self._transport)
        self._server.connections.discard(self)
        self._transport = None
        self._buffer = b""
        if transport.is_closing():
            return
        if self._paused:
            transport.resume_reading()
        self._server.hand_over(transport, data)
