"""The OpenAPI 3.1 document of a service, made from its description alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from dosirak.serving.calls import ApiDescription, ServiceDescription

_ERROR_REFERENCE = {"$ref": "#/components/responses/Error"}
_TASK_ID = {
    "name": "task_id",
    "in": "query",
    "required": True,
    "schema": {"type": "string"},
}
# Two media types carry values as JSON does; for all others the schema is bytes.
_STRUCTURED = frozenset({"application/json", "application/msgpack"})


def openapi_document(description: ServiceDescription) -> dict[str, Any]:
    """Describe every api, and how each may fail."""
    by_name = {entry["name"]: entry for entry in description.schema["apis"]}
    paths: dict[str, Any] = {}
    for api in description.apis:
        paths |= _paths(api, by_name[api.name])
    # What an application answers is its own affair; that there is one is said.
    mounts = [{"path": mount.path, "kind": mount.kind} for mount in description.mounts]
    return {
        **({"x-dosirak-mounts": mounts} if mounts else {}),
        "openapi": "3.1.0",
        "info": {
            "title": description.name,
            "version": str(description.schema["schema_version"]),
            "description": description.schema.get("doc", ""),
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR_SCHEMA, "Task": _TASK_SCHEMA},
            "responses": {"Error": _content("An error.", "#/components/schemas/Error")},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        # Either nothing or the token: it depends on how the server was started.
        "security": [{}, {"token": []}],
    }


def _paths(api: ApiDescription, entry: Mapping[str, Any]) -> dict[str, Any]:
    if api.kind == "task":
        return _task_paths(api, entry)
    return {
        api.route: {
            method.lower(): {
                **_operation(api, entry, suffix="" if method == "POST" else f"_{method.lower()}"),
                **_input(entry, method),
                "responses": _responses(_result(entry)),
            }
            for method in api.methods
        }
    }


def _task_paths(api: ApiDescription, entry: Mapping[str, Any]) -> dict[str, Any]:
    task = _responses(_content("The task.", "#/components/schemas/Task"))

    def about_one(suffix: str, responses: dict[str, Any]) -> dict[str, Any]:
        operation = _operation(api, entry, suffix=f"_{suffix}")
        return {**operation, "parameters": [_TASK_ID], "responses": responses}

    submit = {
        **_operation(api, entry, suffix="_submit"),
        **_input(entry, "POST"),
        "responses": task,
    }
    return {
        f"{api.route}/submit": {"post": submit},
        f"{api.route}/status": {"get": about_one("status", task)},
        f"{api.route}/get": {"get": about_one("get", _responses(_result(entry)))},
        f"{api.route}/retry": {"post": about_one("retry", task)},
        f"{api.route}/cancel": {"put": about_one("cancel", task)},
    }


def _operation(api: ApiDescription, entry: Mapping[str, Any], *, suffix: str) -> dict[str, Any]:
    doc = str(entry.get("doc", ""))
    return {
        "operationId": api.name + suffix,
        "summary": doc.partition("\n")[0],
        "description": doc,
        "tags": ["apis"],
    }


def _input(entry: Mapping[str, Any], method: str) -> dict[str, Any]:
    parameters = cast("list[Mapping[str, Any]]", entry["parameters"])
    if method in ("GET", "HEAD"):
        return {"parameters": [_query_parameter(parameter) for parameter in parameters]}
    if not parameters:
        return {}
    schema = body_schema(parameters)
    content = {
        media_type: {"schema": schema if media_type in _STRUCTURED else {}}
        for media_type in entry["request_media_types"]
    }
    required = any(parameter["required"] for parameter in parameters)
    return {"requestBody": {"required": required, "content": content}}


def body_schema(parameters: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the schema of a JSON body: an object by parameter name, or the one root value."""
    if len(parameters) == 1 and parameters[0]["root"]:
        return dict(parameters[0]["schema"])
    return {
        "type": "object",
        "properties": {parameter["name"]: _with_default(parameter) for parameter in parameters},
        "required": [parameter["name"] for parameter in parameters if parameter["required"]],
    }


def _with_default(parameter: Mapping[str, Any]) -> dict[str, Any]:
    schema = dict(parameter["schema"])
    return {**schema, "default": parameter["default"]} if "default" in parameter else schema


def _query_parameter(parameter: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": parameter["name"],
        "in": "query",
        "required": parameter["required"],
        "schema": _with_default(parameter),
    }


def _result(entry: Mapping[str, Any]) -> dict[str, Any]:
    content = {
        media_type: {"schema": entry["returns"] if media_type in _STRUCTURED else {}}
        for media_type in entry["response_media_types"]
    }
    return {"description": "The result.", "content": content}


def _responses(success: dict[str, Any]) -> dict[str, Any]:
    return {"200": success, "4XX": _ERROR_REFERENCE, "5XX": _ERROR_REFERENCE}


def _content(description: str, reference: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": reference}}},
    }


_ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "error": {"type": "string", "description": "What is wrong."},
        "code": {"type": "string", "description": "The kind of error, fixed."},
        "remedy": {"type": "string", "description": "What to do next."},
        "fields": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "reason": {"type": "string"}},
                "required": ["field", "reason"],
            },
        },
        "request_id": {"type": "string"},
    },
    "required": ["error", "code"],
}
_TASK_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "task_id": {"type": "string"},
        "status": {"enum": ["in_progress", "success", "failure", "cancelled"]},
        "created_at": {"type": "string", "format": "date-time"},
        "executed_at": {"type": ["string", "null"], "format": "date-time"},
    },
    "required": ["task_id", "status"],
}
