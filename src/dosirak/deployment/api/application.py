"""The control plane's ASGI application: the API under `/api/v1`, and what is put beside it.

Guard (Host, Origin, size, headers) → FastAPI → GuardedRoute (scope, audit) → operation → view
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from dosirak import __version__
from dosirak.deployment.admin_views import ErrorBody
from dosirak.deployment.administration import Administration
from dosirak.deployment.api.access import Access
from dosirak.deployment.api.administration_routes import (
    audit_router,
    platform_router,
    secret_router,
    token_router,
)
from dosirak.deployment.api.deployment_routes import deployment_router
from dosirak.deployment.api.guard import Guard, GuardOptions, error_answer, request_id_of
from dosirak.deployment.configuration import DeploymentConfiguration
from dosirak.deployment.operations import PlatformOperations
from dosirak.deployment.platform_facts import PlatformFacts
from dosirak.deployment.problems import field_problems
from dosirak.errors import (
    DosirakError,
    FieldProblem,
    Forbidden,
    InvalidInput,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    RequestError,
    ServiceError,
)

PREFIX = "/api/v1"
_DESCRIPTION = "Deployments on this machine: deploy, update, roll back."
_BY_STATUS: dict[int, type[DosirakError]] = {
    403: Forbidden,
    404: NotFound,
    405: MethodNotAllowed,
    413: PayloadTooLarge,
}


def build_application(
    operations: PlatformOperations,
    administration: Administration,
    access: Access,
    facts: PlatformFacts,
    *,
    guard: GuardOptions | None = None,
    beside: Iterable[APIRouter] = (),
) -> FastAPI:
    """Return the application.

    Args:
        operations: what may be done with deployments.
        administration: tokens, secrets and the audit log.
        access: who may do it.
        facts: what the control plane says of itself.
        guard: host names that it answers for.
        beside: routers of other paths, such as the console's; their routes are `GuardedRoute`s.
    """
    application = FastAPI(
        title="dosirak platform",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # both load scripts of third parties
        redoc_url=None,
        middleware=[Middleware(Guard, options=guard or GuardOptions())],
        responses={"default": {"model": ErrorBody, "description": "An error."}},
    )
    application.state.access = access
    for router in (
        deployment_router(operations),
        token_router(administration),
        secret_router(administration),
        audit_router(administration),
        platform_router(operations, facts),
    ):
        application.include_router(router, prefix=PREFIX)
    for router in beside:
        application.include_router(router)
    application.add_exception_handler(DosirakError, _told)
    application.add_exception_handler(RequestValidationError, _invalid)
    application.add_exception_handler(HTTPException, _refused)
    application.add_exception_handler(Exception, _failed)
    return application


def _answer(error: DosirakError, request: Request) -> Response:
    return error_answer(error, request_id_of(request.scope))


def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, DosirakError)  # noqa: S101 - registered for these
    return _answer(error, request)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for these
    return _answer(invalid_input(error), request)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for these
    kind = _BY_STATUS.get(error.status_code, RequestError)
    found = kind(
        f"{request.method} is not for this path."
        if kind is MethodNotAllowed
        else f"{error.detail}.".replace("..", "."),
        remedy=f"{PREFIX}/openapi.json lists what there is.",
    )
    return _answer(found, request)


def _failed(request: Request, error: Exception) -> Response:
    failed = ServiceError(
        "The control plane failed.", remedy="Look up the request id with `dosirak platform logs`."
    )
    return _answer(failed, request)


def invalid_input(error: RequestValidationError) -> InvalidInput:
    """Return what FastAPI found wrong with a request, in the project's words."""
    problems = [problem for found in error.errors() for problem in _problems(found)]
    first = problems[0]
    return InvalidInput(
        f"The request is wrong at {first.field or 'its body'}: {first.reason}.",
        remedy=f"{PREFIX}/openapi.json says what it may hold.",
        fields=problems,
    )


def _problems(found: Mapping[str, Any]) -> tuple[FieldProblem, ...]:
    """Read one of FastAPI's errors; where a field stands (body, query) is left to its name."""
    _, *place = found["loc"]
    if found["type"] == "json_invalid":
        return (FieldProblem("", "it is no JSON"),)
    if place[:1] == ["configuration"]:
        inside = [{**found, "loc": place[1:]}]
        return field_problems(inside, DeploymentConfiguration, within="configuration")
    return field_problems([{**found, "loc": place}], None)
