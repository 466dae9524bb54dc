"""The classic decorators: each only records on the class or function what the author said."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from dosirak.compat.bentoml_classic.adapters import (
    BaseInputAdapter,
    BaseOutputAdapter,
    DefaultOutput,
)
from dosirak.compat.bentoml_classic.artifacts import BentoServiceArtifact
from dosirak.compat.bentoml_classic.environment import BentoServiceEnv
from dosirak.compat.bentoml_classic.exceptions import BentoMLConfigException, InvalidArgument
from dosirak.compat.bentoml_classic.inference_api import ApiDefinition

DEFAULT_MAX_BATCH_SIZE = 4000
DEFAULT_MAX_LATENCY = 20000  # milliseconds
# Names and routes of what every server has.
RESERVED = ("index", "swagger", "docs", "healthz", "metrics", "feedback", "metadata", "docs_json")
RESERVED_ROUTES = (*RESERVED, "docs.json", "livez", "readyz", "schema.json", "openapi.json")

# Where `@api` records; `BentoService` looks for it on its methods.
API_ATTRIBUTE = "_bentoml_api"

Function = TypeVar("Function", bound=Callable[..., Any])
ServiceClass = TypeVar("ServiceClass", bound=type)


def api(
    *args: Any,
    input: BaseInputAdapter | None = None,  # noqa: A002  (the classic name)
    output: Any = None,
    api_name: str | None = None,
    route: str | None = None,
    api_doc: str | None = None,
    mb_max_batch_size: int = DEFAULT_MAX_BATCH_SIZE,
    mb_max_latency: int = DEFAULT_MAX_LATENCY,
    batch: bool = False,
    **kwargs: Any,
) -> Callable[[Function], Function]:
    """Make a method an endpoint of its service.

    Args:
        *args: the older form: an adapter class and its arguments.
        input: how requests are read.
        output: how results are written; chosen by the result if None.
        api_name: the method's name if None.
        route: the HTTP path without leading slash; the api's name if None.
        api_doc: the method's docstring if None.
        mb_max_batch_size: most requests in one call.
        mb_max_latency: the latency goal in milliseconds.
        batch: whether the method takes whole batches.
        **kwargs: the older form: the adapter's named arguments.

    Raises:
        InvalidArgument: the name, route or adapter cannot be used (the author's fault).
        BentoMLConfigException: the adapter cannot be used with or without batches.
    """
    adapter = _input_adapter(input, args, kwargs)
    _check_mode(adapter, batch)
    if output is not None and not isinstance(output, BaseOutputAdapter):
        raise InvalidArgument(
            "@api(output=…) needs an output adapter.", remedy="Give an instance, as JsonOutput()."
        )

    def decorate(function: Function) -> Function:
        name = api_name or function.__name__
        definition = ApiDefinition(
            name=_checked_name(name),
            route=_checked_route((route or name).removeprefix("/") if route != "/" else name),
            doc=api_doc if api_doc is not None else inspect.getdoc(function) or "",
            input_adapter=adapter,
            output_adapter=output or DefaultOutput(),
            mb_max_batch_size=mb_max_batch_size,
            mb_max_latency=mb_max_latency,
            batch=batch,
        )
        setattr(function, API_ATTRIBUTE, definition)
        return function

    return decorate


def _input_adapter(given: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> BaseInputAdapter:
    if given is None and args and isinstance(args[0], type):
        kind: type[Any] = args[0]
        if issubclass(kind, BaseInputAdapter):
            return kind(*args[1:], **kwargs)
    if kwargs or args:
        unknown = ", ".join(kwargs) or "positional arguments"
        raise InvalidArgument(
            f"@api does not know {unknown}.", remedy="Give the adapter as input=ADAPTER()."
        )
    if not isinstance(given, BaseInputAdapter):
        raise InvalidArgument(
            "@api(input=…) needs an input adapter.", remedy="Give an instance, as JsonInput()."
        )
    return given


def _check_mode(adapter: BaseInputAdapter, batch: bool) -> None:
    supported = adapter.BATCH_MODE_SUPPORTED if batch else adapter.SINGLE_MODE_SUPPORTED
    if not supported:
        name = type(adapter).__name__
        raise BentoMLConfigException(
            f"{name} cannot be used with batch={batch}.",
            remedy=f"Write @api(input={name}(), batch={not batch}).",
        )


def _checked_name(name: str) -> str:
    if not name.isidentifier() or name in RESERVED:
        raise InvalidArgument(
            f"{name!r} cannot be the name of an api.",
            remedy=f"Use a Python identifier other than {', '.join(RESERVED)}.",
        )
    return name


def _checked_route(route: str) -> str:
    if re.search(r"[?#]|^//|^:|^/", route) or route in RESERVED_ROUTES:
        raise InvalidArgument(
            f"{route!r} cannot be the route of an api.",
            remedy="Use a path without '?' and '#' that does not begin with '//' or ':' and that"
            " no server route has.",
        )
    return route


def defined_apis(owner: type) -> list[tuple[str, ApiDefinition]]:
    """Return a class's api methods by name, those of its bases first."""
    names = {name: None for kind in reversed(owner.__mro__) for name in vars(kind)}
    members = ((name, inspect.getattr_static(owner, name)) for name in names)
    found = ((name, getattr(member, API_ATTRIBUTE, None)) for name, member in members)
    return [(name, api) for name, api in found if isinstance(api, ApiDefinition)]


def artifacts(
    artifacts: Sequence[BentoServiceArtifact],
) -> Callable[[ServiceClass], ServiceClass]:
    """Say which artifacts a service carries.

    Raises:
        InvalidArgument: one is no artifact, or two have the same name (the author's fault).
    """
    declared = list(artifacts) if isinstance(artifacts, list | tuple) else [artifacts]
    for artifact in declared:
        if not isinstance(artifact, BentoServiceArtifact):
            raise InvalidArgument(
                f"@artifacts got a {type(artifact).__name__}.",
                remedy="Give a list of artifacts, as [PickleArtifact('model')].",
            )
    names = [artifact.name for artifact in declared if isinstance(artifact, BentoServiceArtifact)]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise InvalidArgument(
            f"Two artifacts are called {min(repeated)!r}.", remedy="Give each its own name."
        )

    def decorate(service: ServiceClass) -> ServiceClass:
        service._declared_artifacts = declared  # pyright: ignore[reportAttributeAccessIssue]
        return service

    return decorate


def env(
    pip_packages: Sequence[str] | None = None,
    pip_dependencies: Sequence[str] | None = None,
    infer_pip_packages: bool = False,
    auto_pip_dependencies: bool | None = None,
    **options: Any,
) -> Callable[[ServiceClass], ServiceClass]:
    """Say what a service needs to run; see `BentoServiceEnv` for the options.

    Args:
        pip_packages: requirements.
        pip_dependencies: the older name of `pip_packages`.
        infer_pip_packages: add and pin what the service's modules import.
        auto_pip_dependencies: the older name of `infer_pip_packages`.
        **options: the other arguments of `BentoServiceEnv`.

    Raises:
        BentoMLConfigException: an option is wrong (the author's fault).
    """
    arguments: dict[str, Any] = {
        "pip_packages": pip_packages or pip_dependencies,
        "infer_pip_packages": bool(infer_pip_packages or auto_pip_dependencies),
        **options,
    }

    def decorate(service: ServiceClass) -> ServiceClass:
        service._env_arguments = arguments  # pyright: ignore[reportAttributeAccessIssue]
        return service

    try:
        BentoServiceEnv(**arguments)
    except TypeError as error:
        raise BentoMLConfigException(
            f"@env cannot be used so: {error}.", remedy="Correct the option's name."
        ) from error
    return decorate


def ver(major: int, minor: int) -> Callable[[ServiceClass], ServiceClass]:
    """Give a service's versions a major and minor number; what is generated becomes the patch."""

    def decorate(service: ServiceClass) -> ServiceClass:
        service._version_major = major  # pyright: ignore[reportAttributeAccessIssue]
        service._version_minor = minor  # pyright: ignore[reportAttributeAccessIssue]
        return service

    return decorate


def web_static_content(web_static_content: str) -> Callable[[ServiceClass], ServiceClass]:
    """Name a directory of web pages that travels with the service."""

    def decorate(service: ServiceClass) -> ServiceClass:
        service._web_static_content = web_static_content  # pyright: ignore[reportAttributeAccessIssue]
        return service

    return decorate
