"""Tasks when their queue ends, or their store fails: none is lost, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from dosirak.errors import Unavailable
from dosirak.observe.metrics import ServingMetrics
from dosirak.payload.wire import WireRequest, WireResponse
from dosirak.serving.calls import ApiDescription, ServiceDescription
from dosirak.serving.task_queue import TaskQueue
from dosirak.serving.task_store import ClaimedTask, TaskRecord
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


class BrokenStore(SqliteTaskStore):
    """A store that fails from a moment on, until it works again."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.fails = False
        self.refused = threading.Event()
        self.closed = threading.Event()
        self.hangs: threading.Event | None = None

    def close(self) -> None:
        super().close()
        self.closed.set()

    def claim(self) -> ClaimedTask | None:
        self._fail_if_asked()
        return super().claim()

    def finish(self, task: ClaimedTask, response: WireResponse) -> bool:
        self._fail_if_asked()
        return super().finish(task, response)

    def release(self, task: ClaimedTask) -> None:
        self._fail_if_asked()
        super().release(task)

    def submit(self, api: str, request: WireRequest, *, webhook: str = "") -> TaskRecord:
        if self.hangs is not None:
            self.hangs.wait(30)
        return super().submit(api, request, webhook=webhook)

    def _fail_if_asked(self) -> None:
        if self.fails:
            self.refused.set()
            raise Unavailable("The task store cannot be reached.")


class Calls:
    """Answers each call when it is told to."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.ends = asyncio.Event()
        self.count = 0

    async def call(self, *_arguments: Any) -> WireResponse:
        self.count += 1
        self.began.set()
        await self.ends.wait()
        return WireResponse(b"1", "application/json")


def _queue(store: SqliteTaskStore, calls: Any, **options: float) -> TaskQueue:
    return TaskQueue(
        store,
        calls,
        ServiceDescription("S", (TRAIN,), {}),
        ServingMetrics(service="S", process=False),
        concurrency=1,
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("answered", [False, True], ids=["running", "being kept"])
def test_a_queue_ends_though_its_store_fails_and_a_second_order_to_stop_is_as_good(
    tmp_path: Path, answered: bool
) -> None:
    async def main() -> None:
        store, calls = BrokenStore(tmp_path), Calls()
        queue = _queue(store, calls)
        await queue.start()
        await queue.submit("train", REQUEST)
        await asyncio.wait_for(calls.began.wait(), 30)
        store.fails = True
        if answered:
            calls.ends.set()
            await asyncio.to_thread(store.refused.wait, 30)
        async with asyncio.timeout(30):
            await queue.stop()
            await queue.stop()
        assert not queue.is_busy

    asyncio.run(main())
    after = SqliteTaskStore(tmp_path)
    after.open()
    task = after.claim()  # It is not lost with the store that failed.
    after.close()
    assert task is not None


def test_a_store_that_hangs_holds_up_neither_callers_nor_the_end(tmp_path: Path) -> None:
    store = BrokenStore(tmp_path)

    async def main() -> None:
        queue = _queue(store, Calls(), caller_s=0.5, stop_s=0.05)
        await queue.start()
        store.fails, store.hangs = True, threading.Event()
        for _ in range(3):
            with pytest.raises(Unavailable, match="does not answer"):
                await queue.submit("train", REQUEST)
        await queue.stop()
        store.hangs.set()

    asyncio.run(main())
    assert store.closed.wait(30)  # Nobody waits for it, and it ends all the same.
    after = SqliteTaskStore(tmp_path)
    after.open()
    tasks = [after.claim() for _ in range(3)]
    after.close()
    # The first was with the store already; those that nobody waited for were not begun.
    assert [task is not None for task in tasks] == [True, False, False]


def test_an_answer_that_cannot_be_kept_is_kept_when_the_store_works_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dosirak.serving.task_queue._KEEP_AGAIN_S", ())
    monkeypatch.setattr(BrokenStore, "look_every_s", 0.02)

    async def main() -> None:
        store, calls = BrokenStore(tmp_path), Calls()
        queue = _queue(store, calls)
        await queue.start()
        record = await queue.submit("train", REQUEST)
        await asyncio.wait_for(calls.began.wait(), 30)
        store.fails = True
        calls.ends.set()
        await asyncio.to_thread(store.refused.wait, 30)
        assert (await queue.result("train", record.id)).status == 202
        store.fails = False
        async with asyncio.timeout(30):
            while (answer := await queue.result("train", record.id)).status == 202:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            while queue.is_busy:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (answer.body, calls.count) == (b"1", 1)
        await queue.stop()

    asyncio.run(main())
