"""The endpoint of a mounted application: bounds and accounts around what it and its client say.

    client ─ receive ─▶ limits ─▶ Calls.serve_mount ─▶ limits ─ send ─▶ client

Requests have the limits of every other route: the size and pace of the body, the time until the
answer begins, the time for a client to take a piece of it. A WebSocket has that last one alone; a
client that answers no ping is gone.
"""

from __future__ import annotations

import asyncio
import time

from dosirak.errors import (
    ApiNotFound,
    DeadlineExceeded,
    DosirakError,
    RequestTooSlow,
    Unavailable,
    WorkerLost,
)
from dosirak.serving.calls import Calls, MountDescription
from dosirak.serving.http.body import check_announced, too_large
from dosirak.serving.http.exchange import ClientGone, Exchange, StreamBroken
from dosirak.serving.http.options import HttpOptions
from dosirak.serving.mount_exchanges import GoingAway
from dosirak.serving.mount_stream import AsgiEvent
from dosirak.spec.context import Context

_SWITCHED = 101
_REFUSED = 403
_GOING_AWAY = 1001
_FAILED = 1011
_RESTARTS = 1012


class MountEndpoint:
    """Everything below one path.

    Args:
        mount: the application.
        calls: what lets it answer.
        options: the limits.
    """

    def __init__(self, mount: MountDescription, calls: Calls, options: HttpOptions) -> None:
        self.path = mount.path
        self.takes_sockets = mount.kind == "asgi"
        self._below = f"{mount.path}/"
        self._calls = calls
        self._options = options

    def covers(self, path: str) -> bool:
        """Whether a request for this path is the application's."""
        return path == self.path or path.startswith(self._below)

    async def answer(self, exchange: Exchange) -> None:
        """Answer one request or serve one WebSocket.

        Raises:
            DosirakError: it cannot be answered.
            ClientGone: the client closed the connection.
            StreamBroken: the answer ended before it was complete.
        """
        exchange.api = exchange.route = self.path
        if exchange.is_socket:
            await self._serve_socket(exchange)
        else:
            await self._answer_request(exchange)

    async def _answer_request(self, exchange: Exchange) -> None:
        options = self._options
        check_announced(exchange.headers.get("content-length", ""), options)
        request = _Request(exchange, options)
        try:
            async with asyncio.timeout(options.timeout_s) as request.until_begun:
                await self._serve(exchange, request.receive, request.send)
        except TimeoutError as error:
            if not request.until_begun.expired():
                raise
            raise DeadlineExceeded(
                f"The application at {self.path!r} did not answer in time.",
                remedy="Allow more time (--timeout-s), or begin the answer earlier.",
            ) from error
        if not request.is_complete:
            raise ClientGone

    async def _serve_socket(self, exchange: Exchange) -> None:
        if not self.takes_sockets:
            raise ApiNotFound(
                f"The application at {self.path!r} takes no WebSockets.",
                remedy="Mount an ASGI application for them.",
            )
        socket = _Socket(exchange, self._options)
        try:
            await self._serve(exchange, socket.receive, socket.send)
        except GoingAway as error:
            if exchange.status != _SWITCHED:
                raise Unavailable(
                    "The server makes room for another.", remedy="Try again in a moment."
                ) from error
            await socket.close(_GOING_AWAY)
        except DosirakError as error:
            if exchange.status != _SWITCHED:
                raise
            exchange.error_code = error.code
            await socket.close(_RESTARTS if isinstance(error, WorkerLost) else _FAILED)

    async def _serve(self, exchange: Exchange, receive: object, send: object) -> None:
        context = Context(
            request_id=exchange.request_id,
            headers=exchange.headers,
            deadline_s=time.monotonic() + self._options.timeout_s,
        )
        await self._calls.serve_mount(self.path, exchange.scope, receive, send, context)  # pyright: ignore[reportArgumentType]


class _Request:
    """One request, within its limits."""

    until_begun: asyncio.Timeout

    def __init__(self, exchange: Exchange, options: HttpOptions) -> None:
        self._exchange = exchange
        self._options = options
        self._has_body = False
        self.is_complete = False

    async def receive(self) -> AsgiEvent:
        exchange, options = self._exchange, self._options
        if self._has_body:
            return await exchange.receive_event()
        # The longer a body takes, the more of it must be here.
        allowed_s = options.body_grace_s + exchange.request_bytes / options.body_bytes_per_s
        try:
            async with asyncio.timeout(exchange.began_s + allowed_s - time.monotonic()):
                event = await exchange.receive_event()
        except TimeoutError as error:
            raise RequestTooSlow(
                "The body did not arrive in time.", remedy="Send it faster, or less of it."
            ) from error
        exchange.request_bytes += len(event.get("body", b""))
        if exchange.request_bytes > options.max_body_bytes:
            raise too_large(options.max_body_bytes)
        self._has_body = not event.get("more_body", False)
        if not exchange.status and not self.until_begun.expired():
            self.until_begun.reschedule(asyncio.get_running_loop().time() + options.timeout_s)
        return event

    async def send(self, event: AsgiEvent) -> None:
        exchange = self._exchange
        if event["type"] == "http.response.start":
            self.until_begun.reschedule(None)
            exchange.status = event["status"]
            event = {**event, "headers": exchange.with_extra_headers(event["headers"])}
        else:
            exchange.response_bytes += len(event["body"])
            self.is_complete = not event["more_body"]
        try:
            async with asyncio.timeout(self._options.send_timeout_s):
                await exchange.send_event(event)
        except TimeoutError as error:
            exchange.error_code = RequestTooSlow.code
            raise StreamBroken from error


class _Socket:
    """One WebSocket."""

    def __init__(self, exchange: Exchange, options: HttpOptions) -> None:
        self._exchange = exchange
        self._options = options

    async def receive(self) -> AsgiEvent:
        event = await self._exchange.receive_event()
        self._exchange.request_bytes += _size_bytes(event)
        return event

    async def send(self, event: AsgiEvent) -> None:
        exchange = self._exchange
        match event["type"]:
            case "websocket.accept":
                exchange.status = _SWITCHED
                # Those about an answer's body say nothing here.
                event["headers"] = [*event["headers"], *exchange.extra_headers[:1]]
            case "websocket.close":
                exchange.status = exchange.status or _REFUSED
            case "websocket.http.response.start":
                exchange.status = event["status"]
            case _:
                exchange.response_bytes += _size_bytes(event)
        try:
            async with asyncio.timeout(self._options.send_timeout_s):
                await exchange.send_event(event)
        except TimeoutError as error:
            exchange.error_code = RequestTooSlow.code
            raise StreamBroken from error
        except OSError as error:
            raise ClientGone from error

    async def close(self, code: int) -> None:
        await self.send({"type": "websocket.close", "code": code, "reason": ""})


def _size_bytes(event: AsgiEvent) -> int:
    return len(event.get("bytes") or event.get("body") or event.get("text") or "")
