"""The routes of deployments: parse → one operation → its view.

Handlers are plain functions, which FastAPI runs in threads: the state is a database.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from dosirak.deployment.api.access import DEPLOY_READ, DEPLOY_WRITE, Needs, Principal
from dosirak.deployment.api.bodies import (
    ApplyDeployment,
    CreateDeployment,
    Plain,
    RollBack,
    ScaleDeployment,
    SetWeight,
    UpdateDeployment,
)
from dosirak.deployment.api.guarded_route import GuardedRoute, asking_from, principal_of
from dosirak.deployment.api.streams import event_stream, log_stream
from dosirak.deployment.asking import Asking
from dosirak.deployment.operations import PlatformOperations
from dosirak.deployment.views import (
    DeploymentView,
    EventView,
    ReplicaView,
    RevisionView,
    StatusView,
)
from dosirak.errors import Forbidden, InvalidInput

_READS = [Depends(Needs(DEPLOY_READ, narrowed_by="name"))]
_READS_SOME = [Depends(Needs(DEPLOY_READ, of_some=True))]
_WRITES = [Depends(Needs(DEPLOY_WRITE, narrowed_by="name"))]
# Which deployment is named in the body, so the handler narrows it.
_CREATES = [Depends(Needs(DEPLOY_WRITE, of_some=True))]
# The database's own bound.
_MOST_NUMBER = 2**63 - 1
_SHOWN_EVENTS = 1000
_SHOWN_LINES = 100_000


async def asking_of(request: Request) -> Asking:
    """Return who asks, and under which conditions: the headers of a changing request."""
    body = await request.body()
    said = f"{request.method} {request.scope['path']}\n".encode()
    return replace(
        asking_from(request, principal_of(request)),
        generation=_generation(request.headers.get("if-match")),
        key=request.headers.get("idempotency-key", ""),
        digest=hashlib.sha256(said + body).hexdigest(),
    )


_Asking = Annotated[Asking, Depends(asking_of)]
_Principal = Annotated[Principal, Depends(principal_of)]


def deployment_router(operations: PlatformOperations) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/deployments", tags=["deployments"], route_class=GuardedRoute)

    @router.get("", dependencies=_READS_SOME)
    def deployment_list(principal: _Principal) -> list[DeploymentView]:
        """List the deployments that the asker may see, by name."""
        return [view for view in operations.list() if principal.may(f"{DEPLOY_READ}:{view.name}")]

    @router.post("", dependencies=_CREATES, status_code=201)
    def deployment_create(
        body: CreateDeployment,
        asking: _Asking,
        principal: _Principal,
        response: Response,
        request: Request,
    ) -> DeploymentView:
        """Make a deployment; its first revision is on its way when this answers."""
        request.state.about = body.name
        _check_may(principal, body.name)
        settings = _settings(body.configuration)
        asking = replace(asking, note=body.note)
        return _tagged(response, operations.create(asking, body.name, body.bundle, settings))

    @router.get("/events/stream", dependencies=_READS_SOME, response_class=StreamingResponse)
    async def deployment_event_stream_all(
        request: Request, principal: _Principal, after: Annotated[int, Query(le=_MOST_NUMBER)] = -1
    ) -> StreamingResponse:
        """Stream the events of all deployments that the asker may see, as server-sent events."""
        return event_stream(
            request,
            operations,
            None,
            _after(request, after),
            lambda event: principal.may(f"{DEPLOY_READ}:{event.deployment}"),
        )

    @router.get("/{name}", dependencies=_READS)
    def deployment_get(name: str, response: Response) -> DeploymentView:
        """Return a deployment; `ETag` is its generation."""
        return _tagged(response, operations.get(name))

    @router.patch("/{name}", dependencies=_WRITES)
    def deployment_update(
        name: str, body: UpdateDeployment, asking: _Asking, response: Response
    ) -> DeploymentView:
        """Take up another bundle or some other settings; what is not named stays."""
        view = operations.update(
            _told(asking, body), name, bundle=body.bundle, settings=body.configuration
        )
        return _tagged(response, view)

    @router.put("/{name}", dependencies=_WRITES)
    def deployment_apply(
        name: str, body: ApplyDeployment, asking: _Asking, response: Response
    ) -> DeploymentView:
        """Make the deployment be what is given, whether there is one or not."""
        settings = _settings(body.configuration)
        view = operations.apply(_told(asking, body), name, body.bundle, settings)
        return _tagged(response, view)

    @router.delete("/{name}", dependencies=_WRITES)
    def deployment_delete(name: str, asking: _Asking) -> DeploymentView:
        """End the deployment, and forget it once its replicas have ended."""
        return operations.delete(asking, name)

    @router.get("/{name}/status", dependencies=_READS)
    def deployment_status(name: str) -> StatusView:
        """Say in a word how the deployment is."""
        return operations.get(name).status

    @router.get("/{name}/revisions", dependencies=_READS)
    def deployment_revisions(name: str) -> list[RevisionView]:
        """List the revisions, the newest first."""
        return list(operations.revisions(name))

    @router.get("/{name}/revisions/{number}", dependencies=_READS)
    def deployment_revision(
        name: str, number: Annotated[int, Path(ge=0, le=_MOST_NUMBER)]
    ) -> RevisionView:
        """Return one revision."""
        return operations.revision(name, number)

    @router.get("/{name}/replicas", dependencies=_READS)
    def deployment_replicas(name: str) -> list[ReplicaView]:
        """List the replicas, those that ended included."""
        return list(operations.replicas(name))

    @router.get("/{name}/events", dependencies=_READS)
    def deployment_events(
        name: str,
        after: Annotated[int, Query(ge=0, le=_MOST_NUMBER)] = 0,
        limit: Annotated[int, Query(ge=1, le=_SHOWN_EVENTS)] = 200,
        newest: bool = False,
    ) -> list[EventView]:
        """List events, the oldest first: the next ones after `after`, or the `newest`."""
        return list(operations.events(name, after=after, limit=limit, newest=newest))

    @router.get("/{name}/events/stream", dependencies=_READS, response_class=StreamingResponse)
    async def deployment_event_stream(
        request: Request, name: str, after: Annotated[int, Query(le=_MOST_NUMBER)] = -1
    ) -> StreamingResponse:
        """Stream events as server-sent events: from now on, or after the number in `after`."""
        return event_stream(request, operations, name, _after(request, after), lambda event: True)

    @router.get("/{name}/logs", dependencies=_READS, response_class=StreamingResponse)
    def deployment_logs(
        name: str,
        replica: str = "",
        follow: bool = False,
        lines: Annotated[int, Query(ge=0, le=_SHOWN_LINES)] = 200,
    ) -> StreamingResponse:
        """Stream a replica's log as text: of one that serves when none is named."""
        return log_stream(operations.logs(name, replica=replica, follow=follow, lines=lines))

    _add_verbs(router, operations)
    return router


def _add_verbs(router: APIRouter, operations: PlatformOperations) -> None:
    @router.post("/{name}/scale", dependencies=_WRITES)
    def deployment_scale(
        name: str, body: ScaleDeployment, asking: _Asking, response: Response
    ) -> DeploymentView:
        """Want so many replicas, within bounds that may be changed in the same step."""
        view = operations.scale(
            _told(asking, body),
            name,
            replicas=body.replicas,
            min_replicas=body.min_replicas,
            max_replicas=body.max_replicas,
        )
        return _tagged(response, view)

    @router.post("/{name}/rollback", dependencies=_WRITES)
    def deployment_rollback(
        name: str, asking: _Asking, response: Response, body: RollBack | None = None
    ) -> DeploymentView:
        """Give the traffic back to an earlier revision, at once where it is still warm."""
        told = body or RollBack()
        return _tagged(response, operations.rollback(_told(asking, told), name, to=told.to))

    @router.post("/{name}/weight", dependencies=_WRITES)
    def deployment_weight(
        name: str, body: SetWeight, asking: _Asking, response: Response
    ) -> DeploymentView:
        """Give the coming revision of a canary so much of the traffic."""
        view = operations.set_weight(_told(asking, body), name, body.weight_percent)
        return _tagged(response, view)

    for name, verb in {
        "promote": operations.promote,
        "abort": operations.abort,
        "pause": operations.pause,
        "resume": operations.resume,
        "restart": operations.restart,
        "start": operations.start,
        "terminate": operations.terminate,
    }.items():
        _add_plain_verb(router, name, verb)


def _add_plain_verb(router: APIRouter, verb: str, operation: Any) -> None:
    def answer(
        name: str, asking: _Asking, response: Response, body: Plain | None = None
    ) -> DeploymentView:
        return _tagged(response, operation(_told(asking, body or Plain()), name))

    router.add_api_route(
        f"/{{name}}/{verb}",
        answer,
        methods=["POST"],
        name=f"deployment_{verb}",
        summary=operation.__doc__.strip().removesuffix("."),
        dependencies=_WRITES,
    )


def _settings(configuration: Any) -> dict[str, Any]:
    return configuration.model_dump(mode="json")


def _told(asking: Asking, body: Any) -> Asking:
    """Add what the body says; it and the header must not disagree."""
    if asking.generation is not None and body.generation not in (None, asking.generation):
        raise InvalidInput(
            "If-Match and generation name different generations.", remedy="Send one of them."
        )
    generation = body.generation if asking.generation is None else asking.generation
    return replace(asking, note=body.note, generation=generation)


def _generation(tag: str | None) -> int | None:
    if tag is None or tag.strip() == "*":
        return None
    number = tag.strip().removeprefix("W/").strip('"')
    if not (number.isascii() and number.isdigit() and len(number) <= 18):
        raise InvalidInput(
            "If-Match holds no generation.", remedy='Send the ETag that was answered, such as "3".'
        )
    return int(number)


def _tagged(response: Response, view: DeploymentView) -> DeploymentView:
    response.headers["etag"] = f'"{view.generation}"'
    return view


def _check_may(principal: Principal, name: str) -> None:
    if not principal.may(f"{DEPLOY_WRITE}:{name}"):
        raise Forbidden(
            "The token does not allow this.",
            remedy=f"Use a token with the scope {DEPLOY_WRITE}:{name}.",
        )


def _after(request: Request, after: int) -> int:
    """Where a stream goes on: a browser that comes again says the last event that it saw."""
    seen = request.headers.get("last-event-id", "")
    return int(seen) if seen.isascii() and seen.isdigit() and len(seen) <= 18 else after
