"""Workers that are exchanged: who ends at the wrong moment is never given calls."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from dosirak.serving.messages import Start
from dosirak.serving.worker_process import WorkerProcess
from dosirak.serving.worker_set import Slot, WorkerEvents, WorkerSet
from dosirak.serving.worker_start import WorkerStarter


class Worker:
    """Becomes ready, and has perhaps ended before anybody knows."""

    pid = 1
    end_reason = "SIGSEGV"
    was_ready = True

    def __init__(self, *, is_ready: bool) -> None:
        self.is_ready = is_ready
        self._exited = asyncio.Event()

    async def spawn(self, starter: WorkerStarter, place: int = 0) -> None: ...

    async def ready(self) -> None: ...

    async def exited(self) -> None:
        await self._exited.wait()

    async def stop(self, timeout_s: float) -> None:
        self._exited.set()


def test_a_replacement_that_has_ended_already_is_given_no_calls() -> None:
    async def main(*, ends: bool) -> tuple[bool, bool]:
        old, new = Worker(is_ready=True), Worker(is_ready=not ends)
        told: list[Any] = []
        start = Start("x", "/nowhere", "text", 1.0, 1.0)
        events = WorkerEvents(
            make=lambda _start: cast(WorkerProcess, new),
            ready=told.append,
            retired=told.append,
            suspended=told.append,
            resumed=told.append,
            busy=lambda _worker: False,
            ended=lambda _reason: None,
            changed=lambda: None,
        )
        workers = WorkerSet(
            start,
            workers=1,
            events=events,
            memory=None,
            drain_timeout_s=1.0,
            starter=cast(WorkerStarter, None),
        )
        slot = Slot(cast(WorkerProcess, old))
        workers.slots.append(slot)
        await workers._recycle(slot)
        assert slot.supervisor is not None
        slot.supervisor.cancel()
        return new in told, cast(Any, slot.worker) is new

    assert asyncio.run(main(ends=False)) == (True, True)
    assert asyncio.run(main(ends=True)) == (False, True)
