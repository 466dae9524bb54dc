"""The front's side of exchanges with the mounted applications of one worker.

    client ─ receive ─▶ MountStream ─▶ worker ─▶ MountStream ─ send ─▶ client

An exchange is over when its answer is, when its client has gone or when its worker has; the
application may still run a little, and counts as the worker's until it has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from dosirak.errors import ServiceError
from dosirak.payload.wire import Body
from dosirak.serving.mount_messages import (
    MountCredit,
    MountEnded,
    MountEvent,
    MountLeft,
    MountOpen,
    MountScope,
)
from dosirak.serving.mount_stream import MountStream, SendFrame, StreamLost
from dosirak.serving.mounted_apps import Receive, Scope, Send
from dosirak.serving.proxied import prefix_of


class AppFailed(Exception):
    """The application raised, or returned before its answer was complete."""


class GoingAway(Exception):
    """The WebSocket is to be closed: its worker, or the server, makes room for another."""


class MountExchanges:
    """The exchanges of one worker.

    Args:
        send: writes a frame to the worker.
    """

    def __init__(self, send: SendFrame) -> None:
        self._send = send
        self._ids = itertools.count(1)
        self._streams: dict[int, MountStream] = {}
        self._leaving: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __len__(self) -> int:
        return len(self._streams)

    def __contains__(self, exchange_id: int) -> bool:
        return exchange_id in self._streams

    def receive(self, message: MountEvent | MountCredit | MountEnded, body: Body) -> None:
        """Take what the worker says."""
        stream = self._streams.get(message.exchange_id)
        if stream is None:
            return
        match message:
            case MountEvent():
                stream.arrived(message, body)
            case MountCredit(_, size_bytes):
                stream.credited(size_bytes)
            case MountEnded():
                del self._streams[message.exchange_id]
                stream.end()

    def lose_worker(self) -> None:
        """Nothing more will come."""
        for stream in self._streams.values():
            stream.lose()
        self._streams.clear()

    def leave_sockets(self) -> None:
        """End every WebSocket, and each that begins from now on; requests go on."""
        if not self._leaving.done():
            self._leaving.set_result(None)

    async def serve(
        self,
        mount: str,
        scope: Scope,
        receive: Receive,
        send: Send,
        on_left: Callable[[int], None],
        request_id: str = "",
    ) -> None:
        """Carry one exchange between a client and the worker.

        Args:
            mount: where the application is mounted.
            scope: the connection (ASGI).
            receive: reads from the client; what it raises ends the exchange and is raised here.
            send: writes to the client; so does what this raises.
            on_left: told the exchange's number when the application was left to itself.
            request_id: names it in the worker's log.

        Raises:
            StreamLost: the worker ended.
            AppFailed: the application did not complete its answer.
            GoingAway: it is a WebSocket, and to be closed.
        """
        may_leave = scope["type"] == "websocket"
        if may_leave and self._leaving.done():
            raise GoingAway
        stream = MountStream(next(self._ids), self._send)
        self._streams[stream.id] = stream
        self._send(MountOpen(stream.id, mount, _scope_of(scope, mount), request_id), b"")
        asking = asyncio.create_task(_feed(receive, stream))
        answering = asyncio.create_task(_answer(stream, send))
        ends = {asking, answering, self._leaving} if may_leave else {asking, answering}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if may_leave and self._leaving.done():
                raise GoingAway
            if not answering.done():
                # Either the client has gone, which is no error, or it sends what is refused.
                with contextlib.suppress(StreamLost):
                    asking.result()
                    return
            await answering
        finally:
            complete = _is_complete(answering)
            for task in (asking, answering):
                task.cancel()
            await asyncio.gather(asking, answering, return_exceptions=True)
            if stream.id in self._streams:
                self._send(MountLeft(stream.id, complete), b"")
                if not complete:
                    on_left(stream.id)


def app_failed(mount: str) -> ServiceError:
    """Return the error for an application that did not complete its answer."""
    return ServiceError(
        f"The application at {mount!r} failed.",
        remedy="Look up the request id in the server's log.",
    )


async def _feed(receive: Receive, stream: MountStream) -> None:
    """Pass on what the client sends until it has gone."""
    while True:
        event = await receive()
        if event["type"].endswith(".disconnect"):
            stream.put_now(event)
            return
        await stream.put(event)


async def _answer(stream: MountStream, send: Send) -> None:
    """Pass on what the application sends until its answer is complete."""
    while (event := await stream.take()) is not None:
        await send(event)
        if _completes(event):
            return
    raise AppFailed


def _is_complete(answering: asyncio.Task[None]) -> bool:
    return answering.done() and not answering.cancelled() and answering.exception() is None


def _completes(event: Mapping[str, Any]) -> bool:
    kind = event["type"]
    return kind == "websocket.close" or (kind.endswith(".body") and not event.get("more_body"))


def _scope_of(scope: Scope, mount: str) -> MountScope:
    client, server = scope.get("client"), scope.get("server")
    # What comes before the path where callers write it is part of it, and of the mount's root.
    prefix = prefix_of(scope)
    path = prefix + str(scope["path"])
    raw_path = scope.get("raw_path")
    return MountScope(
        scope["type"],
        str(scope.get("http_version", "1.1")),
        str(scope.get("method", "")),
        str(scope.get("scheme", "http")),
        path,
        prefix.encode("ascii") + bytes(raw_path) if raw_path else path.encode("utf-8"),
        bytes(scope.get("query_string", b"")),
        prefix + str(scope.get("root_path", "")) + mount,
        tuple((bytes(name), bytes(value)) for name, value in scope["headers"]),
        (str(client[0]), int(client[1])) if client else None,
        (str(server[0]), server[1]) if server else None,
        tuple(scope.get("subprotocols", ())),
    )
