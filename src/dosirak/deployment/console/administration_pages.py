"""The pages of tokens, secrets and the audit log. Neither a token's text nor a value is shown."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from dosirak.deployment.api.access import ADMIN, AUDIT_READ, SECRETS_WRITE, Needs
from dosirak.deployment.console.console_parts import ConsoleParts
from dosirak.deployment.console.page_route import PageRoute
from dosirak.deployment.console.rendering import page

_SHOWN_ENTRIES = 200


def administration_pages(parts: ConsoleParts) -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=PageRoute, include_in_schema=False)
    administration = parts.administration

    @router.get("/tokens", dependencies=[Depends(Needs(ADMIN))])
    def console_tokens(request: Request) -> Response:
        """List the tokens."""
        return page(request, "tokens.html", {"tokens": administration.list_tokens()})

    @router.get("/secrets", dependencies=[Depends(Needs(SECRETS_WRITE))])
    def console_secrets(request: Request) -> Response:
        """List the names of the secrets."""
        return page(request, "secrets.html", {"secrets": administration.list_secrets()})

    @router.get("/audit", dependencies=[Depends(Needs(AUDIT_READ))])
    def console_audit(request: Request) -> Response:
        """Show who changed what, the newest first, and whether the log is whole."""
        entries = administration.audit_entries(_SHOWN_ENTRIES)[::-1]
        return page(
            request, "audit.html", {"entries": entries, "verdict": administration.verify_audit()}
        )

    return router
