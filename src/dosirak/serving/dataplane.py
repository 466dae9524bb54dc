"""One instance of a service, and calls of its apis. Knows no transport and no process.

    bytes ─decode─▶ arguments ─handler─▶ result ─encode─▶ bytes

Sync handlers run on a pool of `resources.threads` threads: one unless the author asks for more,
because few models are safe to call from two threads at once. For them decoding, the call and
encoding are one trip to a thread. Async handlers run on the loop. A batchable api is given each
request as a batch of its own.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol

from dosirak.errors import (
    ApiNotFound,
    DeadlineExceeded,
    DosirakError,
    ResultError,
    ServiceError,
)
from dosirak.models import Model
from dosirak.models.examples import replay
from dosirak.observe.health import Health
from dosirak.observe.timings import CallTimings
from dosirak.payload.wire import Arguments, WireRequest, WireResponse, WireStream
from dosirak.serving import handlers
from dosirak.serving.answers import with_context
from dosirak.spec.context import Context
from dosirak.spec.service_spec import ApiSpec, ServiceSpec


class LoadableModel(Protocol):
    """A stored model that the service needs."""

    def load(self) -> Any:
        """Return the model's own object."""
        ...


class Dataplane:
    """Runs one instance of a service.

    Args:
        spec: the service.
        models: the stored model for each required attribute.
        on_hang: told the api's name when a sync handler is still running `hang_grace_s` after its
            deadline; its thread cannot be taken back.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        models: Mapping[str, LoadableModel],
        *,
        on_hang: Callable[[str], None] | None = None,
        hang_grace_s: float = 5.0,
    ) -> None:
        self._spec = spec
        self._models = models
        self._on_hang = on_hang
        self._hang_grace_s = hang_grace_s
        self._threads = ThreadPoolExecutor(
            max(1, spec.resources.threads), thread_name_prefix="dosirak-handler"
        )
        self._apis: dict[str, _BoundApi] = {}
        self._state: dict[str, Any] = {}
        self._loaded: dict[str, Any] = {}
        self._instance: Any = None

    async def start(self) -> None:
        """Load the models, make the instance, run start hooks, taste, run ready hooks.

        Raises:
            DosirakError: a model cannot be loaded or differs from its golden examples.
            ServiceError: the author's constructor or a hook raised; the message says what.
        """
        self._instance = await self._on_thread(self._create)
        await self._run_hooks(self._spec.hooks.start)
        await self._on_thread(self._taste)
        self._apis = {api.name: _BoundApi(api, self._instance) for api in self._spec.apis}
        await self._run_hooks(self._spec.hooks.ready)

    async def call(
        self,
        api: str,
        request: WireRequest,
        context: Context,
        timings: CallTimings | None = None,
    ) -> WireResponse | WireStream:
        """Answer one call; errors are encoded as the api's codec writes them.

        Raises:
            ApiNotFound: the service has no such api.
        """
        bound = self._apis.get(api)
        if bound is None:
            raise ApiNotFound(f"The service has no api {api!r}.", remedy="See /openapi.json.")
        context.state = self._state
        try:
            async with asyncio.timeout_at(_loop_deadline(context)):
                return await self._answer(bound, request, context, timings or CallTimings())
        except TimeoutError:
            error: DosirakError = DeadlineExceeded(
                f"The api {api!r} did not answer in time.",
                remedy="Send less at once, or allow more time (X-Request-Timeout, timeout_s).",
            )
        except DosirakError as raised:
            error = raised
        return bound.spec.codec.encode_error(error, request, request_id=context.request_id)

    async def stop(self) -> None:
        """Run stop hooks and end the threads; calls still running on them are abandoned."""
        try:
            if self._instance is not None:
                await self._run_hooks(self._spec.hooks.stop)
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def health(self) -> Health:
        """Ready once `start` has returned."""
        ready = bool(self._apis)
        return Health(
            live=True, ready=ready, reason="Ready." if ready else "The service has not started."
        )

    def _create(self) -> Any:
        self._loaded = {attribute: model.load() for attribute, model in self._models.items()}
        try:
            return self._spec.create(self._loaded)
        except DosirakError:
            raise
        except BaseException as error:
            raise ServiceError(
                f"Making {self._spec.name!r} raised {type(error).__name__}: {error}.",
                remedy="Correct the service's constructor.",
            ) from error

    def _taste(self) -> None:
        for attribute, model in self._models.items():
            if not isinstance(model, Model):
                continue
            differences = replay(model, loaded=self._loaded[attribute])
            if differences:
                raise ServiceError(
                    f"The model {str(model.reference)!r} does not answer its golden examples as it"
                    f" did when it was saved: {'; '.join(differences[:3])}.",
                    remedy="Use the library versions that it was saved with, or save it again.",
                )

    async def _run_hooks(self, names: tuple[str, ...]) -> None:
        for name in names:
            try:
                await self._run_hook(getattr(self._instance, name))
            except DosirakError:
                raise
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError):
                    raise
                raise ServiceError(
                    f"The hook {name!r} of {self._spec.name!r} raised"
                    f" {type(error).__name__}: {error}.",
                    remedy="Correct the hook.",
                ) from error

    async def _run_hook(self, hook: Callable[[], Any]) -> None:
        if inspect.iscoroutinefunction(hook):
            await hook()
        else:
            await self._on_thread(hook)

    async def _on_thread(self, function: Callable[[], Any]) -> Any:
        def carry() -> tuple[Any, BaseException | None]:
            # `StopIteration` and `SystemExit` cannot cross a future.
            try:
                return function(), None
            except BaseException as error:
                return None, error

        value, error = await asyncio.get_running_loop().run_in_executor(self._threads, carry)
        if error is not None:
            raise error
        return value

    async def _answer(
        self, bound: _BoundApi, request: WireRequest, context: Context, timings: CallTimings
    ) -> WireResponse | WireStream:
        if bound.spec.streams:
            return await self._stream(bound, request, context, timings)
        if bound.spec.is_async:
            return await self._answer_on_loop(bound, request, context, timings)
        return await self._answer_on_thread(bound, request, context, timings)

    async def _answer_on_loop(
        self, bound: _BoundApi, request: WireRequest, context: Context, timings: CallTimings
    ) -> WireResponse:
        began_s = time.monotonic()
        arguments = bound.decode(request, context)
        result = await handlers.shield_awaitable(
            bound.invoke(arguments, context), api=bound.spec.name, request_id=context.request_id
        )
        response = bound.encode(result, request, context)
        timings.compute_s = time.monotonic() - began_s
        return response

    async def _answer_on_thread(
        self, bound: _BoundApi, request: WireRequest, context: Context, timings: CallTimings
    ) -> WireResponse:
        queued_s = time.monotonic()

        def answer() -> WireResponse:
            began_s = time.monotonic()
            timings.queue_s = began_s - queued_s
            arguments = bound.decode(request, context)
            invoke = handlers.shield_user_code(
                bound.invoke, api=bound.spec.name, request_id=context.request_id
            )
            response = bound.encode(invoke(arguments, context), request, context)
            timings.compute_s = time.monotonic() - began_s
            return response

        running = self._threads.submit(answer)
        self._watch(bound, running, context)
        return await asyncio.wrap_future(running)

    async def _stream(
        self, bound: _BoundApi, request: WireRequest, context: Context, timings: CallTimings
    ) -> WireStream:
        began_s = time.monotonic()
        arguments = bound.decode(request, context)
        # What Accept asks for is judged first: a caller who can be sent nothing starts nothing.
        items = handlers.LaterItems()
        stream = bound.encode_stream(items, request, context)
        where = {"api": bound.spec.name, "request_id": context.request_id}
        generator = handlers.shield_user_code(bound.invoke, **where)(arguments, context)
        if not bound.spec.is_async:
            generator = handlers.iterate_off_loop(generator, self._threads)
        items.source = await handlers.prime(handlers.shield_stream(generator, **where))
        timings.compute_s = time.monotonic() - began_s
        return stream

    def _watch(self, bound: _BoundApi, running: Future[Any], context: Context) -> None:
        on_hang = self._on_hang
        if on_hang is None or context.deadline_s is None:
            return

        def look() -> None:
            if running.running():
                on_hang(bound.spec.name)

        loop = asyncio.get_running_loop()
        timer = loop.call_at(context.deadline_s + self._hang_grace_s, look)
        running.add_done_callback(lambda _done: loop.call_soon_threadsafe(timer.cancel))


class _BoundApi:
    """One api with its handler found on the instance.

    What reads and writes values may raise what is no `Exception` (a panic in a library's Rust):
    every call is answered all the same.
    """

    def __init__(self, spec: ApiSpec, instance: Any) -> None:
        self.spec = spec
        self._handler = spec.bind(instance)

    def decode(self, request: WireRequest, context: Context) -> Arguments:
        try:
            return self.spec.codec.decode(request)
        except BaseException as error:
            raise handlers.decoding_error(
                error, api=self.spec.name, request_id=context.request_id
            ) from error

    def invoke(self, arguments: Arguments, context: Context) -> Any:
        if self.spec.context_parameter is None:
            return self._handler(*arguments.args, **arguments.kwargs)
        return self._handler(
            *arguments.args, **arguments.kwargs, **{self.spec.context_parameter: context}
        )

    def encode(self, result: Any, request: WireRequest, context: Context) -> WireResponse:
        try:
            if inspect.isawaitable(result) or inspect.isgenerator(result):
                raise ResultError(
                    f"The api {self.spec.name!r} returned a {type(result).__name__}.",
                    remedy="Make the handler itself async, or a generator function.",
                )
            return with_context(self.spec.codec.encode(result, request), context)
        except BaseException as error:
            raise handlers.encoding_error(
                error, api=self.spec.name, request_id=context.request_id
            ) from error

    def encode_stream(self, items: Any, request: WireRequest, context: Context) -> WireStream:
        try:
            stream = with_context(self.spec.codec.encode_stream(items, request), context)
            return replace(stream, chunks=handlers.close_with(stream.chunks, items))
        except BaseException as error:
            raise handlers.encoding_error(
                error, api=self.spec.name, request_id=context.request_id
            ) from error


def _loop_deadline(context: Context) -> float | None:
    if context.deadline_s is None:
        return None
    # The loop's clock may not be `time.monotonic` (uvloop counts whole milliseconds).
    return asyncio.get_running_loop().time() + max(0.0, context.deadline_s - time.monotonic())
