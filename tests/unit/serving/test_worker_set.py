"""Workers that are exchanged: who ends at the wrong moment is never given calls."""

from __future__ import annotations

import asyncio
import errno
from typing import Any, cast

import pytest

from dosirak.serving.messages import Start
from dosirak.serving.restarts import MOST_FAILED_STARTS
from dosirak.serving.worker_process import WorkerProcess
from dosirak.serving.worker_set import Slot, WorkerEvents, WorkerSet, _delay_s
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


class Starter:
    """Refuses as the system does."""

    def __init__(self, number: int) -> None:
        self._number = number

    async def start(self, *_: object) -> None:
        raise OSError(self._number, "refused")


@pytest.mark.parametrize(
    ("number", "lacks"), [(errno.EMFILE, True), (errno.ENOMEM, True), (errno.ENOENT, False)]
)
def test_a_worker_that_the_system_lacks_the_means_to_start_is_not_given_up(
    number: int, lacks: bool
) -> None:
    async def main() -> bool:
        start = Start("x", "/nowhere", "text", 1.0, 1.0)
        worker = WorkerProcess(start, lambda *_: None, lambda _: None)
        await worker.spawn(cast(WorkerStarter, Starter(number)))
        await worker.exited()
        slot = Slot(worker)
        return None not in [_delay_s(slot) for _ in range(2 * MOST_FAILED_STARTS)]

    assert asyncio.run(main()) is lacks
