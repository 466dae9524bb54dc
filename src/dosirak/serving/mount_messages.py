"""What front and worker say of a mounted application: one exchange's opening, its events, its end.

An exchange is one request or one WebSocket. Its events are those of ASGI, in both directions; the
bytes of a body or message are the frame's body. Each end grants the other bytes to send
(`MountCredit`), so that neither holds more than a window of what the other's reader has not taken.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

RawHeaders: TypeAlias = tuple[tuple[bytes, bytes], ...]
Event: TypeAlias = Literal[
    "http.request",
    "http.disconnect",
    "http.response.start",
    "http.response.body",
    "websocket.connect",
    "websocket.receive",
    "websocket.disconnect",
    "websocket.accept",
    "websocket.send",
    "websocket.close",
    "websocket.http.response.start",
    "websocket.http.response.body",
]


class MountScope(msgspec.Struct, frozen=True, array_like=True):
    """What an application is told of a connection; the fields are those of an ASGI scope."""

    type: Literal["http", "websocket"]
    http_version: str
    method: str
    scheme: str
    path: str
    raw_path: bytes
    query_string: bytes
    root_path: str
    headers: RawHeaders
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    subprotocols: tuple[str, ...]


class MountOpen(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Front → worker: an exchange with the application at `mount` begins.

    Attributes:
        request_id: what its caller was told, to be found in the log.
    """

    exchange_id: int
    mount: str
    scope: MountScope
    request_id: str = ""


class MountEvent(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Either way: one ASGI event; bytes or text of it are the frame's body.

    Attributes:
        code: a status, or a WebSocket's close code.
        more: more of the body follows.
        text: the body is a text message.
    """

    exchange_id: int
    event: Event
    code: int = 0
    headers: RawHeaders = ()
    more: bool = False
    text: bool = False
    reason: str = ""
    subprotocol: str | None = None


class MountCredit(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Either way: so many bytes were taken by whoever they were for."""

    exchange_id: int
    size_bytes: int


class MountLeft(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Front → worker: nobody is left to answer.

    Attributes:
        complete: the answer is; the application may do the rest of its work in peace.
    """

    exchange_id: int
    complete: bool = False


class MountEnded(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Worker → front: the application has returned, or raised."""

    exchange_id: int
    failed: bool
