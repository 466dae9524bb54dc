"""The routes beside deployments: tokens, secrets, the audit log, the platform itself."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from dosirak.deployment.admin_views import (
    Alive,
    AuditEntryView,
    AuditVerdict,
    CreatedToken,
    PlatformStatus,
    RevokedToken,
    SecretView,
    TokenView,
)
from dosirak.deployment.administration import Administration
from dosirak.deployment.api.access import (
    ADMIN,
    AUDIT_READ,
    DEPLOY_READ,
    PUBLIC,
    SECRETS_WRITE,
    Needs,
)
from dosirak.deployment.api.bodies import CreateToken, SetSecret
from dosirak.deployment.api.deployment_routes import asking_of
from dosirak.deployment.api.guarded_route import GuardedRoute
from dosirak.deployment.asking import Asking
from dosirak.deployment.operations import PlatformOperations
from dosirak.deployment.platform_facts import PlatformFacts, platform_status

_ADMIN = [Depends(Needs(ADMIN))]
_SECRETS = [Depends(Needs(SECRETS_WRITE))]
_Asking = Annotated[Asking, Depends(asking_of)]


def token_router(administration: Administration) -> APIRouter:
    """Return the routes of tokens."""
    router = APIRouter(prefix="/tokens", tags=["tokens"], route_class=GuardedRoute)

    @router.post("", dependencies=_ADMIN, status_code=201)
    def token_create(body: CreateToken, asking: _Asking, request: Request) -> CreatedToken:
        """Create a token; its text is shown this once."""
        request.state.about = body.name
        return administration.create_token(
            asking, body.name, body.scopes, lifetime_s=body.expires_in_s
        )

    @router.get("", dependencies=_ADMIN)
    def token_list() -> list[TokenView]:
        """List the tokens, without their text."""
        return list(administration.list_tokens())

    @router.delete("/{token}", dependencies=_ADMIN)
    def token_revoke(token: str, asking: _Asking) -> RevokedToken:
        """Revoke a token, by its id or its name."""
        return administration.revoke_token(asking, token)

    return router


def secret_router(administration: Administration) -> APIRouter:
    """Return the routes of secrets."""
    router = APIRouter(prefix="/secrets", tags=["secrets"], route_class=GuardedRoute)

    @router.put("/{name}", dependencies=_SECRETS)
    def secret_set(name: str, body: SetSecret, asking: _Asking) -> SecretView:
        """Set a secret; its value is never shown again."""
        return administration.set_secret(asking, name, body.value.get_secret_value())

    @router.get("", dependencies=_SECRETS)
    def secret_list() -> list[SecretView]:
        """List the secrets, without their values."""
        return list(administration.list_secrets())

    @router.delete("/{name}", dependencies=_SECRETS)
    def secret_delete(name: str, asking: _Asking) -> SecretView:
        """Delete a secret."""
        return administration.delete_secret(asking, name)

    return router


def audit_router(administration: Administration) -> APIRouter:
    """Return the routes of the audit log."""
    router = APIRouter(prefix="/audit", tags=["audit"], route_class=GuardedRoute)
    reads = [Depends(Needs(AUDIT_READ))]

    @router.get("", dependencies=reads)
    def audit_list(
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    ) -> list[AuditEntryView]:
        """List the last entries, the oldest first."""
        return list(administration.audit_entries(limit))

    @router.get("/verify", dependencies=reads)
    def audit_verify() -> AuditVerdict:
        """Read the whole log and see whether it is whole."""
        return administration.verify_audit()

    return router


def platform_router(operations: PlatformOperations, facts: PlatformFacts) -> APIRouter:
    """Return the routes of the control plane itself."""
    router = APIRouter(tags=["platform"], route_class=GuardedRoute)

    @router.get("/platform", dependencies=[Depends(Needs(DEPLOY_READ, of_some=True))])
    def platform_get() -> PlatformStatus:
        """Return the control plane's addresses, and how many deployments are how."""
        return platform_status(facts, operations.list())

    @router.get("/livez", dependencies=[Depends(Needs(PUBLIC))])
    def platform_alive() -> Alive:
        """Answer, for whoever looks whether it lives."""
        return Alive()

    return router
