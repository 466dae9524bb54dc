"""Calls of a service in this process: its own handlers, with its own bound on how many run.

    sync  → sync   on the calling thread           async → sync   on the service's threads
    sync  → async  on the loop, the thread waits   async → async  awaited where it is called

Whichever way they come, at most `resources.threads` of its sync handlers run at a time, as when the
service is served alone. Services do not call each other in circles, so that nobody who waits for a
place holds one that the holder of that place waits for.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import partial
from typing import Any

from dosirak.spec.background_loop import LoopHome
from dosirak.spec.calling import (
    dependency_error,
    inherited,
    on_event_loop,
    seconds_left,
    too_late,
)
from dosirak.spec.context import Context
from dosirak.spec.service_spec import ApiSpec, ServiceSpec

Watch = Callable[[str, "Future[Any]", Context], None]

_END = object()


class LocalLink:
    """Calls the handlers of one instance (see `calling.Link`).

    Args:
        spec: the service.
        instance: the author's object.
        state: what the contexts of all its calls share.
        threads: run its sync handlers for async callers.
        home: where its async handlers run for sync callers.
        watch: told of each sync handler's call on a thread that no caller's own call covers.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        instance: Any,
        *,
        state: dict[str, Any],
        threads: Executor,
        home: LoopHome,
        watch: Watch | None = None,
    ) -> None:
        self._watch = watch
        self._spec = spec
        self._state = state
        self._threads = threads
        self._home = home
        self._handlers = {api.name: api.bind(instance) for api in spec.apis}
        self._places = threading.BoundedSemaphore(max(1, spec.resources.threads))

    def call(self, api: ApiSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call and wait; a stream is an iterator.

        Raises:
            UsageError: it would block the event loop (the calling service's fault).
            DosirakError: what the handler raised.
        """
        if self._home.is_here():
            raise on_event_loop(self._spec, api)
        context = inherited(api)
        if api.is_async and api.streams:
            return self._iterated(api, context, args, kwargs)
        if api.is_async:
            return self.begin(api, args, kwargs).result()
        if api.streams:
            return self._items(api, context, args, kwargs)
        return self._run(api, context, args, kwargs)

    def call_async(self, api: ApiSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what can be awaited; a stream is an async iterator."""
        if api.streams:
            return self._async_items(api, args, kwargs)
        return self._awaited(api, args, kwargs)

    def begin(self, api: ApiSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Begin a call on the loop, which hands a sync handler to the service's threads."""
        return asyncio.run_coroutine_threadsafe(self._awaited(api, args, kwargs), self._home.loop())

    def _arguments(self, api: ApiSpec, context: Context, kwargs: dict[str, Any]) -> dict[str, Any]:
        if api.context_parameter is None or api.context_parameter in kwargs:
            return kwargs
        context.state = self._state
        return {**kwargs, api.context_parameter: context}

    def _invoke(
        self, api: ApiSpec, context: Context, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        return self._handlers[api.name](*args, **self._arguments(api, context, kwargs))

    def _run(
        self, api: ApiSpec, context: Context, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        with self._place(api, context), self._shielded(api):
            return self._invoke(api, context, args, kwargs)

    async def _awaited(self, api: ApiSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        context = inherited(api)
        try:
            async with asyncio.timeout(seconds_left(context)):
                with self._shielded(api):
                    if api.is_async:
                        return await self._invoke(api, context, args, kwargs)
                    running = self._begin_on_thread(self._run, api, context, args, kwargs)
                    if self._watch is not None:
                        self._watch(api.name, running, context)
                    return await asyncio.wrap_future(running)
        except TimeoutError as error:
            raise too_late(api) from error

    def _items(
        self, api: ApiSpec, context: Context, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Iterator[Any]:
        items: Iterator[Any] = iter(self._run(api, context, args, kwargs))
        try:
            while (item := self._next(api, context, items)) is not _END:
                yield item
        finally:
            _close(items)

    def _next(self, api: ApiSpec, context: Context, items: Iterator[Any]) -> Any:
        # A place for each item and not for the whole stream: the caller may call us in between.
        with self._place(api, context), self._shielded(api):
            return next(items, _END)

    def _iterated(
        self, api: ApiSpec, context: Context, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Iterator[Any]:
        items = self._invoke(api, context, args, kwargs)
        loop = self._home.loop()
        try:
            while True:
                with self._shielded(api):
                    item = asyncio.run_coroutine_threadsafe(_anext(items), loop).result()
                if item is _END:
                    return
                yield item
        finally:
            asyncio.run_coroutine_threadsafe(_aclose(items), loop).result()

    async def _async_items(
        self, api: ApiSpec, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncIterator[Any]:
        context = inherited(api)
        if not api.is_async:
            items = _Exclusive(self._items(api, context, args, kwargs))
            try:
                while (item := await self._on_thread(items.next)) is not _END:
                    yield item
            finally:
                await self._on_thread(items.close)
            return
        items = self._invoke(api, context, args, kwargs)
        try:
            while True:
                with self._shielded(api):
                    item = await _anext(items)
                if item is _END:
                    return
                yield item
        finally:
            await _aclose(items)

    async def _on_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.wrap_future(self._begin_on_thread(function, *args))

    def _begin_on_thread(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        # What the call is made for goes with it.
        return self._threads.submit(partial(contextvars.copy_context().run, function, *args))

    @contextmanager
    def _place(self, api: ApiSpec, context: Context) -> Generator[None]:
        left_s = seconds_left(context)
        if not self._places.acquire(timeout=left_s):
            raise too_late(api)
        try:
            yield
        finally:
            self._places.release()

    @contextmanager
    def _shielded(self, api: ApiSpec) -> Generator[None]:
        try:
            yield
        except Exception as error:
            shown = dependency_error(error, self._spec, api)
            if shown is error:
                raise
            raise shown from error


class _Exclusive:
    """A generator that is closed after its present item, on whatever threads both are."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self._lock = threading.Lock()

    def next(self) -> Any:
        with self._lock:
            return next(self._items, _END)

    def close(self) -> None:
        with self._lock:
            _close(self._items)


def _close(items: Any) -> None:
    close = getattr(items, "close", None)
    if close is not None:
        close()


async def _anext(items: AsyncIterator[Any]) -> Any:
    return await anext(items, _END)


async def _aclose(items: Any) -> None:
    await items.aclose()
