"""Calls of a service that another server serves: the native client's conversations, over HTTP.

    WorkersLink ─WireRequest─▶ RemoteCalls ─▶ client.exchange (retries) ─▶ other server
                ◀─ WireResponse │ WireStream ─

The same seam as the way to the front (`asking.Asking`), so that arguments, results, streams and
deadlines are written and read by one piece of code wherever a dependency is. What a caller of
this server is told of a failure names the service and never its address; the log does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
import msgspec

from dosirak.client.address import Address
from dosirak.client.answer import NO_REMEDY, Answer
from dosirak.client.exchange import TRANSPORT_ERRORS, Exchange, Opened
from dosirak.client.performing import AsyncPerformer
from dosirak.client.request import TIMEOUT_HEADER, PreparedRequest, with_query
from dosirak.client.stream import reading_stream
from dosirak.errors import (
    ApiNotFound,
    DeadlineExceeded,
    DosirakError,
    MethodNotAllowed,
    MisdirectedRequest,
    NotAcceptable,
    RemoteError,
    ServiceError,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.payload.media import choose, parse_media_type
from dosirak.payload.wire import WireRequest, WireResponse, WireStream
from dosirak.spec.calling import seconds_left, too_late
from dosirak.spec.context import Context
from dosirak.spec.service_spec import ApiSpec, ServiceSpec

# Said by a server that serves something else, or another version of it.
_ANOTHER_SERVICE = (
    ApiNotFound,
    MethodNotAllowed,
    NotAcceptable,
    RemoteError,
    UnsupportedMediaType,
)
MAX_ANSWER_BYTES = 256 * 1024 * 1024
_STILL_RUNNING = 202
_FIRST_LOOK_S = 0.05
_LONGEST_LOOK_S = 2.0

_log = logging.getLogger(f"{ROOT_LOGGER}.serving.worker")


class RemoteCalls:
    """Has calls of one service answered at an address (see `workers_link.WorkersLink`).

    Args:
        spec: the service.
        address: where it is served.
        timeout_s: the longest time for a call whose caller and api say nothing else.
        loop: where calls run.
        max_answer_bytes: largest answer, once inflated; an item of a stream may be as large.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        address: Address,
        *,
        timeout_s: float,
        loop: asyncio.AbstractEventLoop,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._spec = spec
        self._address = address
        self._timeout_s = timeout_s
        self._exchange = Exchange()
        self._http = httpx2.AsyncClient(follow_redirects=False)
        self._performer = AsyncPerformer(
            self._http, address.base, max_answer_bytes=max_answer_bytes
        )
        self.loop = loop

    async def call(
        self, service: str, api: str, request: WireRequest, context: Context
    ) -> WireResponse | WireStream:
        """Have one call answered; cancelling this cancels the call.

        Raises:
            Unavailable: nothing answers there.
            ServiceError: what answers is another service, or no stream where one was asked for.
            DeadlineExceeded: the answer did not come in time.
            DosirakError: the service's own error.
        """
        called = self._spec.api(api)
        assert called is not None  # noqa: S101 - the link knows the same apis
        try:
            if called.kind == "task":
                return _response(await self._run_task(called, request, context))
            outcome = await self._send(called, request, context, path=called.route)
        except DosirakError as error:
            raise self._seen_by_caller(called, error) from error
        if isinstance(outcome, Opened):
            await self._check_stream(called, outcome, request.accept)
            return WireStream(_Pieces(self, called, outcome), outcome.content_type)
        return _response(outcome)

    async def _check_stream(self, api: ApiSpec, opened: Opened, accept: str) -> None:
        name = parse_media_type(opened.content_type).name
        if name and choose(accept, (name,)) is not None:
            return
        await opened.response.aclose()
        _log.error(
            "%s at %s answers %s with %s, which is no stream that was asked for.",
            self._spec.name, self._address.base, api.name, name or "no media type",
        )  # fmt: skip
        raise ServiceError(
            f"What answers for {self._spec.name!r} sends no stream for {api.name!r}.",
            remedy="Serve the same version of it at the address that the server's log names.",
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _send(
        self, api: ApiSpec, request: WireRequest, context: Context, *, path: str
    ) -> Answer | Opened:
        left_s = seconds_left(context)
        headers = {**request.headers, **self._credential()}
        if left_s is not None:
            # A stream's, too: the client itself gives those no end.
            headers[TIMEOUT_HEADER] = f"{max(left_s, 0.001):.3f}"
        prepared = PreparedRequest(
            method=request.method,
            url=self._address.at(path),
            headers=headers,
            body=bytes(request.body),
            # A submission that is repeated is a second task.
            idempotent=api.idempotent and api.kind != "task",
            whole=not api.streams,
        )
        timeout_s = self._timeout_s if left_s is None else left_s
        return await self._performer.run(self._exchange.carry_out(prepared, timeout_s=timeout_s))

    async def _run_task(self, api: ApiSpec, request: WireRequest, context: Context) -> Answer:
        submitted = await self._send(api, request, context, path=f"{api.route}/submit")
        assert isinstance(submitted, Answer)  # noqa: S101 - a task does not stream
        task_id = _task_id(submitted, self._address.base)
        headers = {**request.headers, **self._credential()}
        headers.pop("content-type", None)
        url = with_query(self._address.at(f"{api.route}/get"), task_id=task_id)
        asking = PreparedRequest("GET", url, headers)
        wait_s = _FIRST_LOOK_S
        while True:
            left_s = seconds_left(context)
            if left_s == 0.0:
                raise too_late(api)
            timeout_s = self._timeout_s if left_s is None else left_s
            asked = self._exchange.carry_out(asking, timeout_s=timeout_s)
            answer = await self._performer.run(asked)
            assert isinstance(answer, Answer)  # noqa: S101 - asked for whole
            if answer.status != _STILL_RUNNING:
                return answer
            await asyncio.sleep(wait_s if left_s is None else min(wait_s, left_s))
            wait_s = min(_LONGEST_LOOK_S, wait_s * 1.5)

    def _credential(self) -> Mapping[str, str]:
        authorization = self._address.authorization
        return {"authorization": authorization} if authorization else {}

    def _seen_by_caller(self, api: ApiSpec, error: DosirakError) -> DosirakError:
        """Return what a caller of this server may know of an error of the other."""
        name = self._spec.name
        if isinstance(error.__cause__, TRANSPORT_ERRORS):
            _log.warning("Calling %s.%s failed: %s", name, api.name, error)
            if isinstance(error, DeadlineExceeded):
                return too_late(api)
            return Unavailable(
                f"The service {name!r}, on which this one depends, cannot be reached.",
                remedy="Try again in a moment; the server's log has the address.",
            )
        if isinstance(error, Unauthorized | MisdirectedRequest):
            _log.error("%s refuses this server: %s", name, error)
            return ServiceError(
                f"The service {name!r} refuses this server.",
                remedy="Look at the server's log; its token there may be wrong or missing.",
            )
        if isinstance(error, _ANOTHER_SERVICE):
            _log.error("%s is not what answers at %s: %s", name, self._address.base, error)
            return ServiceError(
                f"What answers for {name!r} does not know {api.name!r} as this server does.",
                remedy="Serve the same version of it at the address that the log names.",
            )
        if error.remedy == NO_REMEDY:
            error.remedy = ""  # As it was raised, and as it is in the other places.
        return error

    def broken(self, api: ApiSpec, error: DosirakError) -> DosirakError:
        """Return what a caller may know of the end of a stream."""
        return self._seen_by_caller(api, error)

    @property
    def url(self) -> str:
        """The address, without credentials."""
        return self._address.base


class _Pieces(AsyncIterator[bytes]):
    """A stream's pieces as they come; closing it closes the connection."""

    def __init__(self, calls: RemoteCalls, api: ApiSpec, opened: Opened) -> None:
        self._calls = calls
        self._api = api
        self._opened = opened
        self._began = False

    async def __anext__(self) -> bytes:
        if not self._began:
            self._began = True
            if self._opened.first:
                return self._opened.first
        try:
            with reading_stream(self._calls.url, 0.0):
                piece = await anext(self._opened.pieces, None)
        except DosirakError as error:
            raise self._calls.broken(self._api, error) from error
        if piece is None:
            raise StopAsyncIteration
        return bytes(piece)

    async def aclose(self) -> None:
        """End the call if its stream has not ended."""
        await self._opened.response.aclose()


def _response(answer: Answer | Opened) -> WireResponse:
    assert isinstance(answer, Answer)  # noqa: S101 - asked for whole
    return WireResponse(answer.body, answer.content_type, answer.status)


def _task_id(answer: Answer, url: str) -> str:
    try:
        told: Any = msgspec.json.decode(answer.body)
        return str(told["task_id"])
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise RemoteError(f"{url} does not answer as a task does.", status=answer.status) from error
