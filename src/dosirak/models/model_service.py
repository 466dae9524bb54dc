"""A saved model as a service of its own: what `dosirak serve NAME` runs, without user code.

    save:   ModelMethod (type hints) → Signature → JSON in the manifest
    serve:  JSON → Signature → ApiSpec, whose handler is the framework's `call`

The methods are described when the model is saved, so that a front that only routes requests need
not load it to know its API.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from dosirak.errors import CorruptContent, InvalidService, UsageError
from dosirak.models.framework import Framework, ModelMethod, framework
from dosirak.naming import Reference
from dosirak.payload.codec import compile_codec
from dosirak.payload.hints import read_hint
from dosirak.payload.signature import Parameter, Signature
from dosirak.spec.service_spec import ApiSpec, BatchPolicy, ModelRequirement, ServiceSpec

ATTRIBUTE = "model"


class MethodDescription(msgspec.Struct, frozen=True):
    """One way to call a model, as its manifest says it.

    Attributes:
        name: the api's name.
        parameter: the parameter's name.
        batchable: rows in, rows out.
        signature: what travels (see `Signature.describe`).
    """

    name: str
    parameter: str
    batchable: bool
    signature: dict[str, Any]


def describe_methods(saver: Framework, model: Any) -> list[dict[str, Any]]:
    """Return the ways to call a model, for its manifest."""
    return [_describe(saver.NAME, method) for method in saver.methods(model)]


def _describe(framework_name: str, method: ModelMethod) -> dict[str, Any]:
    where = f"{framework_name}.{method.name}"
    parameter = Parameter(
        name=method.parameter,
        payload=read_hint(method.input_hint, where=where, name=method.parameter),
    )
    returns = read_hint(method.output_hint, where=where, name="return")
    return {
        "name": method.name,
        "parameter": method.parameter,
        "batchable": method.batchable,
        "signature": Signature((parameter,), returns).describe(),
    }


def service_of(
    reference: Reference, framework_name: str, methods: Sequence[MethodDescription]
) -> ServiceSpec:
    """Return the service that offers a model's methods; the model itself is not loaded.

    Raises:
        UsageError: its framework knows no way to call it.
        CorruptContent: its manifest describes none that can be read.
    """
    if not methods:
        raise UsageError(
            f"{reference} cannot be served alone: {framework_name} knows no way to call it.",
            remedy="Write a service that loads it with dosirak.model(...) and calls it.",
        )
    try:
        apis = tuple(_api(framework_name, method) for method in methods)
    except (InvalidService, KeyError, TypeError, ValueError) as error:
        raise CorruptContent(
            f"The methods of {reference} cannot be read: {error}.",
            remedy="Save the model again.",
        ) from error
    return ServiceSpec(
        name=reference.name,
        apis=apis,
        create=_loaded_model,
        models=(ModelRequirement(ATTRIBUTE, reference),),
        doc=f"The model {reference}, called through {framework_name}.",
    )


def _loaded_model(models: Mapping[str, Any]) -> Any:
    """Return the service's instance: the loaded model."""
    return models[ATTRIBUTE]


def _api(framework_name: str, method: MethodDescription) -> ApiSpec:
    return ApiSpec(
        name=method.name,
        route=f"/{method.name}",
        codec=compile_codec(Signature.from_description(method.signature)),
        bind=_binding(framework_name, method),
        batch=BatchPolicy() if method.batchable else None,
        doc=f"Call the model's {method.name}.",
    )


def _binding(framework_name: str, method: MethodDescription) -> Callable[[Any], Callable[..., Any]]:
    """Return what makes a handler of a loaded model; the framework is found where it is loaded."""

    def bind(loaded: Any) -> Callable[..., Any]:
        found = framework(framework_name)

        def handler(*args: Any, **kwargs: Any) -> Any:
            value = args[0] if args else kwargs[method.parameter]
            return found.call(loaded, method.name, value)

        return handler

    return bind
