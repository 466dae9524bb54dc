"""Running user code: sync on the worker's threads, async on its loop, generators piece by piece.

Whatever user code raises leaves here as a `DosirakError`: what it raised for its caller goes
through, everything else becomes a neutral `ServiceError` and its traceback goes to the log.
Contexts are passed as plain arguments; no context variable is set, so none can leak between calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Executor
from contextvars import copy_context
from typing import Any, NoReturn, TypeVar, cast

from dosirak.errors import (
    Conflict,
    DosirakError,
    FieldProblem,
    InvalidInput,
    NotFound,
    RequestError,
    ResultError,
    ServiceError,
    Unavailable,
)
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.payload.wire import StreamOutcome

ReturnT = TypeVar("ReturnT")

SEE_LOG = "Look up the request id in the server's log."
_END = object()
_log = logging.getLogger(f"{ROOT_LOGGER}.serving")


def is_for_caller(error: BaseException) -> bool:
    """Whether user code raised this for its caller to read.

    Only errors about the request or the load: a `ModelNotFound` from deep inside a handler says
    nothing that a remote caller should know.
    """
    return isinstance(error, RequestError | Unavailable) or type(error) in (NotFound, Conflict)


def raise_shown(shown: BaseException, error: BaseException) -> NoReturn:
    """Raise what is shown of an error, with the error as its cause.

    Unless it is the same: an error that is its own cause, like one that a frame of its traceback
    holds, lives until the collector comes, and so does the request in its frames.
    """
    try:
        if shown is error:
            raise shown
        raise shown from error
    finally:
        del shown, error


def shield_user_code(
    function: Callable[..., ReturnT], *, api: str, request_id: str
) -> Callable[..., ReturnT]:
    """Wrap sync user code so that only `DosirakError` and cancellation leave it."""

    def shielded(*args: Any, **kwargs: Any) -> ReturnT:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            raise_shown(caller_error(error, api=api, request_id=request_id), error)

    return shielded


async def shield_awaitable(awaitable: Awaitable[ReturnT], *, api: str, request_id: str) -> ReturnT:
    """Await user code so that only `DosirakError` and cancellation leave it."""
    try:
        return await awaitable
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        raise_shown(caller_error(error, api=api, request_id=request_id), error)


def caller_error(error: BaseException, *, api: str, request_id: str) -> DosirakError:
    """Turn what user code raised into what its caller may see; log the rest.

    `BaseException`, because `sys.exit()` in a handler must not end the worker, and `StopIteration`
    must not end a loop of ours.
    """
    if isinstance(error, DosirakError) and is_for_caller(error):
        return error
    _log_raised("The api", error, api=api, request_id=request_id)
    return ServiceError(
        f"The api {api!r} failed.",
        remedy=SEE_LOG,
    )


def _log_raised(what: str, error: BaseException, *, api: str, request_id: str) -> None:
    _log.error(
        "%s %s raised %s [request %s].",
        what,
        api,
        type(error).__name__,
        request_id,
        exc_info=error,
        extra={"request_id": request_id},
    )


def decoding_error(error: BaseException, *, api: str, request_id: str) -> DosirakError:
    """Turn what a codec raised while reading a request into the caller's error."""
    if isinstance(error, DosirakError):
        return error
    _log_raised("Reading a request of", error, api=api, request_id=request_id)
    return InvalidInput(
        "The body could not be read.",
        remedy="Compare it with the schema at /openapi.json.",
        fields=[FieldProblem("", "could not be read")],
    )


def encoding_error(error: BaseException, *, api: str, request_id: str) -> DosirakError:
    """Turn what a codec raised while writing a result into the service's error."""
    if isinstance(error, ResultError) or not isinstance(error, DosirakError):
        _log_raised("Writing the result of", error, api=api, request_id=request_id)
    if isinstance(error, DosirakError):
        return error
    return ResultError(
        f"The result of {api!r} could not be written.",
        remedy=SEE_LOG,
    )


async def iterate_off_loop(iterator: Iterator[Any], threads: Executor) -> AsyncIterator[Any]:
    """Take a sync generator's items one by one on the worker's threads."""
    loop = asyncio.get_running_loop()
    # The items are one piece of work, whichever threads run it: context variables go with it.
    variables = copy_context()
    pending: asyncio.Future[Any] | None = None

    def take() -> Any:
        return variables.run(next, iterator, _END)

    try:
        while True:
            pending = loop.run_in_executor(threads, take)
            item = await asyncio.shield(pending)
            if item is _END:
                return
            yield item
    finally:
        await _close_off_loop(iterator, pending, threads)


async def _close_off_loop(
    iterator: Iterator[Any], pending: asyncio.Future[Any] | None, threads: Executor
) -> None:
    # A generator that is running cannot be closed: close it after its present item.
    def close_after() -> None:
        cast(Any, iterator).close()

    if pending is not None and not pending.done():
        pending.add_done_callback(lambda _done: threads.submit(close_after))
        return
    await asyncio.get_running_loop().run_in_executor(threads, close_after)


async def shield_stream(
    items: AsyncIterator[Any], *, api: str, request_id: str
) -> AsyncIterator[Any]:
    """Pass items on so that only `DosirakError` and cancellation leave the generator."""
    try:
        async for item in items:
            yield item
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as error:
        raise_shown(caller_error(error, api=api, request_id=request_id), error)
    finally:
        await _close(items)


async def prime(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Wait for the first item, so that an error before it can still choose the status.

    Raises:
        DosirakError: what the generator raised before its first item.
    """
    try:
        first = await anext(items)
    except StopAsyncIteration:
        return _rest(items, [])
    except BaseException:
        await _close(items)
        raise
    return _rest(items, [first])


class LaterItems(AsyncIterator[Any]):
    """Items whose encoding is chosen before their generator starts; `source` is set in between."""

    def __init__(self) -> None:
        self.source: AsyncIterator[Any] | None = None

    async def __anext__(self) -> Any:
        if self.source is None:
            raise StopAsyncIteration
        return await anext(self.source)

    async def aclose(self) -> None:
        """Close the generator, if there is one by now."""
        if self.source is not None:
            await _close(self.source)


async def close_with(
    chunks: AsyncIterator[bytes], items: AsyncIterator[Any]
) -> AsyncIterator[bytes]:
    """Pass chunks on, and close the generator they are made from whenever they end."""
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        await _close(chunks)
        await _close(items)


async def note_outcome(
    chunks: AsyncIterator[bytes], outcome: StreamOutcome, *, api: str, request_id: str
) -> AsyncIterator[bytes]:
    """Pass chunks on; when an error ended them, say so in the outcome and in the log."""
    try:
        async for chunk in chunks:
            yield chunk
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as error:
        outcome.error = encoding_error(error, api=api, request_id=request_id)
        raise outcome.error from error
    finally:
        await _close(chunks)
    if isinstance(outcome.error, ResultError):
        # It became a piece of the stream; what user code raised is in the log already.
        encoding_error(outcome.error, api=api, request_id=request_id)


async def _rest(items: AsyncIterator[Any], first: list[Any]) -> AsyncIterator[Any]:
    try:
        for item in first:
            yield item
        async for item in items:
            yield item
    finally:
        await _close(items)


async def _close(items: AsyncIterator[Any]) -> None:
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()
