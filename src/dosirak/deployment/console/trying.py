"""The way of a page's test requests to a deployment: page → control plane → router → replica.

Through here a page needs no permission of the router for other origins, and reaches a router that
only this machine reaches. What comes back is a stranger's: it is answered to scripts of ours alone
(they send a header that no link and no form can), and a browser is told to run none of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx2
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse

from dosirak.deployment.api.access import DEPLOY_READ, Needs
from dosirak.deployment.api.guard import OWN_HEADER
from dosirak.deployment.api.guarded_route import GuardedRoute
from dosirak.deployment.console.console_parts import ConsoleParts
from dosirak.errors import ApiNotFound, Forbidden, Unavailable

TOKEN_HEADER = "x-dosirak-try-token"  # noqa: S105 - a header's name
_PASSED_ON = ("content-type", "accept", "x-dosirak-revision")
_PASSED_BACK = ("content-type", "retry-after", "x-request-id", "x-dosirak-revision")
_INERT = {
    "content-security-policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "content-disposition": "attachment",
}
# The router ends what takes too long, by the deployment's own limit; streams may take any time.
_TIMEOUT = httpx2.Timeout(10.0, read=None)
_METHODS = ["GET", "POST", "PUT", "DELETE"]


def try_routes(parts: ConsoleParts) -> APIRouter:
    """Return the one route."""
    router = APIRouter(route_class=GuardedRoute, include_in_schema=False)

    @router.api_route(
        "/try/{name}/{path:path}",
        methods=_METHODS,
        dependencies=[Depends(Needs(DEPLOY_READ, narrowed_by="name"))],
    )
    async def console_try(request: Request, name: str, path: str) -> Response:
        """Pass one request on, and its answer back as it comes."""
        if not request.headers.get(OWN_HEADER):
            raise Forbidden(
                f"A page must say with {OWN_HEADER} that it means this.",
                remedy=f"Send the header {OWN_HEADER}: 1.",
            )
        url = try_url(parts.operations.router_url, name, path, request.url.query)
        return await _passed(request, url, parts)

    return router


def try_url(router_url: str, name: str, path: str, query: str) -> str:
    """Return the address of an api of this deployment and of no other.

    Raises:
        ApiNotFound: the path leads out of the deployment.
    """
    if any(segment in (".", "..") for segment in path.split("/")) or "\\" in path:
        raise ApiNotFound("That is no path of an api.", remedy="Choose one of the forms.")
    return f"{router_url.rstrip('/')}/{quote(name)}/{quote(path)}" + (f"?{query}" if query else "")


async def _passed(request: Request, url: str, parts: ConsoleParts) -> Response:
    client = httpx2.AsyncClient(
        timeout=_TIMEOUT, verify=parts.router_trust or True, trust_env=False
    )
    try:
        sent = client.build_request(
            request.method, url, headers=_headers(request), content=await request.body()
        )
        answer = await client.send(sent, stream=True)
    except httpx2.HTTPError as error:
        await client.aclose()
        raise Unavailable(
            "The router does not answer.", remedy="`dosirak platform status` says how it is."
        ) from error
    except BaseException:
        await client.aclose()
        raise
    kept = {name: answer.headers[name] for name in _PASSED_BACK if name in answer.headers}
    return StreamingResponse(
        _body(client, answer), status_code=answer.status_code, headers={**kept, **_INERT}
    )


def _headers(request: Request) -> dict[str, str]:
    kept = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
    token = request.headers.get(TOKEN_HEADER)
    return {**kept, "authorization": f"Bearer {token}"} if token else kept


async def _body(client: httpx2.AsyncClient, answer: httpx2.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.aiter_bytes():
            yield piece
    finally:
        await answer.aclose()
        await client.aclose()
