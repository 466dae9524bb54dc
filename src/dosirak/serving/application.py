"""A service as an ASGI application in this process: no listener, no workers.

For unit tests of a service, and for mounting one in another application. The dataplane starts with
the application's lifespan, or with the first request where nobody runs a lifespan.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.types import Receive, Scope, Send

from dosirak.observe.metrics import ServingMetrics
from dosirak.serving.calls import ServiceDescription
from dosirak.serving.composition import compose
from dosirak.serving.dataplane import LoadableModel
from dosirak.serving.http.application import create_http_application
from dosirak.serving.http.guard import Guard
from dosirak.serving.http.options import HttpOptions
from dosirak.serving.task_queue import TaskQueue
from dosirak.serving.task_store_sqlite import SqliteTaskStore
from dosirak.spec.service_spec import ServiceSpec


class ServiceApplication:
    """An ASGI application around one dataplane; tasks are kept in memory."""

    def __init__(
        self, spec: ServiceSpec, models: Mapping[str, LoadableModel], options: HttpOptions
    ) -> None:
        self._description = ServiceDescription.of(spec)
        self._dataplane = compose(spec, models)
        self._options = options
        self._starting = asyncio.Lock()
        self._started: tuple[Guard, TaskQueue] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or run the lifespan (ASGI)."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            guard = await self.start()
            await guard(scope, receive, send)

    async def start(self) -> Guard:
        """Start the dataplane if it has not started.

        Raises:
            DosirakError: the service cannot start.
        """
        async with self._starting:
            if self._started is None:
                await self._dataplane.start()
                metrics = ServingMetrics(service=self._description.name, process=False)
                tasks = TaskQueue(
                    SqliteTaskStore(None),
                    self._dataplane,
                    self._description,
                    metrics,
                    concurrency=1,
                )
                await tasks.start()
                guard = create_http_application(
                    self._description,
                    self._dataplane,
                    options=self._options,
                    metrics=metrics,
                    tasks=tasks,
                )
                self._started = (guard, tasks)
            return self._started[0]

    async def stop(self) -> None:
        """Stop the dataplane if it has started; run its stop hooks."""
        if self._started is not None:
            _, tasks = self._started
            self._started = None
            await tasks.stop()
            await self._dataplane.stop()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.start()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})


def create_application(
    spec: ServiceSpec,
    models: Mapping[str, LoadableModel],
    *,
    options: HttpOptions | None = None,
) -> ServiceApplication:
    """Return a service as an ASGI application that runs in this process.

    Args:
        spec: the service.
        models: the stored model for each required attribute; those of dependencies as
            `service.attribute`.
        options: limits and credentials; any Host is accepted when None.
    """
    return ServiceApplication(spec, models, options or HttpOptions(allowed_hosts=None))
