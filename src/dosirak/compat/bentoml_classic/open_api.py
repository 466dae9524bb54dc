"""The OpenAPI 3.0 description of a service: docs.json in a bundle, `/docs.json`, the CLI verb."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from dosirak.compat.bentoml_classic.inference_api import InferenceAPI


class DescribedService(Protocol):
    """What the description reads of a service."""

    @property
    def name(self) -> str:
        """The service's name."""
        ...

    @property
    def version(self) -> str:
        """Its version."""
        ...

    @property
    def inference_apis(self) -> list[InferenceAPI]:
        """Its endpoints."""
        ...


_RESPONSES = {"200": {"description": "success"}}
_FEEDBACK = {
    "application/json": {
        "schema": {
            "type": "object",
            "required": ["request_id"],
            "properties": {"request_id": {"type": "string", "format": "uuid"}},
        },
        "example": {"request_id": "cf420b0f-15fa-013d-a37b-12345678c321", "feedback": "correct"},
    }
}


def open_api_document(service: DescribedService) -> dict[str, Any]:
    """Return the description as JSON values."""
    infra = {
        "/healthz": {"get": _operation("infra", "Whether the service works.")},
        "/metadata": {"get": _operation("infra", "What the service is, from its bentoml.yml.")},
        "/metrics": {"get": _operation("infra", "Metrics for Prometheus.")},
        "/feedback": {
            "post": _operation(
                "infra", "Say how good an answer was, by the request id in its header.", _FEEDBACK
            )
        },
    }
    return {
        "openapi": "3.0.0",
        "info": {"version": service.version, "title": service.name},
        "tags": [{"name": "infra"}, {"name": "app"}],
        "paths": {**infra, **_paths(service.inference_apis)},
    }


def _paths(apis: Sequence[InferenceAPI]) -> dict[str, Any]:
    return {
        f"/{api.route}": {"post": _operation("app", api.doc, api.request_schema)} for api in apis
    }


def _operation(tag: str, description: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "tags": [tag],
        "description": description,
        "responses": _RESPONSES,
    }
    if content is not None:
        operation["requestBody"] = {"required": True, "content": content}
    return operation
