"""Connections of HTTP/2: hypercorn's streams over our application, with bounds and an orderly end.

    bytes ─▶ h2 ─▶ hypercorn: streams, priorities, flow control ─▶ application (the guard)

What is ours: a stream that breaks is reset, so that nobody takes half an answer for a whole one;
data for a stream that is answered already ends nothing; a client that resets its requests as fast
as it sends them is sent away; time is looked after; and the end loses no request: GOAWAY is sent
when nothing is under way, or when more is asked for. It is written past h2, which closes its side
with its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import replace
from typing import Any

from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Response, StreamClosed
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.typing import ConnectionState
from hyperframe.frame import GoAwayFrame
from starlette.types import ASGIApp, Receive, Scope, Send

from dosirak.errors import HeadTooLarge
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.observe.request_ids import new_request_id
from dosirak.serving.http.options import HttpOptions
from dosirak.serving.http2 import Caller
from dosirak.serving.problems import problem_response

_READ_BYTES = 64 * 1024
# A client may reset some of its requests; many more than were answered is an attack.
_FREE_RESETS = 200
# How long a client has for closing a connection after it was told to leave.
_LEAVE_S = 1.0
# Connections are no affair of a message in HTTP/2.
_HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"upgrade"})

_log = logging.getLogger(f"{ROOT_LOGGER}.serving.http")


class Http2Server:
    """All connections of HTTP/2 of one server (see `http2.Http2`)."""

    def __init__(self, application: ASGIApp, options: HttpOptions, idle_s: float) -> None:
        self.application = application
        self.options = options
        self.idle_s = idle_s
        self.config = _config(options)
        self.draining = False
        self.connections: set[Http2Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_serving(self) -> bool:
        """Whether any connection is open."""
        return bool(self.connections)

    def take(self, transport: asyncio.Transport, data: bytes, caller: Caller | None) -> None:
        """Serve a connection from here on; `data` came first."""
        connection = Http2Connection(self, transport, data, caller)
        self.connections.add(connection)
        task = asyncio.get_running_loop().create_task(connection.run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def sweep(self, now_s: float) -> None:
        """Look after time."""
        for connection in list(self.connections):
            connection.sweep(now_s)

    def drain(self) -> None:
        """Ask every client to leave when it has nothing under way."""
        self.draining = True
        for connection in list(self.connections):
            connection.leave_if_idle()

    def leave(self) -> None:
        """Take no further request; what is under way goes on."""
        for connection in list(self.connections):
            connection.leave()

    def abort(self) -> None:
        """Close every connection."""
        for connection in list(self.connections):
            connection.abort()


class Http2Connection:
    """One connection."""

    def __init__(
        self,
        server: Http2Server,
        transport: asyncio.Transport,
        data: bytes,
        caller: Caller | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._server = server
        self._transport = transport
        self._caller = caller
        self._reader = asyncio.StreamReader(limit=_READ_BYTES, loop=loop)
        protocol = asyncio.StreamReaderProtocol(self._reader, loop=loop)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if data:
            protocol.data_received(data)
        self._writer = asyncio.StreamWriter(transport, protocol, self._reader, loop)
        self._writing = asyncio.Lock()
        self._streams: _Streams | None = None
        self._leaving = False
        self._left_s: float | None = None
        # When bytes came or went last.
        self._moved_s = time.monotonic()

    async def run(self) -> None:
        """Serve until the connection ends."""
        try:
            async with TaskGroup(asyncio.get_running_loop()) as tasks:
                self._streams = self._open_streams(tasks)
                try:
                    await self._streams.initiate()
                    await self._read(self._streams)
                finally:
                    await self._streams.handle(Closed())
                    await self._streams.let_go()
        except Exception as error:
            _log.debug("A connection of HTTP/2 ended.", exc_info=error)
        finally:
            self._server.connections.discard(self)
            self._transport.close()

    def sweep(self, now_s: float) -> None:
        """End what is idle, stalled, or was told to leave and did not."""
        waited_s = now_s - self._moved_s
        options = self._server.options
        if self._left_s is not None:
            if now_s - self._left_s > _LEAVE_S:
                self.abort()
        elif self._is_idle():
            served = self._streams is not None and self._streams.answered
            if waited_s > (self._server.idle_s if served else options.head_timeout_s):
                self.leave()
        elif waited_s > options.send_timeout_s and self._has_unsent():
            self.abort()

    def leave_if_idle(self) -> None:
        """Tell the client to leave unless something is under way, or nothing was asked yet."""
        if self._is_idle() and self._streams is not None and self._streams.answered:
            self.leave()

    def leave(self) -> None:
        """Take no further request; the client is told when nothing is under way, or asks for more.

        Not at once: some clients take GOAWAY for the end of everything that is under way.
        """
        self._leaving = True
        self._finish_if_idle()

    @property
    def is_leaving(self) -> bool:
        """Whether no further request is taken."""
        return self._leaving

    def say_goodbye(self) -> None:
        """Send GOAWAY: a later request is not answered, and the client knows that by it."""
        if self._streams is not None and not self._transport.is_closing():
            goodbye = GoAwayFrame(0, last_stream_id=self._streams.last_accepted, error_code=0)
            self._transport.write(goodbye.serialize())

    def abort(self) -> None:
        """Close the connection whatever is under way."""
        self._transport.abort()

    def answered(self) -> None:
        """Note that a request was answered: a time to leave, if it is to."""
        if self._leaving:
            self._finish_if_idle()
        elif self._server.draining:
            self.leave_if_idle()

    async def application(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        caller, options = self._caller, self._server.options
        if caller is not None:
            scope["client"], scope["scheme"] = caller.client, caller.scheme
        if len(scope["headers"]) > options.max_headers:
            await _refuse_head(send, options)
            return
        await self._server.application(scope, receive, send)

    def _open_streams(self, tasks: TaskGroup) -> _Streams:
        info = self._transport.get_extra_info
        return _Streams(
            ASGIWrapper(self.application),  # pyright: ignore[reportArgumentType]
            self._server.config,
            WorkerContext(None),
            tasks,
            ConnectionState({}),
            info("ssl_object") is not None,
            _address(info("peername")),
            _address(info("sockname")),
            self._send,
            connection=self,
        )

    async def _read(self, streams: _Streams) -> None:
        while data := await self._reader.read(_READ_BYTES):
            self._moved_s = time.monotonic()
            await streams.handle(RawData(data))

    async def _send(self, event: Any) -> None:
        if isinstance(event, RawData):
            async with self._writing:
                self._writer.write(event.data)
                with contextlib.suppress(OSError):
                    await self._writer.drain()
            self._moved_s = time.monotonic()
        elif isinstance(event, Closed):
            self._transport.close()
        elif isinstance(event, Updated) and event.idle:
            self._moved_s = time.monotonic()

    def _is_idle(self) -> bool:
        return self._streams is None or not self._streams.streams

    def _has_unsent(self) -> bool:
        if self._transport.get_write_buffer_size():
            return True
        buffers = self._streams.stream_buffers.values() if self._streams is not None else ()
        return any(buffer.buffer for buffer in buffers)

    def _finish_if_idle(self) -> None:
        if not self._is_idle() or self._left_s is not None:
            return
        self._left_s = time.monotonic()
        self.say_goodbye()
        # Open for a moment more: closing while the client still sends could take the goodbye from
        # it, and what it sends meanwhile is refused by name.


class _Streams(H2Protocol):
    """The streams of one connection."""

    def __init__(self, *arguments: Any, connection: Http2Connection) -> None:
        super().__init__(*arguments)
        self._of = connection
        self._resets = 0
        self.answered = 0
        self.last_accepted = 0
        initial = {
            SettingCodes.MAX_CONCURRENT_STREAMS: self.config.h2_max_concurrent_streams,
            SettingCodes.MAX_HEADER_LIST_SIZE: self.config.h2_max_header_list_size,
        }
        # Without CONNECT: there are no WebSockets here.
        self.connection.local_settings = Settings(client=False, initial_values=initial)

    async def let_go(self) -> None:
        """Wake whoever waits for room in a stream: nobody reads any more."""
        for buffer in list(self.stream_buffers.values()):
            await buffer.close()

    async def stream_send(self, event: StreamEvent) -> None:
        """Send what a stream's application says (hypercorn calls this)."""
        if isinstance(event, Response):
            kept = [pair for pair in event.headers if pair[0].lower() not in _HOP_BY_HOP]
            event = replace(event, headers=kept)
        if not isinstance(event, StreamClosed):
            await super().stream_send(event)
            return
        self.answered += 1
        if self._reset_if_broken(event.stream_id):
            await self._flush()
        await super().stream_send(event)
        self._of.answered()

    async def _handle_events(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RequestReceived) and not self._accept(event):
                # GOAWAY has said it already, and some clients take nothing more after it.
                if not self._of.is_leaving:
                    self.connection.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
            elif isinstance(event, DataReceived) and event.stream_id not in self.streams:
                # It was answered already, or refused.
                with contextlib.suppress(ProtocolError):
                    self.connection.acknowledge_received_data(
                        event.flow_controlled_length or 0, event.stream_id or 0
                    )
            else:
                await super()._handle_events([event])
                if isinstance(event, StreamReset):
                    await self._note_reset(event)
        await self._flush()

    def _accept(self, request: RequestReceived) -> bool:
        if self._of.is_leaving:
            self._of.say_goodbye()
            return False
        said = dict(request.headers or ())
        path = bytes(said.get(b":path", b""))
        known = path.startswith(b"/") or path == b"*"
        if not known or not path.isascii() or said[b":method"] == b"CONNECT":
            return False
        self.last_accepted = request.stream_id or 0
        return True

    async def _note_reset(self, event: StreamReset) -> None:
        buffer = self.stream_buffers.get(event.stream_id or 0)
        if buffer is not None:
            # Whoever writes to it must not wait for a reader.
            await buffer.close()
        self._resets += 1
        if self._resets > _FREE_RESETS + self.answered // 2:
            self._of.abort()

    def _reset_if_broken(self, stream_id: int) -> bool:
        buffer = self.stream_buffers.get(stream_id)
        if buffer is None or buffer._complete:  # pyright: ignore[reportPrivateUsage]
            return False
        with contextlib.suppress(ProtocolError):
            self.connection.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR)
        return True


def _config(options: HttpOptions) -> Config:
    config = Config()
    config.accesslog = config.errorlog = None  # the guard logs every answer and error
    config.include_server_header = False
    config.h2_max_header_list_size = options.max_head_bytes
    config.keep_alive_max_requests = 2**62
    # A body is bounded by whoever reads it; a full queue would hold up all other streams.
    config.max_app_queue_size = 0
    return config


def _address(said: Any) -> tuple[str, int] | None:
    return (str(said[0]), int(said[1])) if isinstance(said, tuple) else None


async def _refuse_head(send: Send, options: HttpOptions) -> None:
    error = HeadTooLarge(
        f"The head of the request has over {options.max_headers} headers.",
        remedy="Send fewer headers.",
    )
    problem = problem_response(error, request_id=new_request_id())
    headers = [(b"content-type", problem.content_type.encode("ascii"))]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": bytes(problem.body)})
