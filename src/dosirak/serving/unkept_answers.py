"""Answers of tasks that ran while their store failed: held in memory until it takes them.

A task that ran is not run again for nothing. But memory is bounded: what is too much is given up,
and its task waits again; one that must not be repeated fails instead, with an answer that is small.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from dosirak.errors import Unavailable
from dosirak.payload.wire import WireRequest, WireResponse
from dosirak.serving.problems import problem_response
from dosirak.serving.task_store import ClaimedTask

_MOST_BYTES = 64 * 1024 * 1024

Finish = Callable[[ClaimedTask, WireResponse], Awaitable[None]]
Release = Callable[[ClaimedTask], Awaitable[None]]


class UnkeptAnswers:
    """Holds answers, and how to end each task whose answer is not held.

    Args:
        most_bytes: how much of answers is held at most.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._size_bytes = 0
        self._held: dict[str, tuple[ClaimedTask, WireResponse | None]] = {}

    def __len__(self) -> int:
        """How many tasks wait for the store."""
        return len(self._held)

    @property
    def tasks(self) -> list[ClaimedTask]:
        """The tasks, without their requests; they are still this server's."""
        return [task for task, _ in self._held.values()]

    def add(self, task: ClaimedTask, response: WireResponse, *, repeatable: bool) -> None:
        """Hold an answer, or what is to become of its task without it."""
        held: WireResponse | None = response
        if self._size_bytes + len(response.body) > self._most_bytes:
            held = None if repeatable else _lost(task)
        request = WireRequest(b"", "")
        slim = ClaimedTask(task.id, task.api, task.attempts, request)
        self.discard(task.id)
        self._held[task.id] = (slim, held)
        self._size_bytes += 0 if held is None else len(held.body)

    def discard(self, task_id: str) -> None:
        """Forget one: it was kept, or is no longer held here."""
        _, held = self._held.pop(task_id, (None, None))
        self._size_bytes -= 0 if held is None else len(held.body)

    async def keep(self, finish: Finish, release: Release) -> Exception | None:
        """Try each once more; return the last error of those that failed again."""
        failed = None
        for task, response in list(self._held.values()):
            try:
                if response is None:
                    await release(task)
                else:
                    await finish(task, response)
            except Exception as error:
                failed = error
            else:
                self.discard(task.id)
        return failed


def _lost(task: ClaimedTask) -> WireResponse:
    error = Unavailable(
        "The task ran, but its answer could not be kept.",
        remedy="Submit it again, if it may be repeated.",
    )
    return problem_response(error, request_id=task.id)
