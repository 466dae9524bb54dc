"""What a person holds while authoring: the object that `@dosirak.service` returns.

It wraps the author's class or function and its `ServiceSpec`, and offers the next steps of the way:
an instance in this process, a test client, a sealed bundle. The class itself is left as it was.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload

from dosirak import bundles, models
from dosirak.errors import InvalidService
from dosirak.spec.composing import create_composed
from dosirak.spec.dependencies import models_needed
from dosirak.spec.describe import describe_class, describe_function
from dosirak.spec.options import ServiceOptions
from dosirak.spec.service_spec import Resources, ServiceLevel, ServiceSpec

if TYPE_CHECKING:
    from dosirak.client import SyncHTTPClient
    from dosirak.store import Store

InstanceT = TypeVar("InstanceT")
ResultT = TypeVar("ResultT")
ParametersP = ParamSpec("ParametersP")


class _Steps:
    """What every decorated service can do next."""

    spec: ServiceSpec

    @property
    def name(self) -> str:
        """The service's name, and the default name of its bundles."""
        return self.spec.name

    def save(
        self,
        *,
        version: str | None = None,
        labels: Mapping[str, str] | None = None,
        store: Store | None = None,
    ) -> bundles.Bundle:
        """Seal the service, its code, models and environment into a bundle.

        Raises:
            InvalidService: its module cannot travel (the author's fault).
            ModelNotFound: a model that it needs is not in the store.
            StorageError: the disk failed; nothing was half written.
        """
        return bundles.save(self.spec, version=version, labels=labels, store=store)

    def test_client(self, *, store: Store | None = None) -> SyncHTTPClient:
        """Return a client of the service running in this process, without a socket.

        Use it as a context manager: start hooks run on entry, stop hooks on exit.
        """
        # The web server and the HTTP client load only when a test asks for them (ADR 0005).
        from dosirak.client import test_client  # noqa: PLC0415
        from dosirak.serving.application import create_application  # noqa: PLC0415

        found = {
            requirement.attribute: models.get(str(requirement.reference), store=store)
            for requirement in models_needed(self.spec)
        }
        return test_client(create_application(self.spec, found))


class ClassService(_Steps, Generic[InstanceT]):
    """A decorated class. Calling it makes an instance with its models loaded from the store.

    The services that it depends on are made with it, in this process; hooks are not run.
    """

    def __init__(self, author_class: type[InstanceT], spec: ServiceSpec) -> None:
        self.spec = spec
        self.author_class = author_class
        functools.update_wrapper(self, author_class, updated=())

    def __call__(self) -> InstanceT:
        """Make an instance in this process.

        Raises:
            ModelNotFound: a model that it needs is not in the store.
        """
        return cast(InstanceT, _composed_instance(self.spec))

    def __repr__(self) -> str:
        return f"<dosirak service {self.name!r} ({self.spec.target})>"


class FunctionService(_Steps, Generic[ParametersP, ResultT]):
    """A decorated function. Calling it calls the function, with its models loaded."""

    def __init__(self, function: Callable[ParametersP, ResultT], spec: ServiceSpec) -> None:
        self.spec = spec
        self._loaded: Callable[..., ResultT] | None = None
        functools.update_wrapper(self, function)

    def __call__(self, *args: ParametersP.args, **kwargs: ParametersP.kwargs) -> ResultT:
        """Call the function in this process.

        Raises:
            ModelNotFound: a model that it needs is not in the store.
        """
        if self._loaded is None:
            instance = _composed_instance(self.spec)
            self._loaded = cast("Callable[..., ResultT]", self.spec.apis[0].bind(instance))
        return self._loaded(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<dosirak service {self.name!r} ({self.spec.target})>"


# A class is callable too; the first overload that fits is the one meant.
@overload
def service(  # pyright: ignore[reportOverlappingOverload]
    target: type[InstanceT], /
) -> ClassService[InstanceT]: ...
@overload
def service(target: Callable[ParametersP, ResultT], /) -> FunctionService[ParametersP, ResultT]: ...
@overload
def service(
    *,
    name: str | None = None,
    resources: Resources = ...,
    service_level: ServiceLevel = ...,
    config: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    requirements: Iterable[str] = (),
) -> _Decorator: ...
def service(
    target: Any = None,
    /,
    *,
    name: str | None = None,
    resources: Resources = Resources(),
    service_level: ServiceLevel = ServiceLevel(),
    config: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    requirements: Iterable[str] = (),
) -> Any:
    """Make a class, or a plain function, a service.

    Args:
        target: the class or function, when the decorator is used without parentheses.
        name: the service's name; made from the class's when None (`IrisModel` → `iris_model`).
        resources: what one replica asks for.
        service_level: what callers were promised.
        config: the service's own settings, JSON values; sealed into its bundles.
        labels: put on its bundles.
        requirements: distributions that imports do not show, such as `"psycopg>=3"`.

    Raises:
        InvalidService: the definition cannot be served (the author's fault).
        UnsupportedHint: a parameter or return annotation has no wire form.
    """
    options = ServiceOptions(
        name=name,
        resources=resources,
        service_level=service_level,
        config=config,
        labels=labels,
        requirements=requirements,
    )
    decorate = _Decorator(options)
    return decorate if target is None else decorate(target)


class _Decorator:
    """`@service(...)` with its options, waiting for the class or function."""

    def __init__(self, options: ServiceOptions) -> None:
        self._options = options

    @overload
    def __call__(  # pyright: ignore[reportOverlappingOverload]
        self, target: type[InstanceT], /
    ) -> ClassService[InstanceT]: ...
    @overload
    def __call__(
        self, target: Callable[ParametersP, ResultT], /
    ) -> FunctionService[ParametersP, ResultT]: ...
    def __call__(self, target: Any, /) -> Any:
        if isinstance(target, type):
            author_class = cast("type[Any]", target)
            return ClassService(author_class, describe_class(author_class, self._options))
        if isinstance(target, FunctionType):
            return FunctionService(target, describe_function(target, self._options))
        raise InvalidService(
            f"@dosirak.service was put on {target!r}.",
            remedy="Put it on a class or a function; give options by keyword.",
        )


def _composed_instance(spec: ServiceSpec) -> Any:
    loaded = {
        requirement.attribute: models.get(str(requirement.reference)).load()
        for requirement in models_needed(spec)
    }
    return create_composed(spec, loaded)[-1].instance
