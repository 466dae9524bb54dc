"""Answers that go on: events as server-sent events, logs as lines of text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress

import anyio
from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from dosirak.deployment.operations import PlatformOperations
from dosirak.deployment.views import EventView

_LOOK_EVERY_S = 0.25
_KEEP_ALIVE_S = 15.0


def event_stream(
    request: Request,
    operations: PlatformOperations,
    name: str | None,
    after: int,
    shown: Callable[[EventView], bool],
) -> StreamingResponse:
    """Return the answer that tells each event as it happens.

    Args:
        request: ends the stream when its caller goes.
        operations: where events are.
        name: of one deployment only.
        after: only those with a greater number; negative for those that happen from now on.
        shown: which of them.
    """
    return StreamingResponse(
        _events(request, operations, name, after, shown),
        media_type="text/event-stream",
        headers={"x-accel-buffering": "no"},
    )


async def _events(
    request: Request,
    operations: PlatformOperations,
    name: str | None,
    after: int,
    shown: Callable[[EventView], bool],
) -> AsyncIterator[bytes]:
    if after < 0:
        newest = await run_in_threadpool(operations.events, name, limit=1, newest=True)
        after = newest[-1].id if newest else 0
    # At once, so that whoever reads knows that nothing is missed from here on.
    yield f": after {after}\n\n".encode()
    quiet_s = 0.0
    while not is_stopping(request) and not await request.is_disconnected():
        found = await run_in_threadpool(operations.events, name, after=after)
        for event in found:
            after = event.id
            if shown(event):
                yield _sent(event)
        quiet_s = 0.0 if found else quiet_s + _LOOK_EVERY_S
        if quiet_s >= _KEEP_ALIVE_S:
            quiet_s = 0.0
            yield b": alive\n\n"
        if not found:
            await anyio.sleep(_LOOK_EVERY_S)


def is_stopping(request: Request) -> bool:
    """Whether the control plane is about to end: streams end first, so that it need not wait."""
    return bool(getattr(request.app.state, "stopping", False))


def _sent(event: EventView) -> bytes:
    return f"id: {event.id}\nevent: {event.kind}\ndata: {event.model_dump_json()}\n\n".encode()


def log_stream(lines: Iterator[str]) -> StreamingResponse:
    """Return the answer that passes a log on as it grows."""
    return StreamingResponse(
        _lines(lines), media_type="text/plain; charset=utf-8", headers={"x-accel-buffering": "no"}
    )


async def _lines(lines: Iterator[str]) -> AsyncIterator[bytes]:
    end = object()
    # Whoever follows a log holds a thread while it is quiet: never one of the other requests'.
    alone = anyio.CapacityLimiter(1)
    try:
        while True:
            line = await anyio.to_thread.run_sync(
                next, lines, end, abandon_on_cancel=True, limiter=alone
            )
            if line is end:
                return
            yield f"{str(line).rstrip(chr(10))}\n".encode()
    finally:
        close = getattr(lines, "close", None)
        if close is not None:
            with suppress(ValueError):  # it is being read: its thread ends it
                close()
