"""One request and its answer over ASGI: read the body bounded, send an answer whole or in chunks.

The exchange also remembers what the log and the metrics say of it. A client that goes away cancels
whatever it was waiting for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable, MutableMapping
from typing import Any, TypeVar

from starlette.types import Receive, Scope, Send

from dosirak.errors import RequestTooSlow
from dosirak.observe.metrics import NO_API
from dosirak.observe.timings import CallTimings
from dosirak.observe.traces import Trace
from dosirak.payload.wire import Body, WireRequest, WireResponse, WireStream
from dosirak.serving.http.body import read_body
from dosirak.serving.http.options import HttpOptions

ReturnT = TypeVar("ReturnT")
KEY = "dosirak.exchange"


class ClientGone(Exception):
    """The client closed the connection; nobody is left to answer."""


class StreamBroken(Exception):
    """An answer ended before it was complete; the connection must not be reused."""


class Exchange:
    """One request being answered."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, *, request_id: str, options: HttpOptions
    ) -> None:
        self._receive = receive
        self._send = send
        self._options = options
        self.scope = scope
        self.headers = _headers(scope["headers"])
        self.request_id = request_id
        self.began_s = time.monotonic()
        self.api = NO_API
        self.status = 0
        self.error_code = ""
        self.request_bytes = 0
        self.response_bytes = 0
        self.answered_error = ""
        self.route = ""
        self.trace: Trace | None = None
        self.timings = CallTimings()
        self.streamed = False
        self.extra_headers: list[tuple[bytes, bytes]] = []

    @property
    def method(self) -> str:
        """The HTTP method."""
        return str(self.scope.get("method", "GET"))

    @property
    def is_socket(self) -> bool:
        """Whether it is a WebSocket."""
        return bool(self.scope["type"] == "websocket")

    @property
    def path(self) -> str:
        """The path as the server decoded it; the one that is authorised and routed."""
        return str(self.scope["path"])

    @property
    def query(self) -> str:
        """The raw query string."""
        return bytes(self.scope.get("query_string", b"")).decode("latin-1")

    async def receive_event(self) -> MutableMapping[str, Any]:
        """Return what the client says next (ASGI)."""
        return await self._receive()

    async def send_event(self, event: MutableMapping[str, Any]) -> None:
        """Say something to the client (ASGI)."""
        await self._send(event)

    def with_extra_headers(self, own: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return an application's own headers and, where it says nothing else, ours."""
        said = {name.lower() for name, _ in own}
        return [*own, *(pair for pair in self.extra_headers if pair[0] not in said)]

    async def read(self) -> WireRequest:
        """Read the whole request.

        Raises:
            RequestError: the body is too large, too slow, or encoded in a way we do not read.
        """
        body = await read_body(self._receive, self.headers, self._options)
        self.request_bytes = len(body)
        return WireRequest(
            body=body,
            content_type=self.headers.get("content-type", ""),
            accept=self.headers.get("accept", ""),
            # The id that the answer carries, given or made: a stream says it in its errors.
            headers={**self.headers, "x-request-id": self.request_id},
            query=self.query,
            method=self.method,
        )

    async def while_connected(self, awaitable: Awaitable[ReturnT]) -> ReturnT:
        """Await something for the client; cancel it when the client goes away.

        Raises:
            ClientGone: it did.
        """
        work = asyncio.ensure_future(awaitable)
        gone = asyncio.ensure_future(self._disconnected())
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            raise ClientGone
        finally:
            gone.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
            # An error that was raised from here holds this frame, and the work holds the error.
            del work, gone

    async def answer(self, response: WireResponse | WireStream) -> None:
        """Send an answer, whole or as it is produced.

        Raises:
            ClientGone: the client closed the connection.
            StreamBroken: the stream ended before it was complete.
        """
        if isinstance(response, WireResponse):
            await self.send_whole(
                response.status, response.content_type, response.body, _encoded(response.headers)
            )
        else:
            self.streamed = True
            await self.while_connected(self._send_stream(response))

    async def send_whole(
        self,
        status: int,
        content_type: str,
        body: Body,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        """Send a complete answer."""
        self.response_bytes = len(body)
        length = str(len(body)).encode("ascii")
        await self._begin(status, content_type, [*headers, (b"content-length", length)])
        await self._send({"type": "http.response.body", "body": bytes(body), "more_body": False})

    async def _send_stream(self, stream: WireStream) -> None:
        try:
            await self._begin(
                stream.status,
                stream.content_type,
                [*_encoded(stream.headers), (b"cache-control", b"no-store")],
            )
            async for chunk in stream.chunks:
                self.response_bytes += len(chunk)
                async with asyncio.timeout(self._options.send_timeout_s):
                    await self._send(
                        {"type": "http.response.body", "body": chunk, "more_body": True}
                    )
        except Exception as error:
            # Where nothing ended the stream on its way here, its reader was too slow.
            stream.outcome.error = stream.outcome.error or RequestTooSlow("The reader is too slow.")
            raise StreamBroken from error
        finally:
            if stream.outcome.error is not None:
                self.error_code = stream.outcome.error.code
            close = getattr(stream.chunks, "aclose", None)
            if close is not None:
                await close()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(
        self, status: int, content_type: str, headers: list[tuple[bytes, bytes]]
    ) -> None:
        self.status = status
        if content_type:
            headers = [(b"content-type", content_type.encode("latin-1")), *headers]
        message: MutableMapping[str, Any] = {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, *self.extra_headers],
        }
        await self._send(message)

    async def _disconnected(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name_bytes, value_bytes in raw:
        name, value = name_bytes.decode("latin-1").lower(), value_bytes.decode("latin-1")
        # Repeated headers are one list, as HTTP defines it.
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
