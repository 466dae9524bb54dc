"""Coming in and going out: a token becomes a session. And the files that every page needs.

These are the only routes of the console that ask for no scope.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, SecretStr, StringConstraints

from dosirak.deployment.api.access import PUBLIC, Access, Needs
from dosirak.deployment.api.guarded_route import GuardedRoute
from dosirak.deployment.console.assets import asset
from dosirak.deployment.console.console_parts import ConsoleParts
from dosirak.deployment.console.page_route import local_path
from dosirak.deployment.console.rendering import page
from dosirak.deployment.console.sessions import cookie_text, session_name

_EVERYBODY = [Depends(Needs(PUBLIC))]
_FOR_A_YEAR = "public, max-age=31536000, immutable"


class Login(BaseModel):
    """A token, and the page that it was asked for."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    token: SecretStr
    to: Annotated[str, StringConstraints(max_length=2000)] = "/"


def entry_routes(parts: ConsoleParts) -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=GuardedRoute, include_in_schema=False)

    @router.get("/-/{name}", dependencies=_EVERYBODY)
    def console_asset(name: str) -> Response:
        """Return a script, a style or the icon."""
        found = asset(name)
        headers = {"cache-control": _FOR_A_YEAR, "etag": f'"{found.digest}"'}
        return Response(found.body, media_type=found.media_type, headers=headers)

    @router.get("/login", dependencies=_EVERYBODY)
    def console_login_page(request: Request, to: str = "/") -> Response:
        """Ask for a token."""
        return page(request, "login.html", {"to": local_path(to)})

    @router.post("/login", dependencies=_EVERYBODY)
    async def console_login(request: Request, body: Login) -> Response:
        """Begin a session for the holder of a token."""
        access: Access = request.app.state.access
        token = body.token.get_secret_value().strip()
        await run_in_threadpool(access.check, token)
        name, key = parts.sessions.begin(token)
        return _with_cookie(request, name, {"to": local_path(body.to), "key": key})

    @router.post("/logout", dependencies=_EVERYBODY)
    async def console_logout(request: Request) -> Response:
        """End the session."""
        name = session_name(request.scope["scheme"], request.headers.get("cookie", ""))
        parts.sessions.end(name)
        return _with_cookie(request, "", {"to": "/login"})

    return router


def _with_cookie(request: Request, name: str, told: dict[str, str]) -> Response:
    cookie = cookie_text(request.scope["scheme"], name)
    return JSONResponse(told, headers={"set-cookie": cookie})
