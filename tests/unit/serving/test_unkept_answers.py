"""Answers that wait for their store: kept once it works, bounded in memory."""

from __future__ import annotations

import asyncio

from dosirak.payload.wire import WireRequest, WireResponse
from dosirak.serving.task_store import ClaimedTask
from dosirak.serving.unkept_answers import UnkeptAnswers

ANSWER = WireResponse(b"x" * 60, "text/plain")


def _task(task_id: str) -> ClaimedTask:
    return ClaimedTask(task_id, "work", 1, WireRequest(b"large", "text/plain"))


class Ends:
    """What becomes of tasks, in a store that works or does not."""

    def __init__(self) -> None:
        self.works = True
        self.finished: dict[str, WireResponse] = {}
        self.released: list[str] = []

    async def finish(self, task: ClaimedTask, response: WireResponse) -> None:
        if not self.works:
            raise OSError("full")
        self.finished[task.id] = response

    async def release(self, task: ClaimedTask) -> None:
        if not self.works:
            raise OSError("full")
        self.released.append(task.id)


def test_what_fails_again_is_held_on_and_what_is_kept_is_not():
    held, ends = UnkeptAnswers(), Ends()
    held.add(_task("a"), ANSWER, repeatable=True)
    assert [task.request.body for task in held.tasks] == [b""]  # Requests are in the store.
    ends.works = False
    assert isinstance(asyncio.run(held.keep(ends.finish, ends.release)), OSError)
    assert len(held) == 1
    ends.works = True
    assert asyncio.run(held.keep(ends.finish, ends.release)) is None
    assert (len(held), ends.finished) == (0, {"a": ANSWER})


def test_what_is_too_much_is_run_again_or_has_failed_where_that_does_harm():
    held, ends = UnkeptAnswers(most_bytes=100), Ends()
    held.add(_task("kept"), ANSWER, repeatable=True)
    held.add(_task("again"), ANSWER, repeatable=True)
    held.add(_task("once"), ANSWER, repeatable=False)
    asyncio.run(held.keep(ends.finish, ends.release))
    assert ends.released == ["again"]
    assert ends.finished["kept"] == ANSWER
    assert ends.finished["once"].status == 503
    held.add(_task("later"), ANSWER, repeatable=True)  # There is room again.
    asyncio.run(held.keep(ends.finish, ends.release))
    assert ends.finished["later"] == ANSWER
