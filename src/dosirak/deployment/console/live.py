"""What a page is told while it is open: that something changed, and that there are new numbers.

    event: changed   the state was written: ask for the parts again
    event: tick      two seconds of traffic were counted: ask for the numbers

Signals carry no content, so a page that missed some has missed nothing, and what it asks for then
is guarded as any page. Whoever may no longer read is let go within a few seconds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse

from dosirak.deployment.api.access import DEPLOY_READ, Access, Needs, Principal
from dosirak.deployment.api.guarded_route import principal_of
from dosirak.deployment.console.console_parts import ConsoleParts
from dosirak.deployment.console.deployment_pages import rows_for
from dosirak.deployment.console.page_route import PageRoute
from dosirak.errors import DosirakError

_READS = [Depends(Needs(DEPLOY_READ, narrowed_by="name"))]
_READS_SOME = Needs(DEPLOY_READ, of_some=True)
_LOOK_EVERY_S = 0.5
_CHECK_EVERY_LOOKS = 8
_RETRY_MS = 1000

_Principal = Annotated[Principal, Depends(principal_of)]


def live_routes(parts: ConsoleParts) -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=PageRoute, include_in_schema=False)

    @router.get("/live", dependencies=[Depends(_READS_SOME)])
    async def console_live(request: Request, deployment: str = "") -> StreamingResponse:
        """Tell of changes for as long as the page is open."""
        return StreamingResponse(
            signals(request, parts, deployment),
            media_type="text/event-stream",
            headers={"x-accel-buffering": "no"},
        )

    @router.get("/traffic", dependencies=[Depends(_READS_SOME)])
    def console_traffic(principal: _Principal) -> JSONResponse:
        """Return the numbers of the list of deployments."""
        rows = rows_for(parts, principal)
        return JSONResponse({row.view.name: asdict(row.numbers) for row in rows})

    @router.get("/traffic/{name}", dependencies=_READS)
    def console_traffic_of(
        name: str,
        since: Annotated[float, Query(allow_inf_nan=False)] = 0.0,
        revision: int | None = None,
        long: bool = False,
    ) -> JSONResponse:
        """Return what the charts of one deployment draw."""
        found = parts.history.window(name, since=since, revision=revision, long=long)
        return JSONResponse(asdict(found))

    return router


async def signals(
    request: Request, parts: ConsoleParts, deployment: str, *, every_s: float = _LOOK_EVERY_S
) -> AsyncIterator[bytes]:
    """Yield a signal for each change, at most one of a kind for each look."""
    yield f"retry: {_RETRY_MS}\n\n".encode()
    seen: tuple[int, int] | None = None
    looks = 0
    while not await request.is_disconnected():
        looks += 1
        if looks % _CHECK_EVERY_LOOKS == 0 and not await _still_may(request):
            return
        if deployment:
            parts.onlookers.look(deployment)
        now = await run_in_threadpool(_versions, parts)
        for signal in news(seen, now):
            yield f"event: {signal}\ndata: {now[0]}\n\n".encode()
        seen = now
        await anyio.sleep(every_s)


def news(before: tuple[int, int] | None, now: tuple[int, int]) -> list[str]:
    """Return what changed: everything for a page that was just opened. Pure."""
    names = ("changed", "tick")
    if before is None:
        return list(names)
    return [name for name, old, new in zip(names, before, now, strict=True) if old != new]


def _versions(parts: ConsoleParts) -> tuple[int, int]:
    return parts.operations.state.commits(), parts.history.version


async def _still_may(request: Request) -> bool:
    access: Access = request.app.state.access
    authorization: Any = request.headers.get("authorization", "")
    try:
        await run_in_threadpool(access.admit, authorization, _READS_SOME, {})
    except DosirakError:
        return False
    return True
