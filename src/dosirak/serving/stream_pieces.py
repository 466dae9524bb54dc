"""The pieces of a stream between two processes: as many under way as the reader has asked for.

    StreamSender ── Chunk, Chunk, … StreamEnded ─▶ queue ─▶ ReceivedPieces
                 ◀─ Credit (one more may come), Cancel (nobody reads) ──

The same on the way from a worker to the front, and from the front to a worker that asked another
service. A window of pieces is sent unasked; then one for each that was taken, so that a slow
reader holds up the handler and not the memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

from dosirak.observe.logs import ROOT_LOGGER
from dosirak.payload.wire import Body, WireStream
from dosirak.serving.messages import Chunk, Message, StreamEnded

STREAM_WINDOW = 16

Send: TypeAlias = Callable[[Message, Body], None]
# A piece, an error instead of the next one, or the end.
Pieces: TypeAlias = "asyncio.Queue[bytes | Exception | None]"

_log = logging.getLogger(f"{ROOT_LOGGER}.serving")


class StreamSender:
    """Sends the pieces of streams that have begun.

    Args:
        send: writes a message to whoever reads them.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._credits: dict[int, asyncio.Semaphore] = {}

    def credit(self, call_id: int) -> None:
        """Let one more piece of a stream go."""
        if call_id in self._credits:
            self._credits[call_id].release()

    async def run(self, call_id: int, stream: WireStream) -> None:
        """Send every piece of a stream, and how it ended."""
        credit = self._credits[call_id] = asyncio.Semaphore(STREAM_WINDOW)
        broken = True
        try:
            async for piece in stream.chunks:
                await credit.acquire()
                self._send(Chunk(call_id), piece)
            broken = False
        except Exception:
            # It was logged where it was raised; an incomplete answer is all that is left to say.
            _log.debug("A stream ended early.")
        finally:
            del self._credits[call_id]
            await _close(stream)
        error = stream.outcome.error
        self._send(StreamEnded(call_id, broken, error.code if error else ""), b"")


class ReceivedPieces(AsyncIterator[bytes]):
    """A stream's pieces as they come.

    Args:
        pieces: where they are put.
        took: told of each one taken, which lets another come.
        left: told when nobody reads any more.
    """

    def __init__(
        self, pieces: Pieces, *, took: Callable[[], None], left: Callable[[], None]
    ) -> None:
        self._pieces = pieces
        self._took = took
        self._left = left

    async def __anext__(self) -> bytes:
        item = await self._pieces.get()
        if item is None:
            raise StopAsyncIteration
        if isinstance(item, Exception):
            raise item
        self._took()
        return item

    async def aclose(self) -> None:
        """Cancel the call if its stream has not ended."""
        self._left()


async def _close(stream: WireStream) -> None:
    close = getattr(stream.chunks, "aclose", None)
    if close is not None:
        with contextlib.suppress(Exception):
            await close()
