"""The revision that serves, the next one, and those that finish what they have.

    order ─▶ one worker imports ─▶ same content? ─▶ all load, taste ─▶ ready ─▶ swap ─▶ drain old

Until the new workers are ready nothing changes for anybody; the swap is one step of the loop, so
every request meets exactly one revision. Whatever goes wrong before it leaves the old revision
with all of the traffic. Reloads come one after the other, and at most two revisions drain at a
time: memory is bounded by that.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass

from dosirak.bundles.targets import PinnedTarget, TargetKind
from dosirak.errors import DosirakError, Overloaded, ServiceError, Unavailable
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.serving.calls import ServiceDescription
from dosirak.serving.cost_memory import CostMemory
from dosirak.serving.hot_protocol import HotRoute
from dosirak.serving.http.served import ServedRoutes
from dosirak.serving.plan import Reloaded, Reloading, Report
from dosirak.serving.pool import Pool
from dosirak.serving.reloads import (
    ReloadOrder,
    ReloadOutcome,
    ReloadState,
    Served,
    changes_between,
    refusal,
    target_of,
)
from dosirak.serving.task_queue import TaskQueue

_MOST_WAITING = 8
_MOST_DRAINING = 2
_POLL_S = 0.02

_log = logging.getLogger(f"{ROOT_LOGGER}.serving.front")


@dataclass(frozen=True, slots=True)
class Revision:
    """All that stands on one content.

    Attributes:
        served: what it is.
        description: its apis.
        pool: its workers.
        http: its routes.
        hot: its routes on the hot path.
        tasks: what runs its tasks, if it has any.
        costs: where what its calls cost is kept.
    """

    served: Served
    description: ServiceDescription
    pool: Pool
    http: ServedRoutes
    hot: Mapping[bytes, HotRoute]
    tasks: TaskQueue | None
    costs: CostMemory

    @property
    def is_busy(self) -> bool:
        """Whether any request or task that began here has not ended."""
        tasks = self.tasks is not None and self.tasks.is_busy
        return self.http.in_progress > 0 or self.pool.is_busy or tasks

    async def cut_off(self) -> int:
        """Answer the requests that are left with an error; return how many they were."""
        if self.tasks is not None:
            # An error would be the answer of a task for good; what is stopped is run again.
            # Not for long: a store that hangs is no matter of those who wait here.
            await self.tasks.stop(timeout_s=0.0)
        return self.pool.cut_off()

    async def stop(self, timeout_s: float) -> None:
        """Stop its tasks and workers; return when no process is left."""
        self.costs.keep(self.served.identity.revision, self.pool.learned())
        if self.tasks is not None:
            await self.tasks.stop(timeout_s)
        await self.pool.stop(timeout_s)


@dataclass(frozen=True, slots=True)
class RevisionMaking:
    """How a revision is made.

    Attributes:
        pin: returns the exact target that a target means now, looked for among one kind only, or
            everywhere when None; it reads the disk.
        hire: makes the pool of a pinned target, not yet started.
        furnish: puts routes and tasks around a pool that has begun.
    """

    pin: Callable[[str, TargetKind | None], PinnedTarget]
    hire: Callable[[PinnedTarget], Pool]
    furnish: Callable[[Served, ServiceDescription, Pool], Revision]


class Revisions:
    """What is served, and the way to serve something else.

    Args:
        target: what the server was started with.
        making: how a revision is made.
        show: leads requests to a revision from now on; called in one step of the loop.
        report: told of reloads.
        start_timeout_s: how long a revision may take to become ready.
        drain_timeout_s: how long an old one may take to finish what it has.
    """

    def __init__(
        self,
        target: str,
        making: RevisionMaking,
        *,
        show: Callable[[Revision], None],
        report: Report,
        start_timeout_s: float,
        drain_timeout_s: float,
    ) -> None:
        self._target = target
        self._making = making
        self._show = show
        self._report = report
        self._start_timeout_s = start_timeout_s
        self._drain_timeout_s = drain_timeout_s
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._closed = False
        self._orders: set[asyncio.Task[ReloadOutcome]] = set()
        self._draining: dict[asyncio.Task[None], Revision] = {}
        self._begun: Pool | None = None
        self._kind: TargetKind | None = None  # decided by the first revision, for good
        self._current: Revision | None = None
        self._previous_target = ""
        self._last: ReloadOutcome | None = None

    @property
    def current(self) -> Revision:
        """The revision that new requests meet."""
        assert self._current is not None  # noqa: S101 - `start` comes first
        return self._current

    @property
    def target(self) -> str:
        """What the server was started with."""
        return self._target

    async def start(self) -> None:
        """Serve the first revision.

        Raises:
            DosirakError: it cannot be served.
        """
        pool, served, description = await self._begin(await self._pin(self._target))
        self._kind = served.kind
        await self._complete(pool)
        try:
            await self._swap(self._making.furnish(served, description, pool))
        except BaseException:
            # The store of its tasks cannot be reached: nobody else knows of these workers yet.
            await pool.stop(timeout_s=1.0)
            raise

    async def reload(self, order: ReloadOrder, *, reason: str = "Asked to reload") -> ReloadOutcome:
        """Serve what an order names (see `http.admin.Reloads`).

        It goes on when nobody waits for it any more: half a reload helps nobody.
        """
        target = target_of(order, started_with=self._target, served=self.current.served)
        if self._closed:
            raise _stopping()
        if self._waiting >= _MOST_WAITING:
            raise Overloaded("Too many reloads wait.", remedy="Look at how the last one ended.")
        self._waiting += 1
        doing = asyncio.create_task(self._reload_in_turn(target, reason))
        self._orders.add(doing)
        doing.add_done_callback(self._forget)
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            if doing.cancelled():
                raise _stopping() from None
            raise

    def state(self) -> ReloadState:
        """Say what is served and how the last reload ended (see `http.admin.Reloads`)."""
        served = self.current.served
        return ReloadState(
            revision=served.identity.revision,
            target=served.target,
            models=served.identity.models,
            previous_target=self._previous_target,
            reloading=self._turn.locked(),
            last=self._last,
        )

    async def close(self) -> None:
        """Give up the reload in progress and begin no other; what is served goes on."""
        self._closed = True
        orders = list(self._orders)
        for order in orders:
            order.cancel()
        await asyncio.gather(*orders, return_exceptions=True)

    async def cut_off(self) -> int:
        """Answer the requests that are left with an error; return how many they were."""
        revisions = [*self._draining.values(), *([self._current] if self._current else [])]
        return sum(await asyncio.gather(*(revision.cut_off() for revision in revisions)))

    async def stop(self, timeout_s: float) -> None:
        """Stop every revision; return when no process is left."""
        await self.close()
        draining = dict(self._draining)
        for task in draining:
            task.cancel()
        await asyncio.gather(*draining, return_exceptions=True)
        revisions = [*draining.values(), *([self._current] if self._current else [])]
        await asyncio.gather(*(revision.stop(timeout_s) for revision in revisions))

    def kill(self) -> None:
        """End every worker now."""
        for revision in (*self._draining.values(), *([self._current] if self._current else [])):
            revision.pool.kill()
        if self._begun is not None:
            self._begun.kill()

    def _forget(self, order: asyncio.Task[ReloadOutcome]) -> None:
        self._orders.discard(order)
        self._waiting -= 1
        if not order.cancelled():
            order.exception()  # Looked at: whoever waited for it may have gone.

    async def _reload_in_turn(self, target: str, reason: str) -> ReloadOutcome:
        began_s = time.monotonic()
        async with self._turn:
            await self._make_room()
            self._report(Reloading(reason))
            try:
                outcome = await self._reload(target, began_s)
            except DosirakError as error:
                self._note(self._outcome("refused", self.current, (), began_s, str(error)))
                raise refusal(error) from error
            self._note(outcome)
            return outcome

    async def _reload(self, target: str, began_s: float) -> ReloadOutcome:
        old = self.current
        pinned = await self._pin(target)
        if old.served.is_what(pinned):
            return self._outcome("unchanged", old, (), began_s)
        pool, served, description = await self._begin(pinned)
        if served.identity.revision == old.served.identity.revision:
            await pool.stop(timeout_s=1.0)
            return self._outcome("unchanged", old, (), began_s)
        await self._complete(pool)
        try:
            await self._swap(self._making.furnish(served, description, pool))
        except BaseException:
            await pool.stop(timeout_s=1.0)
            raise
        self._drain(old)
        return self._outcome("swapped", old, changes_between(old.served, served), began_s)

    def _outcome(
        self, outcome: str, old: Revision, changes: tuple[str, ...], began_s: float, error: str = ""
    ) -> ReloadOutcome:
        served = self.current.served
        return ReloadOutcome(
            outcome=outcome,  # pyright: ignore[reportArgumentType]
            revision=served.identity.revision,
            previous=old.served.identity.revision,
            target=served.target,
            models=served.identity.models,
            changes=changes,
            took_s=round(time.monotonic() - began_s, 3),
            error=error,
        )

    def _note(self, outcome: ReloadOutcome) -> None:
        self._last = outcome
        self._report(
            Reloaded(
                outcome.outcome, outcome.revision, outcome.changes, outcome.took_s, outcome.error
            )
        )

    async def _pin(self, target: str) -> PinnedTarget:
        return await asyncio.to_thread(self._making.pin, target, self._kind)

    async def _begin(self, pinned: PinnedTarget) -> tuple[Pool, Served, ServiceDescription]:
        """Open a target in a first worker, far enough to know what it is."""
        pool = self._begun = self._making.hire(pinned)
        async with self._in_time(pool):
            description = await pool.begin()
        served = Served(pinned.text, pool.identity, pinned.kind, pinned.content)
        return pool, served, description

    async def _complete(self, pool: Pool) -> None:
        async with self._in_time(pool):
            await pool.complete()
        self._begun = None

    @contextlib.asynccontextmanager
    async def _in_time(self, pool: Pool) -> AsyncGenerator[None, None]:
        try:
            async with asyncio.timeout(self._start_timeout_s):
                yield
        except TimeoutError as error:
            pool.kill()
            raise ServiceError(
                f"The service was not ready within {self._start_timeout_s:g} s.",
                remedy="Look at the workers' log, or allow more with --start-timeout-s.",
            ) from error

    async def _swap(self, new: Revision) -> None:
        if new.tasks is not None:
            await new.tasks.start()
        if self._current is not None:
            self._previous_target = self._current.served.target
        self._current = new
        self._show(new)

    def _drain(self, old: Revision) -> None:
        old.http.leave_sockets()
        if old.tasks is not None:
            old.tasks.retire()
        task = asyncio.create_task(self._finish(old))
        self._draining[task] = old
        task.add_done_callback(self._draining.pop)

    async def _finish(self, old: Revision) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_timeout_s):
                while old.is_busy:  # noqa: ASYNC110 - requests tell nobody
                    await asyncio.sleep(_POLL_S)
        if old.is_busy:
            _log.warning("What %s had left was cut off.", old.served.identity.revision)
        await old.stop(timeout_s=max(1.0, self._drain_timeout_s))
        if self.current.tasks is not None:
            self.current.tasks.wake()
        # Its routes and pool know each other, and the collector hardly ever comes by itself here.
        asyncio.get_running_loop().call_soon(gc.collect)

    async def _make_room(self) -> None:
        while len(self._draining) >= _MOST_DRAINING:
            await asyncio.wait(self._draining, return_when=asyncio.FIRST_COMPLETED)


def _stopping() -> Unavailable:
    return Unavailable("The server is stopping.", remedy="Start it with what it is to serve.")
