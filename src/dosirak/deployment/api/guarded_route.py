"""A route that says which scope it needs, and is not entered without.

The scope is checked before the body is read: a stranger's bytes are not parsed. A route that
changes something makes one entry in the audit log, whatever comes of it. A route that declares no
scope cannot be made, so none can be forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response, params
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from dosirak.deployment.api.access import Access, Needs, Principal
from dosirak.deployment.api.guard import request_id_of
from dosirak.deployment.asking import Asking
from dosirak.errors import DosirakError, InvalidInput

_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class GuardedRoute(APIRoute):
    """A route with `dependencies=[Depends(Needs(…))]`."""

    @property
    def needs(self) -> Needs:
        """The scope that it declares.

        Raises:
            TypeError: it declares none, or several (the programmer's fault).
        """
        found = [needs_of(dependency) for dependency in self.dependencies]
        declared = [needs for needs in found if needs is not None]
        if len(declared) != 1:
            raise TypeError(f"{self.path} declares {len(declared)} scopes; it must declare one.")
        return declared[0]

    def get_route_handler(self) -> Handler:
        """Return what answers a request (FastAPI calls this)."""
        needs, handler = self.needs, super().get_route_handler()
        audited = bool(_CHANGING & set(self.methods or ()))

        async def answer(request: Request) -> Response:
            access: Access = request.app.state.access
            if not audited:
                request.state.principal = await _admitted(access, needs, request)
                return await handler(request)
            return await _audited(access, needs, request, handler)

        return answer


def needs_of(dependency: params.Depends) -> Needs | None:
    """Return the scope that a dependency declares, if it declares one."""
    return dependency.dependency if isinstance(dependency.dependency, Needs) else None


def principal_of(request: Request) -> Principal:
    """Return who asks; a dependency of handlers."""
    found: Principal = request.state.principal
    return found


async def _admitted(access: Access, needs: Needs, request: Request) -> Principal:
    authorization = request.headers.get("authorization", "")
    return await run_in_threadpool(
        access.admit, authorization, needs, {k: str(v) for k, v in request.path_params.items()}
    )


async def _audited(access: Access, needs: Needs, request: Request, handler: Handler) -> Response:
    """Answer a request that changes something; write down one that came to nothing.

    What was done is written by the operation, in the transaction that did it.
    """
    principal = Principal("")
    try:
        principal = await _admitted(access, needs, request)
        request.state.principal = principal
        return await handler(request)
    except Exception as error:
        failed = asking_from(request, principal)
        await run_in_threadpool(access.note, failed, about_of(request), code_of(error))
        raise


def asking_from(request: Request, principal: Principal) -> Asking:
    """Return who asks for what."""
    return Asking(
        actor=principal.name,
        token_id=principal.token_id,
        address=request.client.host if request.client else "",
        action=action_of(request),
        request_id=request_id_of(request.scope),
    )


def action_of(request: Request) -> str:
    """Return what a request asks for, as the audit log tells it: `deployment.create`."""
    return str(request.scope["route"].name).replace("_", ".", 1)


def about_of(request: Request) -> str:
    """Return what a request is about: the name in its path, or in its body once that is read."""
    named = "/".join(str(value) for value in request.path_params.values())
    return named or str(getattr(request.state, "about", ""))


def code_of(error: Exception) -> str:
    """Return the code of an error, as answers say it."""
    if isinstance(error, DosirakError):
        return error.code
    return InvalidInput.code if isinstance(error, RequestValidationError) else DosirakError.code
