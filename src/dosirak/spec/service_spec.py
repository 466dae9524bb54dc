"""The contract in the middle: what a service is, however it was written and wherever it runs.

Every way to author a service produces a `ServiceSpec`; every way to run, describe, seal or call one
reads nothing else. Values are immutable. The only callables are `create`, which makes one instance
from loaded models, and each api's `bind`, which finds the handler on that instance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from dosirak.naming import Reference
from dosirak.payload.wire import ApiCodec
from dosirak.spec.context import Context

ApiKind = Literal["api", "task"]
MountKind = Literal["asgi", "wsgi"]
SCHEMA_VERSION = 1
# An async handler waits for something else, so several calls of it wait side by side.
DEFAULT_CONCURRENCY = 4


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """How requests may be joined into one call of a handler.

    Attributes:
        max_batch_size: most rows in one call.
        max_latency_ms: longest time a request may wait for others, milliseconds.
        batch_dimension: the axis along which arrays are joined; tables and lists join by row.
        allowed_batch_sizes: the only sizes a joined call may have, ascending; it is filled up with
            its last row. Any size when empty.
        length_buckets: arrays that differ in length (along the axis after the rows) are filled up
            to the smallest of these, ascending, and joined. They are not joined when empty.
        pad_value: what they are filled with.
        concurrency: calls of an async handler that a worker has under way at a time; sync ones take
            its threads.
    """

    max_batch_size: int = 100
    max_latency_ms: float = 10.0
    batch_dimension: int = 0
    allowed_batch_sizes: tuple[int, ...] = ()
    length_buckets: tuple[int, ...] = ()
    pad_value: float = 0.0
    concurrency: int = DEFAULT_CONCURRENCY

    def describe(self) -> dict[str, Any]:
        """Return the policy as JSON values; what says nothing is left out."""
        description: dict[str, Any] = {
            "max_batch_size": self.max_batch_size,
            "max_latency_ms": self.max_latency_ms,
            "batch_dimension": self.batch_dimension,
        }
        if self.allowed_batch_sizes:
            description["allowed_batch_sizes"] = list(self.allowed_batch_sizes)
        if self.length_buckets:
            description["length_buckets"] = list(self.length_buckets)
            description["pad_value"] = self.pad_value
        return description


@dataclass(frozen=True, slots=True)
class Resources:
    """What one replica asks for.

    Attributes:
        workers: processes that load the models and run handlers.
        threads: handlers that one worker may run at a time (sync handlers).
        cpu: cores that all workers together may keep busy: the threads of their numerical libraries
            are bounded accordingly. None shares what the machine has.
        memory_bytes: of all workers together: one that holds more than its part is replaced. None
            bounds nothing.
        gpu: whole GPUs of all workers together, no two of which have the same one. 0 hides none.
    """

    workers: int = 1
    threads: int = 1
    cpu: float | None = None
    memory_bytes: int | None = None
    gpu: int = 0


@dataclass(frozen=True, slots=True)
class ServiceLevel:
    """The service level objective: what callers were promised."""

    p50_ms: float | None = None
    p95_ms: float | None = None
    error_rate: float | None = None


@dataclass(frozen=True, slots=True)
class ModelRequirement:
    """A model that the service needs, by reference; `attribute` is where the author put it."""

    attribute: str
    reference: Reference


@dataclass(frozen=True, slots=True)
class DependencyRequirement:
    """Another service that this one calls; `attribute` is where the author put it.

    Attributes:
        attribute: its place in the author's class or function.
        service: the other service.
        workers: processes of its own; None runs it in the worker of whoever depends on it.
        url: where another server serves it; empty when this one does.
    """

    attribute: str
    service: ServiceSpec
    workers: int | None = None
    url: str = ""


@dataclass(frozen=True, slots=True)
class ApiSpec:
    """One endpoint of a service.

    Attributes:
        name: unique within the service; the client's method name.
        route: the HTTP path, beginning with `/`.
        kind: `api` answers the request; `task` is submitted, then polled.
        codec: bytes ↔ arguments and results.
        bind: finds the handler on an instance made by `ServiceSpec.create`.
        streams: the handler is a generator (sync or async).
        is_async: the handler is a coroutine function or async generator.
        context_parameter: the handler's parameter that receives the request `Context`, if any.
        batch: None when requests may not be joined.
        timeout_s: longest time for one call; None takes the server's.
        idempotent: a call may be repeated on another worker after a crash.
        methods: HTTP methods the route answers.
        doc: the author's docstring.
        foreign: what a front end needs to keep about the api (JSON values only).
    """

    name: str
    route: str
    codec: ApiCodec
    bind: Callable[[Any], Callable[..., Any]]
    kind: ApiKind = "api"
    streams: bool = False
    is_async: bool = False
    context_parameter: str | None = None
    batch: BatchPolicy | None = None
    timeout_s: float | None = None
    idempotent: bool = True
    methods: tuple[str, ...] = ("POST",)
    doc: str = ""
    foreign: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def describe(self) -> dict[str, Any]:
        """Return the api as JSON values: its entry in the API schema."""
        description: dict[str, Any] = {
            "name": self.name,
            "route": self.route,
            "kind": self.kind,
            "streams": self.streams,
            "idempotent": self.idempotent,
            "methods": list(self.methods),
            "doc": self.doc,
            **self.codec.describe(),
        }
        if self.batch is not None:
            description["batch"] = self.batch.describe()
        return description


@dataclass(frozen=True, slots=True)
class Hooks:
    """Lifecycle callables, each found on an instance by name; sync or async.

    Attributes:
        start: run in each worker after `create`, before the golden examples are replayed.
        ready: run in each worker once it may receive requests.
        stop: run in each worker after its last request.
        context_parameters: of the hooks that take a `Context`, the name of that parameter.
    """

    start: tuple[str, ...] = ()
    ready: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    context_parameters: Mapping[str, str] = field(default_factory=dict[str, str])

    def bind(self, instance: Any, name: str, state: dict[str, Any]) -> Callable[[], Any]:
        """Return a hook to be called without arguments.

        Args:
            instance: the author's object.
            name: one of the hooks.
            state: what a context that it takes shares with those of the calls.
        """
        hook: Callable[..., Any] = getattr(instance, name)
        parameter = self.context_parameters.get(name)
        return partial(hook, **{parameter: Context(state=state)}) if parameter else hook


@dataclass(frozen=True, slots=True)
class MountSpec:
    """A web application of the author's that is served below a path.

    Attributes:
        path: begins with `/` and does not end with one; everything below it is the application's.
        kind: how it is called.
        find: returns the application, given an instance made by `ServiceSpec.create`.
    """

    path: str
    kind: MountKind
    find: Callable[[Any], Any]

    def describe(self) -> dict[str, Any]:
        """Return the mount as JSON values: its entry in the API schema."""
        return {"path": self.path, "kind": self.kind}


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A service: its apis, the models it needs, and how to make an instance.

    Attributes:
        name: a valid name (see `naming`); the default name of its bundles.
        create: makes one instance, given by attribute each required model's loaded object and, for
            each dependency, what calls it (`spec.calling.Dependency`).
        dependencies: the other services that it calls; never itself, however far down.
        mounts: web applications that are served beside the apis.
        front_end: which way of authoring this came from (`native`, `bentoml_classic`, …).
        target: `module:attribute` where the author's object is found; empty for generated services.
        requirements: distributions the author asked for, beyond those that imports show.
        foreign: what the front end needs to keep (JSON values only).
    """

    name: str
    apis: tuple[ApiSpec, ...]
    create: Callable[[Mapping[str, Any]], Any]
    models: tuple[ModelRequirement, ...] = ()
    dependencies: tuple[DependencyRequirement, ...] = ()
    hooks: Hooks = Hooks()
    mounts: tuple[MountSpec, ...] = ()
    resources: Resources = Resources()
    service_level: ServiceLevel = ServiceLevel()
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    requirements: tuple[str, ...] = ()
    doc: str = ""
    front_end: str = "native"
    target: str = ""
    foreign: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def api(self, name: str) -> ApiSpec | None:
        """Return the api of this name, if there is one."""
        return next((api for api in self.apis if api.name == name), None)

    def describe(self) -> dict[str, Any]:
        """Return the API schema as JSON values: `/schema.json`, and `api.json` in a bundle."""
        description: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "doc": self.doc,
            "apis": [api.describe() for api in self.apis],
        }
        if self.mounts:
            description["mounts"] = [mount.describe() for mount in self.mounts]
        if self.dependencies:
            description["dependencies"] = [
                {
                    "attribute": needed.attribute,
                    "workers": needed.workers,
                    "service": needed.service.name,
                }
                for needed in self.dependencies
            ]
        return description
