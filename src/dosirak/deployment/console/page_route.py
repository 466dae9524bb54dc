"""A guarded route whose errors are pages: the login where a token is missing, or what is wrong."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from dosirak.deployment.api.guard import request_id_of
from dosirak.deployment.api.guarded_route import GuardedRoute, Handler
from dosirak.deployment.console.rendering import page
from dosirak.errors import DosirakError, Unauthorized
from dosirak.payload.codec import error_response

_LOGIN = "/login"


class PageRoute(GuardedRoute):
    """A route that answers people."""

    def get_route_handler(self) -> Handler:
        """Return what answers a request (FastAPI calls this)."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except Unauthorized:
                return to_login(request)
            except DosirakError as error:
                return error_page(request, error)

        return answer


def to_login(request: Request) -> Response:
    """Lead to the login, and from there back to the page that was asked for."""
    if "hx-request" in request.headers:  # a part of a page: the whole page has to go there
        return Response(status_code=401, headers={"hx-redirect": _LOGIN})
    asked = request.scope["path"]
    return RedirectResponse(f"{_LOGIN}?to={quote(asked)}", status_code=303)


def error_page(request: Request, error: DosirakError) -> Response:
    """Say what is wrong, with the status that the API would answer."""
    request_id = request_id_of(request.scope)
    status = error_response(error, request_id=request_id).status
    return page(
        request, "error.html", {"error": error, "request_id": request_id}, status_code=status
    )


def local_path(asked: str) -> str:
    """Return where a login leads to: a path of this console, whatever the address said."""
    outside = not asked.startswith("/") or asked.startswith(("//", "/\\"))
    return "/" if outside or not asked.isprintable() else asked
