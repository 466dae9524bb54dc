"""Tasks when the queue that would run them ends: none is taken and then forgotten."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from dosirak.observe.metrics import ServingMetrics
from dosirak.payload.wire import WireRequest
from dosirak.serving.calls import ApiDescription, ServiceDescription
from dosirak.serving.task_queue import TaskQueue
from dosirak.serving.task_store import ClaimedTask
from dosirak.serving.task_store_sqlite import SqliteTaskStore

TRAIN = ApiDescription("train", "/train", "task", ("POST",), False, None)
REQUEST = WireRequest(b"{}", "application/json")


class SlowStore(SqliteTaskStore):
    """A disk that takes its time to say which task was claimed."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.claimed = threading.Event()
        self.goes_on = threading.Event()

    def claim(self) -> ClaimedTask | None:
        task = super().claim()
        if task is not None:
            self.claimed.set()
            self.goes_on.wait(10)
        return task


class NoCalls:
    """Nothing is called here."""

    async def call(self, *_arguments: Any) -> Any:
        raise AssertionError("a task ran in a queue that had ended")


def test_a_task_that_is_taken_while_the_queue_ends_waits_for_the_next_as_if_it_had_not_been(
    tmp_path: Path,
) -> None:
    store = SlowStore(tmp_path)

    async def main() -> None:
        queue = TaskQueue(
            store,
            NoCalls(),  # type: ignore[arg-type]
            ServiceDescription("S", (TRAIN,), {}),
            ServingMetrics(service="S", process=False),
            concurrency=1,
        )
        await queue.start()
        await queue.submit("train", REQUEST)
        await asyncio.to_thread(store.claimed.wait, 10)
        assert queue.is_busy  # A revision that is left waits for it.
        stopping = asyncio.create_task(queue.stop())
        await asyncio.sleep(0)
        store.goes_on.set()
        await stopping
        assert not queue.is_busy

    asyncio.run(main())
    after = SqliteTaskStore(tmp_path)
    after.open()
    task = after.claim()
    after.close()
    assert task is not None
    assert task.attempts == 1  # One that was never run is not one that failed once.
