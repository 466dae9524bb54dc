"""The worker processes of one revision: started together, replaced when they end or grow too large.

    begin ─▶ first worker imports ─▶ complete ─▶ every one ready ─▶ supervise … ─▶ stop

A worker that ends is started again as `restarts` says. One that must go although it works (its
memory) is recycled: another becomes ready first, then it gets no new calls, finishes what it has
and stops. Nothing here knows of calls; `WorkerEvents` is told who may take them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from dosirak.errors import DosirakError
from dosirak.observe.health import WorkerState
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.serving.calls import ServiceDescription
from dosirak.serving.identity import ServiceIdentity
from dosirak.serving.memory_limit import (
    Kill,
    MemoryLimit,
    Recycle,
    Standing,
    check_room,
    decide,
    limit_of_share,
    private_bytes,
)
from dosirak.serving.messages import Start
from dosirak.serving.process_state import is_stopped
from dosirak.serving.restarts import RestartBudget
from dosirak.serving.worker_process import STOPPED, WorkerProcess
from dosirak.serving.worker_start import WorkerStarter
from dosirak.store import Pin, PinnedStore

MEMORY = "memory limit"
_LOOK_EVERY_S = 1.0
_STOPPED_EVERY_S = 0.25
_POLL_S = 0.02

_log = logging.getLogger(f"{ROOT_LOGGER}.serving.front")


@dataclass(slots=True)
class Slot:
    """A place for a worker, and what it has been through."""

    worker: WorkerProcess
    place: int = 0
    state: WorkerState = WorkerState.STARTING
    budget: RestartBudget = field(default_factory=RestartBudget)
    last_used: int = 0
    supervisor: asyncio.Task[None] | None = None
    recycled_s: float | None = None
    suspended: bool = False

    @property
    def can_take_calls(self) -> bool:
        """Whether calls may be sent to the worker."""
        return self.state is WorkerState.READY and self.worker.is_ready and not self.suspended

    @property
    def seen(self) -> WorkerState:
        """The state as the probes see it: a worker that has ended is not ready a moment longer."""
        lost = self.state is WorkerState.READY and not self.can_take_calls
        return WorkerState.RESTARTING if lost else self.state


@dataclass(frozen=True, slots=True)
class WorkerEvents:
    """Whom a set of workers tells what happens.

    Attributes:
        make: makes a worker that is not yet running.
        ready: calls may be sent to it.
        retired: no further call may be; it goes on with those that it has.
        suspended: its process is stopped, by a signal or a debugger, and does nothing.
        resumed: its process goes on.
        busy: whether it has calls.
        ended: one ended, and why.
        changed: the number of workers that can take calls may have changed.
    """

    make: Callable[[Start], WorkerProcess]
    ready: Callable[[WorkerProcess], None]
    retired: Callable[[WorkerProcess], None]
    suspended: Callable[[WorkerProcess], None]
    resumed: Callable[[WorkerProcess], None]
    busy: Callable[[WorkerProcess], bool]
    ended: Callable[[str], None]
    changed: Callable[[], None]


class WorkerSet:
    """The workers of one revision.

    Args:
        start: what each is told.
        workers: how many; what the author asked for when None.
        events: told what happens.
        memory: how much each may use; what the author asked for when None.
        drain_timeout_s: how long a recycled worker may take to finish what it has.
        starter: how a worker's process is come by.
    """

    def __init__(
        self,
        start: Start,
        *,
        workers: int | None,
        events: WorkerEvents,
        memory: MemoryLimit | None,
        drain_timeout_s: float,
        starter: WorkerStarter,
    ) -> None:
        self._starter = starter
        self._start = start
        self._workers = workers
        self._events = events
        self._memory = memory
        self._drain_timeout_s = drain_timeout_s
        self._recycling: asyncio.Task[None] | None = None
        self._watchdog: asyncio.Task[None] | None = None
        self._lookout: asyncio.Task[None] | None = None
        self._leaving: set[WorkerProcess] = set()
        self._description: ServiceDescription | None = None
        self._kept: PinnedStore | None = None
        self.slots: list[Slot] = []
        self.identity = ServiceIdentity()

    async def begin(self) -> ServiceDescription:
        """Start the first worker; return when it has imported the service.

        Raises:
            DosirakError: it cannot.
        """
        first = self._add_slot()
        await first.worker.spawn(self._starter)
        description = await first.worker.described()
        self.identity = first.worker.identity
        self._description = description
        await self._keep(first.worker.pins)
        return description

    @property
    def start(self) -> Start:
        """What a worker is told, with what the first one found once it has begun."""
        return self._start

    async def complete(self) -> None:
        """Start the others; return when every one is ready, and look after them from then on.

        Raises:
            DosirakError: one cannot start.
        """
        assert self._description is not None  # noqa: S101 - `begin` comes first
        more = range(1, self._workers or self._description.workers)
        await asyncio.gather(
            *(self._add_slot().worker.spawn(self._starter, place) for place in more)
        )
        await asyncio.gather(*(self._await_ready(slot) for slot in self.slots))
        for slot in self.slots:
            self._look_after(slot)
        self._lookout = asyncio.create_task(self._watch_stopped())
        memory = self._memory or limit_of_share(self._starter.share(0).memory_bytes)
        if memory is not None:
            check_room(memory, max(private_bytes(worker.pid) for worker in self.workers))
            self._watchdog = asyncio.create_task(self._watch_memory(memory))

    async def stop(self, timeout_s: float) -> None:
        """Stop every worker; return when no process is left."""
        tasks = [slot.supervisor for slot in self.slots] + [
            self._watchdog,
            self._lookout,
            self._recycling,
        ]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.gather(*(worker.stop(timeout_s) for worker in self.workers))
        await self._starter.stop()
        if self._kept is not None:
            self._kept.close()

    def kill(self) -> None:
        """End every worker now."""
        for worker in self.workers:
            worker.kill(STOPPED)
        self._starter.kill()

    @property
    def workers(self) -> set[WorkerProcess]:
        """Every worker, those included that finish what they have."""
        return {*(slot.worker for slot in self.slots), *self._leaving}

    async def _keep(self, pins: tuple[Pin, ...]) -> None:
        """Have every later worker serve what the first one found, whatever is deleted meanwhile.

        The first worker holds leases of its own until this process has taken them over.
        """
        self._start = msgspec.structs.replace(
            self._start, pins=pins, revision=self.identity.revision
        )
        self._kept = PinnedStore(Path(self._start.home) / "store", pins)
        await asyncio.to_thread(self._kept.hold)

    def _add_slot(self) -> Slot:
        slot = Slot(self._events.make(self._start), place=len(self.slots))
        self.slots.append(slot)
        return slot

    async def _await_ready(self, slot: Slot) -> None:
        await slot.worker.ready()
        slot.budget.started(time.monotonic())
        slot.state = WorkerState.READY
        if slot.worker.is_ready:
            self._events.ready(slot.worker)
        self._events.changed()

    def _look_after(self, slot: Slot) -> None:
        slot.supervisor = asyncio.create_task(self._supervise(slot))

    async def _supervise(self, slot: Slot) -> None:
        while True:
            await slot.worker.exited()
            delay_s = _delay_s(slot)
            self._note_end(slot, delay_s)
            if delay_s is None:
                return
            await asyncio.sleep(delay_s)
            slot.worker = self._events.make(self._start)
            await slot.worker.spawn(self._starter, slot.place)
            with contextlib.suppress(DosirakError):
                await self._await_ready(slot)

    def _note_end(self, slot: Slot, delay_s: float | None) -> None:
        reason, pid = slot.worker.end_reason, slot.worker.pid
        slot.state = WorkerState.RESTARTING if delay_s is not None else WorkerState.GIVEN_UP
        if delay_s is None:
            _log.error("Worker %d ended (%s) and is given up.", pid, reason)
        else:
            _log.error("Worker %d ended (%s); another starts in %g s.", pid, reason, delay_s)
        self._events.ended(reason)
        self._events.changed()

    async def _watch_stopped(self) -> None:
        """See which processes are stopped: only the system can tell that from a long call."""
        while True:
            await asyncio.sleep(_STOPPED_EVERY_S)
            for slot in self.slots:
                stopped = slot.worker.is_ready and is_stopped(slot.worker.pid)
                if stopped == slot.suspended:
                    continue
                slot.suspended = stopped
                _log.warning(
                    "Worker %d %s.", slot.worker.pid, "is stopped" if stopped else "goes on"
                )
                (self._events.suspended if stopped else self._events.resumed)(slot.worker)
                self._events.changed()

    # Memory.

    async def _watch_memory(self, limit: MemoryLimit) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            standings = [self._standing(place, slot) for place, slot in enumerate(self.slots)]
            recycling = self._recycling is not None and not self._recycling.done()
            for action in decide(standings, limit, now_s=time.monotonic(), recycling=recycling):
                slot = self.slots[action.place]
                used_mib = action.used_bytes / 2**20
                if isinstance(action, Kill):
                    _log.error("Worker %d holds %d MiB, ended.", slot.worker.pid, used_mib)
                    slot.worker.kill(MEMORY)
                else:
                    self._begin_recycling(slot, action, used_mib)

    def _begin_recycling(self, slot: Slot, action: Recycle, used_mib: float) -> None:
        _log.warning("Worker %d holds %d MiB and is replaced.", slot.worker.pid, used_mib)
        if action.again:
            _log.warning("It was replaced for that a moment ago: the limit may be too low.")
        slot.recycled_s = time.monotonic()
        self._recycling = asyncio.create_task(self._recycle(slot))

    def _standing(self, place: int, slot: Slot) -> Standing:
        used_bytes = private_bytes(slot.worker.pid) if slot.can_take_calls else 0
        return Standing(place, used_bytes, slot.recycled_s)

    async def _recycle(self, slot: Slot) -> None:
        """Put another worker into a place before the one that is there goes."""
        old, new = slot.worker, self._events.make(self._start)
        self._leaving.add(new)
        try:
            await new.spawn(self._starter, slot.place)
            await new.ready()
        except DosirakError as error:
            _log.error("Another worker could not start (%s); the old one stays.", error)
            self._leaving.discard(new)
            await new.stop(timeout_s=1.0)
            return
        if slot.worker is not old:
            await new.stop(timeout_s=1.0)  # It ended meanwhile and was replaced.
            self._leaving.discard(new)
            return
        if slot.supervisor is not None:
            slot.supervisor.cancel()
        self._leaving.symmetric_difference_update({old, new})
        slot.worker, slot.state = new, WorkerState.READY
        slot.budget.started(time.monotonic())
        if new.is_ready:
            # Otherwise it has ended already, nobody will say so again, and calls would wait for it.
            self._events.ready(new)
        self._look_after(slot)
        self._events.ended(MEMORY)
        self._events.changed()
        await self._retire(old)

    async def _retire(self, worker: WorkerProcess) -> None:
        self._events.retired(worker)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_timeout_s):
                while self._events.busy(worker):  # noqa: ASYNC110 - answers tell nobody
                    await asyncio.sleep(_POLL_S)
        await worker.stop(timeout_s=max(1.0, self._drain_timeout_s))
        self._leaving.discard(worker)


def _delay_s(slot: Slot) -> float | None:
    """Return how long to wait before another worker is started in a place; None to give up."""
    if slot.worker.was_lacking:
        return slot.budget.lacked()
    return slot.budget.ended(time.monotonic(), was_ready=slot.worker.was_ready)
