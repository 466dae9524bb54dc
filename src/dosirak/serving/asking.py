"""A worker's calls of services in other workers, by way of the front.

    Asking ── Call ▸ ──────────────▶ front ─▶ the other service's pool, queued like any request
           ◀─ Answer │ StreamBegan, Chunk…, StreamEnded ── front

The same words as between front and worker, the other way round. Everything here happens on the
worker's loop; bodies are bytes that the link has written and will read.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from dosirak.errors import Unavailable, WorkerLost, error_class
from dosirak.payload.wire import Body, StreamOutcome, WireRequest, WireResponse, WireStream
from dosirak.serving.messages import (
    Answer,
    Call,
    Cancel,
    Chunk,
    Credit,
    StreamBegan,
    StreamEnded,
)
from dosirak.serving.stream_pieces import Pieces, ReceivedPieces, Send
from dosirak.spec.context import Context


@dataclass(slots=True)
class _Asked:
    """A call that is not answered to its end."""

    answer: asyncio.Future[WireResponse | WireStream]
    chunks: Pieces = field(default_factory=asyncio.Queue)
    outcome: StreamOutcome = field(default_factory=StreamOutcome)


class Asking:
    """Asks the front to have calls answered.

    Args:
        send: writes a message to the front.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._ids: Iterator[int] = itertools.count(1)
        self._asked: dict[int, _Asked] = {}
        self.loop = asyncio.get_running_loop()

    async def call(
        self, service: str, api: str, request: WireRequest, context: Context
    ) -> WireResponse | WireStream:
        """Have one call answered; cancelling this cancels the call.

        Raises:
            Unavailable: the front has gone.
        """
        call_id = next(self._ids)
        asked = self._asked[call_id] = _Asked(self.loop.create_future())
        self._send(Call.of(call_id, api, request, context, service=service), request.body)
        try:
            answer = await asked.answer
        except asyncio.CancelledError:
            self._withdraw(call_id)
            raise
        if isinstance(answer, WireResponse):
            del self._asked[call_id]
        return answer

    def receive(self, message: Answer | StreamBegan | Chunk | StreamEnded, body: Body) -> None:
        """Take what the front says; of a call that was withdrawn nothing is kept."""
        asked = self._asked.get(message.call_id)
        if asked is None or asked.answer.cancelled():
            return
        match message:
            case Answer(_, status, content_type, headers):
                asked.answer.set_result(WireResponse(body, content_type, status, headers))
            case StreamBegan(call_id, status, content_type, headers):
                chunks = ReceivedPieces(
                    asked.chunks,
                    took=lambda: self._send(Credit(call_id), b""),
                    left=lambda: self._withdraw(call_id),
                )
                asked.answer.set_result(
                    WireStream(chunks, content_type, status, headers, asked.outcome)
                )
            case Chunk():
                asked.chunks.put_nowait(bytes(body))
            case StreamEnded(call_id, broken, error_code):
                del self._asked[call_id]
                kind = error_class(error_code) or WorkerLost
                asked.chunks.put_nowait(kind("The stream ended early.") if broken else None)

    def lose_front(self) -> None:
        """Nothing more will come."""
        for asked in self._asked.values():
            error = Unavailable("The server is ending.", remedy="Try again in a moment.")
            if not asked.answer.done():
                asked.answer.set_exception(error)
            asked.chunks.put_nowait(error)
        self._asked.clear()

    def _withdraw(self, call_id: int) -> None:
        if self._asked.pop(call_id, None) is not None:
            self._send(Cancel(call_id), b"")
