"""What an author writes: decorators that only record, and the handle of a model.

Nothing is checked or compiled here. `spec.describe` reads the records when the class is complete,
so that every problem is found in one place, while the author's module is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, overload

from dosirak.errors import InvalidService
from dosirak.naming import Reference
from dosirak.spec.options import NO_BATCHES, BatchOptions
from dosirak.spec.service_spec import ApiKind

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
HookStage = Literal["start", "ready", "stop"]

API_RECORD = "__dosirak_api__"
HOOK_RECORD = "__dosirak_hook__"


@dataclass(frozen=True, slots=True)
class ApiRecord:
    """What `@api` or `@task` was given."""

    kind: ApiKind
    name: str | None = None
    route: str | None = None
    batchable: bool = False
    batch: BatchOptions = NO_BATCHES
    timeout_s: float | None = None
    idempotent: bool = True


@overload
def api(function: FunctionT, /) -> FunctionT: ...
@overload
def api(
    *,
    name: str | None = None,
    route: str | None = None,
    batchable: bool = False,
    max_batch_size: int = 100,
    max_latency_ms: float = 10.0,
    batch_dimension: int = 0,
    allowed_batch_sizes: Iterable[int] = (),
    length_buckets: Iterable[int] = (),
    pad_value: float = 0.0,
    concurrency: int | None = None,
    timeout_s: float | None = None,
    idempotent: bool = True,
) -> Callable[[FunctionT], FunctionT]: ...
def api(
    function: FunctionT | None = None,
    /,
    *,
    name: str | None = None,
    route: str | None = None,
    batchable: bool = False,
    max_batch_size: int = 100,
    max_latency_ms: float = 10.0,
    batch_dimension: int = 0,
    allowed_batch_sizes: Iterable[int] = (),
    length_buckets: Iterable[int] = (),
    pad_value: float = 0.0,
    concurrency: int | None = None,
    timeout_s: float | None = None,
    idempotent: bool = True,
) -> FunctionT | Callable[[FunctionT], FunctionT]:
    """Make a method an endpoint; its type hints are the contract.

    Args:
        function: the method, when the decorator is used without parentheses.
        name: the endpoint's name; the method's own when None.
        route: the HTTP path; `/<name>` when None.
        batchable: requests may be joined into one call: every parameter and the result have rows.
        max_batch_size: most rows in one call.
        max_latency_ms: longest time a request may wait for others, milliseconds.
        batch_dimension: the axis along which arrays are joined.
        allowed_batch_sizes: the only sizes a joined call may have, for models that are compiled for
            each; a call is filled up with its last row, and the answer cut again.
        length_buckets: arrays of different lengths (the axis after the rows) are filled up to the
            smallest of these that holds them, and joined; results are cut to their own length.
        pad_value: what they are filled with.
        concurrency: joined calls of an async handler that one worker has under way at a time; 4
            when None. How many sync ones run is what `Resources(threads=…)` says.
        timeout_s: longest time for one call, seconds; None takes the server's.
        idempotent: whether a call may be repeated on another worker after a crash.
    """
    batch = BatchOptions(
        max_batch_size,
        max_latency_ms,
        batch_dimension,
        allowed_batch_sizes,
        length_buckets,
        pad_value,
        concurrency,
    )
    record = ApiRecord("api", name, route, batchable, batch, timeout_s, idempotent)
    return _recorder(API_RECORD, record, function)


@overload
def task(function: FunctionT, /) -> FunctionT: ...
@overload
def task(
    *,
    name: str | None = None,
    route: str | None = None,
    timeout_s: float | None = None,
    idempotent: bool = True,
) -> Callable[[FunctionT], FunctionT]: ...
def task(
    function: FunctionT | None = None,
    /,
    *,
    name: str | None = None,
    route: str | None = None,
    timeout_s: float | None = None,
    idempotent: bool = True,
) -> FunctionT | Callable[[FunctionT], FunctionT]:
    """Make a method a long-running endpoint: callers submit, then ask for the status and result.

    Args:
        function: the method, when the decorator is used without parentheses.
        name: the endpoint's name; the method's own when None.
        route: the HTTP path; `/<name>` when None.
        timeout_s: longest time for one run, seconds; None is without limit.
        idempotent: whether a run that a crash interrupted may be started again.
    """
    record = ApiRecord("task", name, route, timeout_s=timeout_s, idempotent=idempotent)
    return _recorder(API_RECORD, record, function)


def on_start(function: FunctionT) -> FunctionT:
    """Run the method in each worker after `__init__`, before the service is tried out.

    A hook may be async, and may have one parameter, annotated `Context`: what it puts into the
    context's `state` is in that of every call.
    """
    return _record_hook(function, "start")


def on_ready(function: FunctionT) -> FunctionT:
    """Run the method in each worker when it is about to receive requests."""
    return _record_hook(function, "ready")


def on_stop(function: FunctionT) -> FunctionT:
    """Run the method in each worker after its last request."""
    return _record_hook(function, "stop")


class ModelHandle:
    """The place of a model in a service class; the loaded model on an instance that runs.

    It is a non-data descriptor: whoever makes the instance puts the loaded model into the
    instance's own dictionary, where it hides the handle.
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference

    def __get__(self, instance: object | None, owner: type | None = None) -> Any:
        if instance is None:
            return self
        raise InvalidService(
            f"The model {str(self.reference)!r} is not loaded.",
            remedy="Make the instance by calling the decorated service, which loads its models.",
        )

    def __repr__(self) -> str:
        return f"dosirak.model({str(self.reference)!r})"


def model(reference: str) -> Any:
    """Name a model that the service needs: `name`, `name:version` or `name:latest`.

    It is loaded when a worker starts and pinned to one version when the service is sealed. Typed
    `Any`, because on an instance it is the model itself.

    Raises:
        InvalidName: the reference breaks the grammar (the author's fault).
    """
    return ModelHandle(Reference.parse(reference))


def _recorder(
    attribute: str, record: object, function: FunctionT | None
) -> FunctionT | Callable[[FunctionT], FunctionT]:
    def attach(target: FunctionT) -> FunctionT:
        if not callable(target):
            raise InvalidService(
                f"@dosirak.{getattr(record, 'kind', 'api')} was put on {target!r}.",
                remedy="Put it on a method or function; with options, call it: @dosirak.api(...).",
            )
        setattr(target, attribute, record)
        return target

    return attach if function is None else attach(function)


def _record_hook(function: FunctionT, stage: HookStage) -> FunctionT:
    stages: frozenset[HookStage] = getattr(function, HOOK_RECORD, frozenset[HookStage]())
    setattr(function, HOOK_RECORD, stages | {stage})
    return function
