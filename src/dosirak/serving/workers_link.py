"""Calls of a service in other processes, here or at another server: values, bytes, values.

The bytes are those of the api's own codec, as a client would send them; nothing is pickled. They
are written and read where the call is made, so that a thread's large array does not hold up the
loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from typing import Any, Protocol

import msgspec

from dosirak.errors import (
    DosirakError,
    FieldProblem,
    RemoteError,
    ServiceError,
    error_class,
)
from dosirak.payload.callers import ClientCodec, compile_client_codec
from dosirak.payload.codec import SignatureCodec
from dosirak.payload.signature import Signature
from dosirak.payload.wire import WireRequest, WireResponse, WireStream
from dosirak.spec.calling import inherited, on_event_loop, seconds_left, too_late
from dosirak.spec.context import Context
from dosirak.spec.service_spec import ApiSpec, ServiceSpec

_END = object()
# The dispatcher answers at the deadline by itself; this is for when nobody does.
_SLACK_S = 1.0


class Asks(Protocol):
    """Has a call answered elsewhere: by way of the front, or by another server."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where `call` runs."""
        ...

    async def call(
        self, service: str, api: str, request: WireRequest, context: Context
    ) -> WireResponse | WireStream:
        """Have one call answered; cancelling this cancels the call."""
        ...


class WorkersLink:
    """Calls a service in another process (see `spec.calling.Link`).

    Args:
        spec: the service.
        asking: reaches it.
    """

    def __init__(self, spec: ServiceSpec, asking: Asks) -> None:
        self._spec = spec
        self._asking = asking
        self._codecs = {api.name: _codec_of(api) for api in spec.apis}

    def call(self, api: ApiSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call and wait; a stream is an iterator.

        Raises:
            UsageError: it would block the event loop (the calling service's fault).
            DosirakError: the other service's error, or what prevented an answer.
        """
        if _running_loop() is self._asking.loop:
            raise on_event_loop(self._spec, api)
        context = inherited(api)
        request = self._request(api, context, args, kwargs)
        if api.streams:
            return self._items(api, request, context)
        answer = self._soon(self._ask(api, request, context)).result()
        return self._value(api, answer)

    def call_async(self, api: ApiSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what can be awaited; a stream is an async iterator."""
        if api.streams:
            return self._async_items(api, args, kwargs)
        return self._awaited(api, args, kwargs)

    def begin(self, api: ApiSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Send a call; its answer is read on the loop."""
        context = inherited(api)
        request = self._request(api, context, args, kwargs)
        return self._soon(self._answered(api, request, context))

    def _soon(self, work: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._asking.loop)

    def _request(
        self, api: ApiSpec, context: Context, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> WireRequest:
        # The other side makes its own context.
        kwargs = {name: value for name, value in kwargs.items() if name != api.context_parameter}
        codec = self._codecs[api.name]
        content_type, body = codec.encode_arguments(args, kwargs)
        headers = {
            **context.headers,
            "content-type": content_type,
            "accept": codec.accept,
            "x-request-id": context.request_id,
        }
        return WireRequest(body, content_type, codec.accept, headers, method=api.methods[0])

    async def _ask(
        self, api: ApiSpec, request: WireRequest, context: Context
    ) -> WireResponse | WireStream:
        left_s = seconds_left(context)
        try:
            async with asyncio.timeout(None if left_s is None else left_s + _SLACK_S):
                return await self._asking.call(self._spec.name, api.name, request, context)
        except TimeoutError as error:
            raise too_late(api) from error

    async def _answered(self, api: ApiSpec, request: WireRequest, context: Context) -> Any:
        return self._value(api, await self._ask(api, request, context))

    async def _awaited(self, api: ApiSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        context = inherited(api)
        return await self._answered(api, self._request(api, context, args, kwargs), context)

    def _value(self, api: ApiSpec, answer: WireResponse | WireStream) -> Any:
        answer = self._whole(api, answer)
        try:
            return self._codecs[api.name].decode_result(answer.content_type, bytes(answer.body))
        except RemoteError as error:
            raise self._unreadable(api) from error

    def _whole(self, api: ApiSpec, answer: WireResponse | WireStream) -> WireResponse:
        if not isinstance(answer, WireResponse):
            raise self._unreadable(api)
        if answer.status >= 400:
            raise _error_of(answer)
        return answer

    def _unreadable(self, api: ApiSpec) -> ServiceError:
        return ServiceError(
            f"The answer of {self._spec.name}.{api.name} is not what it declares.",
            remedy="Look at the service's log.",
        )

    def _items(self, api: ApiSpec, request: WireRequest, context: Context) -> Iterator[Any]:
        items = self._decoded(api, request, context)
        try:
            while (item := self._soon(_anext(items)).result()) is not _END:
                yield item
        finally:
            self._soon(_aclose(items)).result()

    async def _async_items(
        self, api: ApiSpec, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncIterator[Any]:
        context = inherited(api)
        items = self._decoded(api, self._request(api, context, args, kwargs), context)
        try:
            async for item in items:
                yield item
        finally:
            await _aclose(items)

    async def _decoded(
        self, api: ApiSpec, request: WireRequest, context: Context
    ) -> AsyncIterator[Any]:
        stream = await self._ask(api, request, context)
        if isinstance(stream, WireResponse):
            self._whole(api, stream)
            raise self._unreadable(api)
        chunks: Any = stream.chunks
        try:
            codec = self._codecs[api.name]
            async for item in codec.decode_async_stream(stream.content_type, stream.chunks):
                yield item
        except RemoteError as error:
            raise _kindred(error.remote_code, error.message, error.remedy, error.fields) from error
        finally:
            await chunks.aclose()


class _Problem(msgspec.Struct):
    """An error as every api writes it."""

    error: str = ""
    code: str = ""
    remedy: str | None = None
    fields: list[dict[str, Any]] | None = None
    request_id: str = ""


def _codec_of(api: ApiSpec) -> ClientCodec:
    described = api.codec.describe()
    # The author's own types where they are known; a schema alone gives plain ones.
    own = api.codec.signature if isinstance(api.codec, SignatureCodec) else None
    signature = own or Signature.from_description(described)
    return compile_client_codec(signature, described["request_media_types"])


def _error_of(answer: WireResponse) -> DosirakError:
    try:
        problem = msgspec.json.decode(answer.body, type=_Problem, strict=False)
    except msgspec.MsgspecError:
        return ServiceError(f"The other service answered with status {answer.status}.")
    fields = [
        FieldProblem(str(one.get("field", "")), str(one.get("reason", "")))
        for one in problem.fields or ()
    ]
    error = _kindred(problem.code, problem.error, problem.remedy, fields)
    error.request_id = problem.request_id
    return error


def _kindred(code: str, message: str, remedy: str | None, fields: Any) -> DosirakError:
    kind = error_class(code)
    if kind is None or kind is RemoteError:
        kind = ServiceError
    return kind(message, remedy=remedy or "", fields=fields)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _anext(items: AsyncIterator[Any]) -> Any:
    return await anext(items, _END)


async def _aclose(items: Any) -> None:
    await items.aclose()
