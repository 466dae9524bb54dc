"""One instance of a service, and calls of its apis. Knows no transport and no process.

    bytes ─decode─▶ arguments ─handler─▶ result ─encode─▶ bytes

Sync handlers run on a pool of `resources.threads` threads: one unless the author asks for more,
because few models are safe to call from two threads at once. For them decoding, the call and
encoding are one trip to a thread; where much is to be read or written, that happens beside the
call before or after (`overlap`). Async handlers run on the loop. `call` gives a batchable api each
request as a batch of its own; `run` takes the requests of one message and joins them.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from dosirak.errors import (
    DosirakError,
    ServiceError,
)
from dosirak.models import Model
from dosirak.models.examples import replay
from dosirak.observe.health import Health
from dosirak.observe.opentelemetry import Propagation
from dosirak.observe.timings import CallTimings
from dosirak.payload.wire import WireRequest, WireResponse, WireStream
from dosirak.serving import handlers
from dosirak.serving.async_batch_run import AsyncBatchRun
from dosirak.serving.batch_run import BatchedCall, BatchRun, BatchSink
from dosirak.serving.bound_api import BoundApi
from dosirak.serving.calls import api_not_found
from dosirak.serving.handler_threads import HandlerThreads
from dosirak.serving.lateness import not_in_time
from dosirak.serving.mount_exchanges import AppFailed, MountExchanges, app_failed
from dosirak.serving.mounted_apps import MountedApps, Receive, Scope, Send
from dosirak.serving.mounts_here import exchanges_here
from dosirak.spec.background_loop import CurrentLoop
from dosirak.spec.context import Context
from dosirak.spec.joined import lend_threads
from dosirak.spec.local_link import LocalLink
from dosirak.spec.service_spec import ServiceSpec


class LoadableModel(Protocol):
    """A stored model that the service needs."""

    def load(self) -> Any:
        """Return the model's own object."""
        ...


class Others(Protocol):
    """The services that one depends on, as far as they run where it does (see `composition`)."""

    async def start(self) -> None:
        """Make them ready to be called."""
        ...

    async def stop(self) -> None:
        """End them."""
        ...

    def for_service(self, spec: ServiceSpec) -> Mapping[str, Any]:
        """Return what calls each dependency of a service, by attribute."""
        ...


class Dataplane:
    """Runs one instance of a service.

    Args:
        spec: the service.
        models: the stored model for each required attribute.
        others: the services that it depends on; they start before it and stop after it.
        on_hang: told the api's name when a sync handler is still running `hang_grace_s` after its
            deadline; its thread cannot be taken back.
        propagation: makes a request's trace current while its handler runs.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        models: Mapping[str, LoadableModel],
        *,
        others: Others | None = None,
        on_hang: Callable[[str], None] | None = None,
        hang_grace_s: float = 5.0,
        timeout_s: float = 60.0,
        propagation: Propagation | None = None,
    ) -> None:
        self._spec = spec
        self._models = models
        self._others = others
        self._on_hang = on_hang
        self._hang_grace_s = hang_grace_s
        self._timeout_s = timeout_s
        self._propagation = propagation
        self._most = max(1, spec.resources.threads)
        self._threads = HandlerThreads(self._most)
        # For one that reads the next message and one that writes the last.
        self._side = HandlerThreads(2, "dosirak-side")
        self._apis: dict[str, BoundApi] = {}
        self._state: dict[str, Any] = {}
        self._loaded: dict[str, Any] = {}
        self._instance: Any = None
        self.mounted = MountedApps(spec.mounts)
        self._exchanges: MountExchanges | None = None

    async def start(self) -> None:
        """Start what it depends on, load the models, make the instance, run start hooks, taste,
        run ready hooks.

        Raises:
            DosirakError: a model cannot be loaded or differs from its golden examples.
            ServiceError: the author's constructor or a hook raised; the message says what.
        """
        if self._others is not None:
            await self._others.start()
        self._instance = await self._on_thread(self._create)
        lend_threads(self._instance, self._threads)
        await self._run_hooks(self._spec.hooks.start)
        await self._on_thread(self._taste)
        # Whoever imported the client by now calls other servers: for whom must then be known.
        calls_others = bool(self._spec.dependencies) or "dosirak.client" in sys.modules
        self._apis = {
            api.name: BoundApi(api, self._instance, self._propagation, calls_others=calls_others)
            for api in self._spec.apis
        }
        await self.mounted.start(self._instance)
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
        bound = self._bound(api)
        context.state = self._state
        try:
            async with asyncio.timeout_at(_loop_deadline(context)):
                return await self._answer(bound, request, context, timings or CallTimings())
        except TimeoutError:
            late = not_in_time(api, context.headers, self._allowed_s(api))
            return bound.spec.codec.encode_error(late, request, request_id=context.request_id)
        except DosirakError as error:
            return bound.spec.codec.encode_error(error, request, request_id=context.request_id)

    async def check(self, api: str, request: WireRequest, context: Context) -> WireResponse | None:
        """Decode a request without calling its handler; return the error that says why not.

        Not on the handlers' threads: a task that runs for an hour must not hold up the next
        one's submission.

        Raises:
            ApiNotFound: the service has no such api.
        """
        bound = self._bound(api)
        try:
            await asyncio.to_thread(bound.decode, request, context)
        except DosirakError as error:
            return bound.spec.codec.encode_error(error, request, request_id=context.request_id)
        return None

    async def serve_mount(
        self, mount: str, scope: Scope, receive: Receive, send: Send, context: Context
    ) -> None:
        """Let a mounted application answer (see `calls.Calls`)."""
        if self._exchanges is None:
            self._exchanges = exchanges_here(self.mounted)
        try:
            await self._exchanges.serve(
                mount, scope, receive, send, lambda _left: None, context.request_id
            )
        except AppFailed as error:
            raise app_failed(mount) from error

    def leave_sockets(self) -> None:
        """Have every WebSocket closed."""
        if self._exchanges is not None:
            self._exchanges.leave_sockets()

    @property
    def state(self) -> dict[str, Any]:
        """What the contexts of all calls share."""
        return self._state

    def run(self, api: str, calls: Sequence[BatchedCall], sink: BatchSink) -> BatchRun:
        """Answer the calls of one message; the sink is told as answers come (see `batch_run`).

        Raises:
            ApiNotFound: the service has no such api.
        """
        bound = self._bound(api)
        kind = AsyncBatchRun if bound.spec.is_async else BatchRun
        run = kind(
            bound,
            calls,
            sink,
            threads=self._threads,
            runners=self._most,
            on_hang=self._on_hang,
            hang_after_s=self._allowed_s(api) + self._hang_grace_s,
            side=self._side if bound.overlap.pays and bound.joins else None,
        )
        run.start()
        return run

    async def stop(self) -> None:
        """Run stop hooks and end the threads; calls still running on them are abandoned."""
        try:
            await self.mounted.stop()
            if self._instance is not None:
                await self._run_hooks(self._spec.hooks.stop)
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._side.shutdown(wait=False)
            if self._others is not None:
                await self._others.stop()

    def link(self) -> LocalLink:
        """Return what calls this service from others in this process, once it has started."""
        return LocalLink(
            self._spec,
            self._instance,
            state=self._state,
            threads=self._threads,
            home=CurrentLoop(),
            # A sync caller's own call is watched; that of an async one ends without its thread.
            watch=self._watch,
        )

    def health(self) -> Health:
        """Ready once `start` has returned."""
        ready = bool(self._apis)
        return Health(
            live=True, ready=ready, reason="Ready." if ready else "The service has not started."
        )

    def _bound(self, api: str) -> BoundApi:
        bound = self._apis.get(api)
        if bound is None:
            raise api_not_found(api, self._apis)
        return bound

    def _create(self) -> Any:
        self._loaded = {attribute: model.load() for attribute, model in self._models.items()}
        others = {} if self._others is None else self._others.for_service(self._spec)
        try:
            return self._spec.create({**self._loaded, **others})
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
                await self._run_hook(self._spec.hooks.bind(self._instance, name, self._state))
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
        self, bound: BoundApi, request: WireRequest, context: Context, timings: CallTimings
    ) -> WireResponse | WireStream:
        if bound.spec.streams:
            return await self._stream(bound, request, context, timings)
        if bound.spec.is_async:
            return await self._answer_on_loop(bound, request, context, timings)
        return await self._answer_on_thread(bound, request, context, timings)

    async def _answer_on_loop(
        self, bound: BoundApi, request: WireRequest, context: Context, timings: CallTimings
    ) -> WireResponse:
        began_s = timings.began_s = time.monotonic()
        arguments = bound.decode(request, context)
        decoded_s = time.monotonic()
        result = await handlers.shield_awaitable(
            bound.invoke(arguments, context), api=bound.spec.name, request_id=context.request_id
        )
        called_s = time.monotonic()
        if bound.counts:
            bound.check_count(result, arguments, context)
        response = bound.encode(result, request, context)
        _note(timings, began_s, decoded_s, called_s)
        return response

    async def _answer_on_thread(
        self, bound: BoundApi, request: WireRequest, context: Context, timings: CallTimings
    ) -> WireResponse:
        queued_s = time.monotonic()

        def answer() -> WireResponse:
            began_s = timings.began_s = time.monotonic()
            timings.queue_s = began_s - queued_s
            arguments = bound.decode(request, context)
            decoded_s = time.monotonic()
            invoke = handlers.shield_user_code(
                bound.invoke, api=bound.spec.name, request_id=context.request_id
            )
            result = invoke(arguments, context)
            called_s = time.monotonic()
            if bound.counts:
                bound.check_count(result, arguments, context)
            response = bound.encode(result, request, context)
            _note(timings, began_s, decoded_s, called_s)
            return response

        # An error raised from here holds this frame: it must not hold what holds the error.
        return await asyncio.wrap_future(self._submit(bound.spec.name, answer, context))

    async def _stream(
        self, bound: BoundApi, request: WireRequest, context: Context, timings: CallTimings
    ) -> WireStream:
        began_s = timings.began_s = time.monotonic()
        arguments = bound.decode(request, context)
        decoded_s = time.monotonic()
        # What Accept asks for is judged first: a caller who can be sent nothing starts nothing.
        items = handlers.LaterItems()
        stream = bound.encode_stream(items, request, context)
        where = {"api": bound.spec.name, "request_id": context.request_id}
        generator = handlers.shield_user_code(bound.invoke, **where)(arguments, context)
        if not bound.spec.is_async:
            generator = handlers.iterate_off_loop(generator, self._threads)
        items.source = await handlers.prime(handlers.shield_stream(generator, **where))
        # Its items are called for and written one by one from here on.
        _note(timings, began_s, decoded_s, time.monotonic())
        return stream

    def _allowed_s(self, api: str) -> float:
        """How long a call may take: a caller in a hurry does not make a handler one that hangs."""
        own_s = self._apis[api].spec.timeout_s
        return self._timeout_s if own_s is None else own_s

    def _submit(
        self, api: str, answer: Callable[[], WireResponse], context: Context
    ) -> Future[WireResponse]:
        running = self._threads.submit(answer)
        self._watch(api, running, context)
        return running

    def _watch(self, api: str, running: Future[Any], context: Context) -> None:
        on_hang = self._on_hang
        if on_hang is None or context.deadline_s is None:
            return

        def look() -> None:
            if running.running():
                on_hang(api)

        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._allowed_s(api) + self._hang_grace_s, look)
        running.add_done_callback(lambda _done: loop.call_soon_threadsafe(timer.cancel))


def _note(timings: CallTimings, began_s: float, decoded_s: float, called_s: float) -> None:
    now_s = time.monotonic()
    timings.compute_s = now_s - began_s
    timings.decode_s = decoded_s - began_s
    timings.call_s = called_s - decoded_s
    timings.encode_s = now_s - called_s


def _loop_deadline(context: Context) -> float | None:
    if context.deadline_s is None:
        return None
    # The loop's clock may not be `time.monotonic` (uvloop counts whole milliseconds).
    return asyncio.get_running_loop().time() + max(0.0, context.deadline_s - time.monotonic())
