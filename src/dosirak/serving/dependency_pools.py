"""The services below the served one that have workers of their own: a pool for each.

    a worker's Call ─▶ Asked ─▶ DependencyPools.call ─▶ the pool of that service ─▶ its workers

Each pool is like that of the served service, with its dispatcher, batching, deadlines, retries and
restarts; all are peers, so that a service with workers of its own may depend on another. They start
while the served service loads: what calls them before they are ready waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from dosirak.observe.health import Health
from dosirak.observe.metrics import ServingMetrics
from dosirak.observe.timings import CallTimings
from dosirak.payload.wire import WireRequest, WireResponse, WireStream
from dosirak.serving.asked import no_such_service
from dosirak.serving.calls import Calls
from dosirak.spec.context import Context


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
        return await pool.call(api, request, context, timings)

    def report_to(self, metrics: ServingMetrics) -> None:
        """Count retries and restarts there."""
        for pool in self._pools.values():
            pool.report_to(metrics)

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


async def _all(works: Iterable[Any]) -> None:
    await asyncio.gather(*works, return_exceptions=True)
