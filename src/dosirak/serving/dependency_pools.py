"""The services below the served one that have workers of their own: a pool for each.

    a worker's Call ─▶ Asked ─▶ DependencyPools.call ─▶ the pool of that service ─▶ its workers

Each pool is like that of the served service, with its dispatcher, batching, deadlines, retries and
restarts; all are peers, so that a service with workers of its own may depend on another. They start
while the served service loads: what calls them before they are ready waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from dosirak.observe.health import Health
from dosirak.observe.metrics import ServingMetrics
from dosirak.observe.timings import CallTimings
from dosirak.payload.wire import WireRequest, WireResponse, WireStream
from dosirak.serving.asked import no_such_service
from dosirak.serving.calls import ApiDescription, Calls
from dosirak.serving.cost_curve import CostCurve
from dosirak.serving.messages import AnswerBatch
from dosirak.serving.pending import PendingCall
from dosirak.spec.context import Context
from dosirak.spec.dependencies import part_of


class DependencyPool(Calls, Protocol):
    """A pool, as far as this needs it."""

    async def start(self) -> Any:
        """Start the workers; return when every one is ready."""
        ...

    async def stop(self, timeout_s: float = 10.0) -> None:
        """Stop every worker."""
        ...

    def report_to(self, metrics: ServingMetrics) -> None:
        """Count retries and restarts there."""
        ...

    def kill(self) -> None:
        """End every worker now."""
        ...

    def teach(self, curves: Mapping[str, CostCurve]) -> None:
        """Begin with what calls were seen to cost before."""
        ...

    def learned(self) -> dict[str, CostCurve]:
        """Return what calls of each api were seen to cost."""
        ...

    def on_batch(
        self, told: Callable[[ApiDescription, list[PendingCall], AnswerBatch], None]
    ) -> None:
        """Tell of every message of calls that was answered."""
        ...

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers."""
        ...


class DependencyPools:
    """The pools below one service.

    Args:
        make: makes the pool of a service with so many workers, which asks these pools in turn.
    """

    def __init__(self, make: Callable[[str, int], DependencyPool]) -> None:
        self._make = make
        self._pools: dict[str, DependencyPool] = {}
        self._known = asyncio.Event()
        self._metrics: ServingMetrics | None = None

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of all their workers."""
        return tuple(pid for pool in self._pools.values() for pid in pool.pids)

    async def start(self, workers: Mapping[str, int]) -> None:
        """Start a pool for each service, with so many workers.

        Raises:
            DosirakError: one cannot start.
        """
        self._pools = {service: self._make(service, count) for service, count in workers.items()}
        self._known.set()
        await asyncio.gather(*(pool.start() for pool in self._pools.values()))

    async def call(
        self,
        service: str,
        api: str,
        request: WireRequest,
        context: Context,
        timings: CallTimings,
    ) -> WireResponse | WireStream:
        """Answer one call of a worker.

        Raises:
            NotFound: no service of this name has workers of its own.
            DosirakError: see `calls.Calls`.
        """
        # A worker may ask as soon as it has described itself.
        await self._known.wait()
        pool = self._pools.get(service)
        if pool is None:
            raise no_such_service(service)
        arrived_s = time.monotonic()
        answer = await pool.call(api, request, context, timings)
        if self._metrics is not None and not timings.shared:
            timings.queue_s = max(0.0, timings.began_s - arrived_s)
            self._metrics.dependencies.call_timed((service, api), timings)
        return answer

    def report_to(self, metrics: ServingMetrics) -> None:
        """Count retries and restarts there, and where the time of calls goes."""
        self._metrics = metrics
        for service, pool in self._pools.items():
            pool.report_to(metrics)
            pool.on_batch(_counting(service, metrics))

    def teach(self, curves: Mapping[str, CostCurve]) -> None:
        """Begin with what calls were seen to cost before, those of `service.api`."""
        for service, pool in self._pools.items():
            pool.teach(part_of(curves, service))

    def learned(self) -> dict[str, CostCurve]:
        """Return what calls of each `service.api` were seen to cost."""
        return {
            f"{service}.{api}": curve
            for service, pool in self._pools.items()
            for api, curve in pool.learned().items()
        }

    def health(self, own: Health) -> Health:
        """Return the health of the served service, which needs all of these."""
        for service, pool in self._pools.items():
            found = pool.health()
            if own.live and own.ready and not (found.live and found.ready):
                return Health(found.live, found.ready, f"{service}: {found.reason}")
            if own.live and not found.live:
                return Health(False, False, f"{service}: {found.reason}")
        return own

    async def stop(self, timeout_s: float) -> None:
        """Stop them, after whoever calls them has stopped."""
        await _all(pool.stop(timeout_s) for pool in self._pools.values())

    def kill(self) -> None:
        """End every worker now."""
        for pool in self._pools.values():
            pool.kill()


def _counting(
    service: str, metrics: ServingMetrics
) -> Callable[[ApiDescription, list[PendingCall], AnswerBatch], None]:
    def count(api: ApiDescription, calls: list[PendingCall], batch: AnswerBatch) -> None:
        if batch.began_s:
            queues_s = [batch.began_s - call.arrived_s for call in calls]
            metrics.dependencies.batch_ran(
                (service, api.name), queues_s, batch.rows, batch.calls, batch.timings()
            )

    return count


async def _all(works: Iterable[Any]) -> None:
    await asyncio.gather(*works, return_exceptions=True)
