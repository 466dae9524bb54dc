"""One end of an exchange with a mounted application: ASGI events to and from frames, bounded.

    put ─(waits while a window of bytes is on its way)─▶ frames ─▶ arrived ─▶ take ─▶ credit back

Front and worker use the same end. What a reader has not taken is bounded by the window and one
event more; the bodies of requests and answers go in pieces, a WebSocket's message goes whole.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TypeAlias, cast

from dosirak.payload.wire import Body
from dosirak.serving.mount_messages import MountCredit, MountEvent

AsgiEvent: TypeAlias = MutableMapping[str, Any]
SendFrame: TypeAlias = Callable[[Any, Body], None]

_WINDOW_BYTES = 256 * 1024
_PIECE_BYTES = 64 * 1024
# What an event without a body counts, so that many of them are bounded, too.
_EVENT_BYTES = 64


class StreamLost(OSError):
    """The other end is gone; of this kind ASGI says that sending raises it."""


class MountStream:
    """One end of one exchange.

    Args:
        exchange_id: names it on the channel.
        send: writes a frame.
    """

    def __init__(self, exchange_id: int, send: SendFrame) -> None:
        self.id = exchange_id
        self._send = send
        self._on_way_bytes = 0
        self._may_send = asyncio.Event()
        self._may_send.set()
        self._arrived: deque[tuple[MountEvent, Body] | None] = deque()
        self._news = asyncio.Event()
        self._lost = False

    @property
    def is_lost(self) -> bool:
        """Whether the other end is gone."""
        return self._lost

    async def put(self, event: Mapping[str, Any]) -> None:
        """Send an event when there is room.

        Raises:
            StreamLost: the other end is gone.
        """
        message, body = _framed(self.id, event)
        pieces = _pieces(body) if message.event.endswith(("request", "body")) else [body]
        for index, piece in enumerate(pieces):
            await self._may_send.wait()
            if self._lost:
                raise StreamLost
            last = index == len(pieces) - 1
            self._put_now(message if last else _with_more(message), piece)

    def put_now(self, event: Mapping[str, Any]) -> None:
        """Send an event that must not wait: that the other side is gone."""
        if not self._lost:
            self._put_now(*_framed(self.id, event))

    async def take(self) -> AsgiEvent | None:
        """Return the next event, and let the other end send more; None once there is no other.

        Raises:
            StreamLost: the other end is gone.
        """
        while not self._arrived:
            if self._lost:
                raise StreamLost
            self._news.clear()
            await self._news.wait()
        item = self._arrived.popleft()
        if item is None:
            self._arrived.append(None)
            return None
        message, body = item
        self._send(MountCredit(self.id, _cost(body)), b"")
        return _unframed(message, body)

    def arrived(self, message: MountEvent, body: Body) -> None:
        """Take an event from the other end."""
        # It outlives this turn of the loop; a view of what was read must not.
        self._arrived.append((message, bytes(body)))
        self._news.set()

    def credited(self, size_bytes: int) -> None:
        """The other end's reader has taken so much."""
        self._on_way_bytes -= size_bytes
        if self._on_way_bytes < _WINDOW_BYTES:
            self._may_send.set()

    def end(self) -> None:
        """No event will come any more; those that have are still taken."""
        self._arrived.append(None)
        self._news.set()

    def lose(self) -> None:
        """The other end is gone; what has come from it is still taken."""
        self._lost = True
        self._news.set()
        self._may_send.set()

    def _put_now(self, message: MountEvent, body: Body) -> None:
        self._on_way_bytes += _cost(body)
        if self._on_way_bytes >= _WINDOW_BYTES:
            self._may_send.clear()
        self._send(message, body)


def _cost(body: Body) -> int:
    return len(body) + _EVENT_BYTES


def _pieces(body: Body) -> list[Body]:
    if len(body) <= _PIECE_BYTES:
        return [body]
    view = memoryview(body)
    return [bytes(view[at : at + _PIECE_BYTES]) for at in range(0, len(body), _PIECE_BYTES)]


def _with_more(message: MountEvent) -> MountEvent:
    return MountEvent(message.exchange_id, message.event, more=True)


def _framed(exchange_id: int, event: Mapping[str, Any]) -> tuple[MountEvent, Body]:
    text = event.get("text")
    body = event.get("body") or event.get("bytes") or b""
    headers = cast("Any", event.get("headers") or ())
    return (
        MountEvent(
            exchange_id,
            event["type"],
            code=int(event.get("status") or event.get("code") or 0),
            headers=tuple((bytes(name), bytes(value)) for name, value in headers),
            more=bool(event.get("more_body", False)),
            text=text is not None,
            reason=str(event.get("reason") or ""),
            subprotocol=event.get("subprotocol"),
        ),
        # A lone surrogate is not text; it is refused where it comes from.
        text.encode("utf-8") if text is not None else body,
    )


def _unframed(message: MountEvent, body: Body) -> AsgiEvent:
    event: AsgiEvent = {"type": message.event}
    match message.event:
        case "http.request" | "http.response.body" | "websocket.http.response.body":
            event |= {"body": body, "more_body": message.more}
        case "http.response.start" | "websocket.http.response.start":
            event |= {"status": message.code, "headers": list(message.headers)}
        case "websocket.receive" | "websocket.send":
            event |= {"text": bytes(body).decode("utf-8")} if message.text else {"bytes": body}
        case "websocket.accept":
            event |= {"subprotocol": message.subprotocol, "headers": list(message.headers)}
        case "websocket.disconnect":
            event |= {"code": message.code or 1005, "reason": message.reason}
        case "websocket.close":
            event |= {"code": message.code or 1000, "reason": message.reason}
        case "http.disconnect" | "websocket.connect":
            pass
    return event
