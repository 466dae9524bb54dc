"""Adds the console to the control plane's application: its routes, and the door for sessions."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware import Middleware

from dosirak.deployment.console.administration_pages import administration_pages
from dosirak.deployment.console.console_parts import ConsoleParts
from dosirak.deployment.console.deployment_pages import deployment_pages
from dosirak.deployment.console.entry import entry_routes
from dosirak.deployment.console.live import live_routes
from dosirak.deployment.console.sessions import SessionDoor
from dosirak.deployment.console.stored_pages import stored_pages
from dosirak.deployment.console.trying import try_routes


def mount_console(application: FastAPI, parts: ConsoleParts) -> None:
    """Add the pages at `/`, beside the API, before the application has begun to answer.

    Args:
        application: with `state.access` set; the guard stays around it.
        parts: what the pages show.
    """
    for router in (
        entry_routes(parts),
        live_routes(parts),
        deployment_pages(parts),
        stored_pages(parts),
        administration_pages(parts),
        try_routes(parts),
    ):
        application.include_router(router)
    # Inside the guard, which is the outermost: what it refuses never gets here.
    application.user_middleware.append(Middleware(SessionDoor, sessions=parts.sessions))
