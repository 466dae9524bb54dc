"""The whole HTTP application: the guard around the endpoints of one service."""

from __future__ import annotations

from dosirak.observe.access_log import AccessLog
from dosirak.observe.metrics import ServingMetrics
from dosirak.observe.traces import Tracer
from dosirak.serving.calls import Calls, ServiceDescription
from dosirak.serving.http.admin import Reloads, admin_endpoints
from dosirak.serving.http.apis import api_endpoint
from dosirak.serving.http.guard import Guard
from dosirak.serving.http.information import information_endpoints
from dosirak.serving.http.mounts import MountEndpoint
from dosirak.serving.http.options import HttpOptions
from dosirak.serving.http.routes import Endpoint, route_table
from dosirak.serving.http.served import ServedRoutes
from dosirak.serving.http.tasks import task_endpoints
from dosirak.serving.task_queue import TaskQueue


def create_http_application(
    description: ServiceDescription,
    calls: Calls,
    *,
    options: HttpOptions,
    metrics: ServingMetrics,
    tasks: TaskQueue | None = None,
    access_log: AccessLog | None = None,
    tracer: Tracer | None = None,
) -> Guard:
    """Return the ASGI application of a service.

    Args:
        description: its apis.
        calls: what answers them.
        options: limits and credentials.
        metrics: where requests are counted.
        tasks: runs the apis that are tasks; needed when there are any.
        access_log: told of every request, when there is one.
        tracer: makes spans of requests, when there is one.
    """
    served = served_routes(description, calls, options=options, metrics=metrics, tasks=tasks)
    return Guard(served, options=options, metrics=metrics, access_log=access_log, tracer=tracer)


def served_routes(
    description: ServiceDescription,
    calls: Calls,
    *,
    options: HttpOptions,
    metrics: ServingMetrics,
    tasks: TaskQueue | None = None,
    reloads: Reloads | None = None,
    revision: str = "",
) -> ServedRoutes:
    """Return every route of one revision of a service.

    Args:
        description: its apis.
        calls: what answers them.
        options: limits and credentials.
        metrics: where requests are counted.
        tasks: runs the apis that are tasks; needed when there are any.
        reloads: what the admin routes reach, where they exist.
        revision: said with every answer.
    """
    endpoints: list[Endpoint] = information_endpoints(
        description, calls, metrics, revision=revision
    )
    if reloads is not None:
        endpoints += admin_endpoints(reloads)
    for api in description.apis:
        if api.kind == "task" and tasks is not None:
            endpoints += task_endpoints(api, tasks)
        else:
            endpoints.append(api_endpoint(api, calls, options=options, metrics=metrics))
    mounts = [MountEndpoint(mount, calls, options) for mount in description.mounts]
    return ServedRoutes(
        route_table(endpoints, mounts),
        revision,
        mounts=mounts,
        leave_sockets=calls.leave_sockets,
    )
