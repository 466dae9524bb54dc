"""A classic service, or the directory of a saved one → `ServiceSpec`.

Recognising needs no more than a look at the class or at bentoml.yml. Describing a saved service
imports its code; its artifacts are read only where an instance is made, in the workers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from dosirak.compat.bentoml_classic.bundle.description import (
    Description,
    is_bundle,
    read_description,
)
from dosirak.compat.bentoml_classic.bundle.loading import load_service_class, new_instance
from dosirak.compat.bentoml_classic.codec import ClassicCodec
from dosirak.compat.bentoml_classic.decorators import defined_apis
from dosirak.compat.bentoml_classic.exceptions import FailedPrecondition
from dosirak.compat.bentoml_classic.inference_api import ApiDefinition, InferenceAPI
from dosirak.compat.bentoml_classic.infra_apis import infra_apis
from dosirak.compat.bentoml_classic.service import BentoService
from dosirak.errors import InvalidService
from dosirak.naming import name_from_identifier
from dosirak.spec.service_spec import ApiSpec, BatchPolicy, ServiceSpec

NAME = "bentoml_classic"


def recognises(candidate: object) -> bool:
    """Whether `candidate` is a classic service class or an instance of one."""
    kind = candidate if isinstance(candidate, type) else type(candidate)
    return issubclass(kind, BentoService) and kind is not BentoService


def spec_of(candidate: object, *, target: str) -> ServiceSpec:
    """Describe a classic service class or instance.

    Raises:
        InvalidService: it has no api (the author's fault).
    """
    if isinstance(candidate, BentoService):
        return _spec(type(candidate), lambda: candidate, target=target)
    if not isinstance(candidate, type) or not issubclass(candidate, BentoService):
        raise InvalidService(
            f"{target} is not a classic BentoML service.", remedy="Derive it from BentoService."
        )
    return _spec(candidate, partial(_new_instance, candidate), target=target)


def recognises_directory(directory: Path) -> bool:
    """Whether `directory` is a saved classic service."""
    return is_bundle(directory)


def spec_of_directory(directory: Path) -> ServiceSpec:
    """Describe a saved classic service. Its code runs.

    Raises:
        InvalidService: it has no api.
        BentoMLConfigException: bentoml.yml does not fit the code.
        ArtifactLoadingException: its code cannot be imported.
    """
    description = read_description(directory)
    service_class = load_service_class(directory)
    return _spec(
        service_class,
        partial(new_instance, service_class, description),
        target="",
        description=description,
    )


def _new_instance(service_class: type[BentoService]) -> BentoService:
    service = service_class()
    empty = [name for name, artifact in service.artifacts.items() if not artifact.is_ready]
    if empty:
        raise FailedPrecondition(
            f"{service.name} has artifacts that nothing was packed into: {', '.join(empty)}.",
            remedy="Pack and save it, then serve the saved service or the packed instance.",
        )
    return service


def _spec(
    service_class: Any,
    create: Callable[[], BentoService],
    *,
    target: str,
    description: Description | None = None,
) -> ServiceSpec:
    apis = tuple(
        _api_spec(definition, function_name, _first_parameter(service_class, function_name))
        for function_name, definition in defined_apis(service_class)
    )
    if not apis:
        raise InvalidService(
            f"{service_class.__name__} has no api.", remedy="Decorate a method with @api."
        )
    name: str = service_class.name

    def create_with(_models: Mapping[str, Any]) -> BentoService:
        return create()

    return ServiceSpec(
        name=name_from_identifier(name),
        apis=(*apis, *infra_apis(description)),
        create=create_with,
        doc=(service_class.__doc__ or "").strip(),
        front_end=NAME,
        target=target,
        foreign=_foreign(name, description),
    )


def _foreign(name: str, description: Description | None) -> dict[str, Any]:
    if description is None:
        return {"service_name": name}
    return {"service_name": name, "version": description.version, "labels": description.labels}


def _first_parameter(service_class: Any, function_name: str) -> str:
    names = list(inspect.signature(getattr(service_class, function_name)).parameters)[1:]
    return names[0] if names else "body"


def _api_spec(definition: ApiDefinition, function_name: str, body_name: str) -> ApiSpec:
    batch = BatchPolicy(
        max_batch_size=definition.mb_max_batch_size, max_latency_ms=float(definition.mb_max_latency)
    )
    return ApiSpec(
        name=definition.name,
        route=f"/{definition.route}",
        codec=ClassicCodec(InferenceAPI(definition, _unbound), body_name),
        bind=partial(_bind, definition, function_name),
        batch=batch if definition.batch else None,
        methods=tuple(definition.input_adapter.HTTP_METHODS),
        doc=definition.doc,
        foreign={
            "input_type": type(definition.input_adapter).__name__,
            "output_type": type(definition.output_adapter).__name__,
        },
    )


def _bind(
    definition: ApiDefinition, function_name: str, service: BentoService
) -> Callable[..., Any]:
    # The adapters that read the request are the ones that join it.
    return InferenceAPI(definition, getattr(service, function_name)).run


def _unbound(*_arguments: Any) -> Any:
    raise InvalidService("A classic api was called without an instance of its service.")
