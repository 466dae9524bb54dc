"""The pages of bundles and models."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from dosirak.deployment.api.access import DEPLOY_READ, DEPLOY_WRITE, Needs, Principal
from dosirak.deployment.api.guarded_route import principal_of
from dosirak.deployment.console.console_parts import ConsoleParts
from dosirak.deployment.console.page_route import PageRoute
from dosirak.deployment.console.rendering import page
from dosirak.deployment.console.stored_bundles import (
    bundle_rows,
    bundle_shown,
    model_rows,
    model_shown,
)
from dosirak.deployment.records import DeploymentState

# The store is of all deployments: a token for one of them alone does not open it.
_READS = [Depends(Needs(f"{DEPLOY_READ}:*"))]
_Principal = Annotated[Principal, Depends(principal_of)]


def stored_pages(parts: ConsoleParts) -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=PageRoute, include_in_schema=False)
    store = parts.operations.store

    @router.get("/bundles", dependencies=_READS)
    def console_bundles(request: Request, principal: _Principal) -> Response:
        """List the bundles."""
        rows = bundle_rows(store, _seen(parts, principal))
        return page(request, "stored.html", {"rows": rows, "what": "bundles"})

    @router.get("/bundles/{name}/{version}", dependencies=_READS)
    def console_bundle(
        request: Request, name: str, version: str, principal: _Principal
    ) -> Response:
        """Show one bundle."""
        shown = bundle_shown(store, f"{name}:{version}", _seen(parts, principal))
        may_deploy = principal.may(f"{DEPLOY_WRITE}:*")
        return page(request, "bundle.html", {**shown, "may_deploy": may_deploy})

    @router.get("/models", dependencies=_READS)
    def console_models(request: Request) -> Response:
        """List the models."""
        return page(request, "stored.html", {"rows": model_rows(store), "what": "models"})

    @router.get("/models/{name}/{version}", dependencies=_READS)
    def console_model(request: Request, name: str, version: str) -> Response:
        """Show one model."""
        return page(request, "model.html", model_shown(store, f"{name}:{version}"))

    return router


def _seen(parts: ConsoleParts, principal: Principal) -> list[DeploymentState]:
    with parts.operations.state.reading() as reading:
        states = reading.states()
    return [each for each in states if principal.may(f"{DEPLOY_READ}:{each.deployment.name}")]
