"""The pages of deployments, and the parts of them that the browser asks for again."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from dosirak.deployment.api.access import DEPLOY_READ, DEPLOY_WRITE, Needs, Principal
from dosirak.deployment.api.guarded_route import principal_of
from dosirak.deployment.console.console_parts import ConsoleParts
from dosirak.deployment.console.deployment_rows import (
    SPARK_SLOTS,
    DeploymentRow,
    deployment_rows,
    numbers_of,
    tone_of,
)
from dosirak.deployment.console.drawings import bar_parts
from dosirak.deployment.console.page_route import PageRoute
from dosirak.deployment.console.rendering import page
from dosirak.deployment.console.stored_bundles import bundle_choices, schema_of

_READS = [Depends(Needs(DEPLOY_READ, narrowed_by="name"))]
_READS_SOME = [Depends(Needs(DEPLOY_READ, of_some=True))]
_SHOWN_EVENTS = 100

_Principal = Annotated[Principal, Depends(principal_of)]


def deployment_pages(parts: ConsoleParts) -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=PageRoute, include_in_schema=False)

    @router.get("/", dependencies=_READS_SOME)
    def console_deployments(request: Request, principal: _Principal) -> Response:
        """Show every deployment."""
        return page(request, "deployments.html", {"rows": rows_for(parts, principal)})

    @router.get("/fragments/deployments", dependencies=_READS_SOME)
    def console_deployments_part(request: Request, principal: _Principal) -> Response:
        """Return the list alone."""
        return page(request, "parts/deployments.html", {"rows": rows_for(parts, principal)})

    @router.get("/deployments/{name}", dependencies=_READS)
    def console_deployment(request: Request, name: str, principal: _Principal) -> Response:
        """Show one deployment."""
        return page(request, "deployment.html", shown_of(parts, name, principal))

    @router.get("/fragments/deployments/{name}", dependencies=_READS)
    def console_deployment_part(request: Request, name: str, principal: _Principal) -> Response:
        """Return the top of one deployment's page."""
        return page(request, "parts/overview.html", shown_of(parts, name, principal))

    @router.get("/fragments/deployments/{name}/tables", dependencies=_READS)
    def console_deployment_tables(request: Request, name: str, principal: _Principal) -> Response:
        """Return the tables of revisions and replicas."""
        return page(request, "parts/tables.html", shown_of(parts, name, principal))

    @router.get("/fragments/deployments/{name}/events", dependencies=_READS)
    def console_deployment_events(request: Request, name: str) -> Response:
        """Return the newest events."""
        return page(request, "parts/events.html", events_of(parts, name))

    @router.get("/fragments/deployments/{name}/schema", dependencies=_READS)
    def console_deployment_schema(name: str, revision: int | None = None) -> JSONResponse:
        """Return the API schema of the revision that has the traffic, or of another."""
        view = parts.operations.get(name)
        found = parts.operations.revision(name, revision or view.revision)
        return JSONResponse(schema_of(parts.operations.store, found.bundle))

    return router


def rows_for(parts: ConsoleParts, principal: Principal) -> list[DeploymentRow]:
    """Return the rows that somebody may see."""
    views = [
        view for view in parts.operations.list() if principal.may(f"{DEPLOY_READ}:{view.name}")
    ]
    return deployment_rows(views, parts.history.latest(), parts.history.recent_rates(SPARK_SLOTS))


def shown_of(parts: ConsoleParts, name: str, principal: Principal) -> dict[str, Any]:
    """Return what the page of a deployment is made from."""
    operations = parts.operations
    view = operations.get(name)
    rollout = view.rollout
    return {
        "deployment": view,
        "tone": tone_of(view.status.status),
        "numbers": numbers_of(parts.history.latest().get(name), ()),
        "moving": rollout if rollout is not None and not rollout.phase.ended else None,
        "bar": bar_parts(view.traffic),
        "revisions": operations.revisions(name),
        "revision_traffic": parts.history.latest_of_revisions(name),
        "may_write": principal.may(f"{DEPLOY_WRITE}:{name}"),
        "bundles": bundle_choices(operations.store, view.bundle),
        **events_of(parts, name),
    }


def events_of(parts: ConsoleParts, name: str) -> dict[str, Any]:
    """Return the newest events, the newest first."""
    found = parts.operations.events(name, limit=_SHOWN_EVENTS, newest=True)
    return {"events": found[::-1], "events_of": name}
