"""The seam between transports and whatever answers: a description, and `call`.

A transport (HTTP now, others later) knows apis only by their description, so that it can live in a
process where the author's code is never imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol, Self, TypeAlias

import msgspec

from dosirak.errors import ApiNotFound
from dosirak.observe.health import Health
from dosirak.observe.timings import CallTimings
from dosirak.payload.wire import WireRequest, WireResponse, WireStream
from dosirak.serving.mounted_apps import Receive, Scope, Send
from dosirak.serving.places import places_of
from dosirak.spec.context import Context
from dosirak.spec.dependencies import own_workers_below
from dosirak.spec.service_spec import ApiKind, ApiSpec, MountKind, ServiceLevel, ServiceSpec

Runs: TypeAlias = Literal["joined", "each", "alone"]


class ApiDescription(msgspec.Struct, frozen=True):
    """What a transport needs to know of one api; the fields are those of `ApiSpec`.

    Attributes:
        runs: how a worker runs its calls: `joined` in batches, `each` one after the other on its
            threads, or `alone`, each by itself (streams, and async handlers that do not batch).
        max_batch_rows: most rows in one joined call.
        sees_heads: its handler is given the request's headers, too (by the context).
        places: messages that a worker runs side by side, where they do not take its threads (async
            handlers that batch); 0 where they do.
        p95_s: nineteen of twenty answers are promised within this.
    """

    name: str
    route: str
    kind: ApiKind
    methods: tuple[str, ...]
    idempotent: bool
    timeout_s: float | None
    runs: Runs = "alone"
    max_batch_rows: int = 1
    p95_s: float | None = None
    sees_heads: bool = False
    places: int = 0

    @classmethod
    def of(cls, api: ApiSpec, promised: ServiceLevel = ServiceLevel()) -> Self:
        """Describe one api of a service, which has promised this, to transports."""
        return cls(
            api.name,
            api.route,
            api.kind,
            api.methods,
            api.idempotent,
            api.timeout_s,
            _runs(api),
            max(1, api.batch.max_batch_size) if api.batch else 1,
            promised.p95_ms / 1000 if promised.p95_ms is not None else None,
            api.context_parameter is not None,
            api.batch.concurrency if api.batch and api.is_async else 0,
        )


def _runs(api: ApiSpec) -> Runs:
    # One call for many callers has no place for each one's context.
    if api.batch and api.context_parameter is None:
        return "joined"
    return "alone" if api.streams or api.is_async else "each"


class MountDescription(msgspec.Struct, frozen=True):
    """What a transport needs to know of a mounted application; see `MountSpec`."""

    path: str
    kind: MountKind


class ServiceDescription(msgspec.Struct, frozen=True):
    """What a transport needs to know of a service.

    Attributes:
        schema: the API schema, `ServiceSpec.describe()`.
        workers: processes that the author asked for.
        threads: sync handlers that one worker runs at a time.
        own_workers: the services that it depends on, however far down, and that have worker
            processes of their own: how many.
        places: where each service that it depends on runs, in words.
    """

    name: str
    apis: tuple[ApiDescription, ...]
    schema: dict[str, Any]
    workers: int = 1
    threads: int = 1
    own_workers: dict[str, int] = {}
    places: dict[str, str] = {}
    mounts: tuple[MountDescription, ...] = ()

    @classmethod
    def of(cls, spec: ServiceSpec) -> Self:
        """Describe a service to transports."""
        return cls(
            name=spec.name,
            apis=tuple(ApiDescription.of(api, spec.service_level) for api in spec.apis),
            schema=spec.describe(),
            workers=spec.resources.workers,
            threads=spec.resources.threads,
            own_workers=own_workers_below(spec),
            places=places_of(spec),
            mounts=tuple(MountDescription(one.path, one.kind) for one in spec.mounts),
        )


def api_not_found(name: str, known: Iterable[str]) -> ApiNotFound:
    """Return the error for an api that a service does not have."""
    return ApiNotFound(
        f"The service has no api {name!r}.", remedy=f"It has: {', '.join(known) or 'none'}."
    )


class Calls(Protocol):
    """Something that answers calls of a service's apis."""

    async def call(
        self,
        api: str,
        request: WireRequest,
        context: Context,
        timings: CallTimings | None = None,
    ) -> WireResponse | WireStream:
        """Answer one call. Errors of the request and of user code are encoded answers.

        Cancelling the awaiting task, or closing a stream's chunks, cancels the call.

        Raises:
            ApiNotFound: no api has this name.
            Unavailable: no worker can take the call, or it did not answer in time.
            WorkerLost: the worker ended before it answered, and the call may not be repeated.
        """
        ...

    async def check(self, api: str, request: WireRequest, context: Context) -> WireResponse | None:
        """Return the error that a call would answer because its request does not fit, if any.

        None also when nobody can look just now: the call itself will say it then.
        """
        ...

    async def serve_mount(
        self, mount: str, scope: Scope, receive: Receive, send: Send, context: Context
    ) -> None:
        """Let the application that is mounted at `mount` answer (ASGI).

        What `receive` and `send` raise ends it and is raised here. It returns when the answer is
        complete, and when the client has gone.

        Raises:
            Unavailable: no worker can take it.
            WorkerLost: the worker ended before the answer was complete.
            ServiceError: the application did not complete its answer.
            GoingAway: the WebSocket is to be closed.
        """
        ...

    def leave_sockets(self) -> None:
        """Have every WebSocket closed, and each that is opened from now on."""
        ...

    def health(self) -> Health:
        """Say whether calls can be answered now."""
        ...
