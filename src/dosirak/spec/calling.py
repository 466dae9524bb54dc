"""How one service calls another: the object in the caller's attribute, and who carries its calls.

    self.other.predict(x)                 ─┐
    await self.other.to_async.predict(x)   ├─▶ Dependency ─▶ Link ─▶ a handler, here or elsewhere
    self.other.to_future.predict(x)       ─┘

The object is the same wherever the other service runs; a `Link` knows where. What a call inherits
from the one that it is made for (request id, trace headers, deadline) is in a context variable,
which is set around the handlers of services that call others, and for no longer.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, cast

from dosirak.errors import DeadlineExceeded, DosirakError, InvalidService, ServiceError, UsageError
from dosirak.spec.context import HANDED_ON, Context
from dosirak.spec.service_spec import ApiSpec, ServiceSpec

_END = object()
_VIEWS = frozenset({"to_async", "to_future"})

_current_call: ContextVar[Context | None] = ContextVar("dosirak_current_call", default=None)


class Link(Protocol):
    """Carries calls to a service, wherever it runs."""

    def call(self, api: ApiSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call and wait; a stream is an iterator."""
        ...

    def call_async(self, api: ApiSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what can be awaited; a stream is an async iterator."""
        ...

    def begin(self, api: ApiSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Begin a call, which is not a stream, and return at once."""
        ...


class Dependency:
    """Another service, as the one that depends on it sees it: a method for each api.

    Attributes:
        to_async: the same methods, to be awaited, or iterated over with `async for`.
        to_future: the same methods, which return a future at once; no streams.
    """

    def __init__(self, spec: ServiceSpec, link: Link) -> None:
        self._spec = spec
        self._call = link.call
        self.to_async = _View(spec, link.call_async)
        self.to_future = _View(spec, _beginner(link))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return _method(self._spec, name, self._call)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(api.name for api in self._spec.apis)})

    def __repr__(self) -> str:
        return f"<dependency {self._spec.name!r}>"


class _View:
    """The apis of a service, called in one way."""

    def __init__(self, spec: ServiceSpec, carry: Callable[..., Any]) -> None:
        self._spec = spec
        self._carry = carry

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return _method(self._spec, name, self._carry)


def _method(spec: ServiceSpec, name: str, carry: Callable[..., Any]) -> Callable[..., Any]:
    api = spec.api(name) if not name.startswith("_") else None
    if api is None:
        known = ", ".join(api.name for api in spec.apis)
        raise AttributeError(f"The service {spec.name!r} has no api {name!r}; it has: {known}.")
    return lambda *args, **kwargs: carry(api, args, kwargs)


def _beginner(link: Link) -> Callable[..., Future[Any]]:
    def begin(api: ApiSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        if api.streams:
            raise UsageError(
                f"The api {api.name!r} streams; a future has one result.",
                remedy="Iterate over it, or use to_async with `async for`.",
            )
        return link.begin(api, args, kwargs)

    return begin


def check_callable(spec: ServiceSpec) -> None:
    """Refuse a service whose apis hide what a dependency has itself.

    Raises:
        InvalidService: one does (the author's fault).
    """
    for api in spec.apis:
        if api.name in _VIEWS:
            raise InvalidService(
                f"The service {spec.name!r} has an api {api.name!r}, which every dependency has"
                " itself.",
                remedy="Give the api another name.",
            )


@contextmanager
def calling_for(context: Context) -> Generator[None]:
    """Let calls of other services that are made in this block inherit from a call."""
    token = _current_call.set(context)
    try:
        yield
    finally:
        _current_call.reset(token)


def current_call() -> Context | None:
    """Return the call for which this code runs, where the service is one that calls others."""
    return _current_call.get()


def within_call(result: Any, context: Context) -> Any:
    """Return what a handler returned so that what is left of its call is known as such, too.

    A coroutine and the items of a generator run after the handler has returned, and in tasks and
    on threads that serve other calls in between.
    """
    if inspect.iscoroutine(result):
        return _awaiting(result, context)
    if inspect.isasyncgen(result):
        return _stepping_async(cast("AsyncGenerator[Any, None]", result), context)
    if inspect.isgenerator(result):
        return _stepping(cast("Generator[Any, None, None]", result), context)
    return result


async def _awaiting(result: Coroutine[Any, Any, Any], context: Context) -> Any:
    with calling_for(context):
        return await result


async def _stepping_async(
    items: AsyncGenerator[Any, None], context: Context
) -> AsyncGenerator[Any, None]:
    try:
        while True:
            with calling_for(context):
                item = await anext(items, _END)
            if item is _END:
                return
            yield item
    finally:
        await items.aclose()


def _stepping(items: Generator[Any, None, None], context: Context) -> Generator[Any, None, None]:
    try:
        while True:
            with calling_for(context):
                item = next(items, _END)
            if item is _END:
                return
            yield item
    finally:
        items.close()


def inherited(api: ApiSpec) -> Context:
    """Return the context of a call of another service's api, made now.

    Its headers are those that one call hands on to the next; its deadline is the caller's, or the
    api's own if that is sooner.

    Raises:
        DeadlineExceeded: the caller's deadline has passed.
    """
    own_s = None if api.timeout_s is None else time.monotonic() + api.timeout_s
    caller = _current_call.get()
    if caller is None:
        return Context(deadline_s=own_s)
    headers = {name: caller.headers[name] for name in HANDED_ON if name in caller.headers}
    deadlines_s = [at_s for at_s in (caller.deadline_s, own_s) if at_s is not None]
    context = Context(caller.request_id, headers, deadline_s=min(deadlines_s, default=None))
    if seconds_left(context) == 0.0:
        raise too_late(api)
    return context


def shared_by(contexts: Sequence[Context]) -> Context:
    """Return the context of one handler call that is made for several callers.

    It goes on as long as any of them waits. In logs and traces it is the first one's.
    """
    deadlines_s = [context.deadline_s for context in contexts if context.deadline_s is not None]
    latest_s = max(deadlines_s) if len(deadlines_s) == len(contexts) and contexts else None
    first = contexts[0] if contexts else Context()
    return Context(first.request_id, first.headers, deadline_s=latest_s)


def seconds_left(context: Context) -> float | None:
    """Return the time until a context's deadline, at least 0; None without limit."""
    return context.remaining_s


def too_late(api: ApiSpec) -> DeadlineExceeded:
    """Return the error for a call that was not answered by its deadline."""
    return DeadlineExceeded(
        f"The api {api.name!r} did not answer in time.",
        remedy="Send less at once, or allow more time (X-Request-Timeout, timeout_s).",
    )


def dependency_error(error: Exception, spec: ServiceSpec, api: ApiSpec) -> DosirakError:
    """Return what a caller in another service sees of an error, wherever that service runs.

    The errors of the tree go through as they are; what else a handler raises is a `ServiceError`,
    as it would be from another process.
    """
    if isinstance(error, DosirakError):
        return error
    return ServiceError(
        f"The api {api.name!r} of {spec.name!r} failed.",
        remedy="Look up the request id in the server's log; the cause is in the traceback.",
    )


def on_event_loop(spec: ServiceSpec, api: ApiSpec) -> UsageError:
    """Return the error for a call that would block the loop on which it is made."""
    return UsageError(
        f"{spec.name}.{api.name} was called on the event loop, which it would block.",
        remedy=f"Write `await ….to_async.{api.name}(…)` in async code.",
    )
