"""Long-running work at a service: submitted once, then asked after by its id.

`RemoteTask` holds the conversations; `Task` and `AsyncTask`, which callers of the two clients hold,
only run them.

    POST {route}/submit            → {"task_id", "status"}
    GET  {route}/status?task_id=   → {"task_id", "status"}
    GET  {route}/get?task_id=      → 202 or 409 while it runs, then the result or its error
    PUT  {route}/cancel?task_id=
    POST {route}/retry?task_id=    → {"task_id", "status"}
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from dosirak.client.answer import Answer, json_object, unreadable
from dosirak.client.exchange import Conversation, Wait
from dosirak.client.request import PreparedRequest, with_query
from dosirak.client.retry import retry_after_s
from dosirak.client.schema import RemoteApi
from dosirak.client.session import Session, patience_s, read_result
from dosirak.errors import Conflict, DeadlineExceeded

_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 2.0
_ACCEPTED = 202
_IN_PROGRESS = "in_progress"


@dataclass(frozen=True, slots=True)
class RemoteTask:
    """One task at a service."""

    session: Session
    api: RemoteApi
    id: str

    def status(self) -> Conversation[str]:
        """Ask what has become of the task."""
        request = self._request("GET", "status")
        answer = yield from self.session.whole(request)
        return str(json_object(answer, url=request.url).get("status", ""))

    def result(self, wait_timeout_s: float) -> Conversation[Any]:
        """Ask until the task has ended, then read its result.

        Raises:
            DeadlineExceeded: it still runs after `wait_timeout_s`.
        """
        clock = self.session.exchange.clock
        end_s = clock() + wait_timeout_s
        wait_s = _FIRST_WAIT_S
        request = self._request("GET", "get")
        ended = False
        while True:
            answer = yield from self._ask(request, ended=ended)
            if answer is None:
                ended = (yield from self.status()) != _IN_PROGRESS
            elif answer.status != _ACCEPTED:
                return read_result(self.api, answer, url=request.url)
            if answer is None and ended:
                continue
            pause_s = wait_s if answer is None else max(wait_s, _asked_wait_s(answer))
            if clock() + pause_s >= end_s:
                raise self._still_running(wait_timeout_s)
            yield Wait(pause_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 1.5)

    def _ask(self, request: PreparedRequest, *, ended: bool) -> Conversation[Answer | None]:
        """Return the service's answer; None for a conflict while the task may still run."""
        try:
            return (yield from self.session.whole(request))
        except Conflict:
            if ended:  # then this is how it ended
                raise
            return None

    def cancel(self) -> Conversation[None]:
        """Ask the service to give the task up."""
        yield from self.session.whole(self._request("PUT", "cancel"))

    def retry(self) -> Conversation[RemoteTask]:
        """Run the task again with the same arguments."""
        request = self._request("POST", "retry", idempotent=False)
        answer = yield from self.session.whole(request)
        return RemoteTask(self.session, self.api, _task_id(answer, url=request.url))

    def _request(self, method: str, action: str, *, idempotent: bool = True) -> PreparedRequest:
        url = with_query(self.session.address.at(f"{self.api.route}/{action}"), task_id=self.id)
        headers = self.session.headers_for(self.api)
        return PreparedRequest(method, url, headers, idempotent=idempotent)

    def _still_running(self, wait_timeout_s: float) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"Task {self.id} has not ended within {wait_timeout_s:g} s.",
            remedy="Call get() again later, or cancel() it; it goes on at the service.",
        )


def submit(
    session: Session, api: RemoteApi, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Conversation[RemoteTask]:
    """Start a task.

    Raises:
        InvalidInput: the arguments do not fit (the caller's fault).
    """
    url = session.address.at(f"{api.route}/submit")
    call = session.request_to(api, args, kwargs)
    request = replace(call, method="POST", url=url, idempotent=False, whole=True)
    answer = yield from session.whole(request)
    return RemoteTask(session, api, _task_id(answer, url=request.url))


class Task:
    """A task submitted by a `SyncHTTPClient`."""

    def __init__(self, remote: RemoteTask, run: Callable[[Conversation[Any]], Any]) -> None:
        self._remote = remote
        self._run = run

    @property
    def id(self) -> str:
        """The id by which the service knows the task."""
        return self._remote.id

    def status(self) -> str:
        """Return what has become of the task.

        Raises:
            TaskNotFound: the service knows it no more.
        """
        return self._run(self._remote.status())

    def get(self, *, wait_timeout_s: float | None = None) -> Any:
        """Wait for the task to end and return its result.

        Args:
            wait_timeout_s: how long to wait; None waits as long as the task takes.

        Raises:
            DeadlineExceeded: it still runs; it is not cancelled.
            DosirakError: the task's own error.
        """
        return self._run(self._remote.result(patience_s(wait_timeout_s, "wait_timeout_s")))

    def cancel(self) -> None:
        """Ask the service to give the task up.

        Raises:
            Conflict: it has ended already.
        """
        self._run(self._remote.cancel())

    def retry(self) -> Task:
        """Run the task again with the same arguments; return the new one.

        Raises:
            Conflict: it has not ended.
        """
        return Task(self._run(self._remote.retry()), self._run)

    def __repr__(self) -> str:
        return f"<task {self.id!r} of {self._remote.api.name!r}>"


class AsyncTask:
    """A task submitted by an `AsyncHTTPClient`; the methods are those of `Task`, awaited."""

    def __init__(
        self, remote: RemoteTask, run: Callable[[Conversation[Any]], Awaitable[Any]]
    ) -> None:
        self._remote = remote
        self._run = run

    @property
    def id(self) -> str:
        """The id by which the service knows the task."""
        return self._remote.id

    async def status(self) -> str:
        """Return what has become of the task (see `Task.status`)."""
        return await self._run(self._remote.status())

    async def get(self, *, wait_timeout_s: float | None = None) -> Any:
        """Wait for the task to end and return its result (see `Task.get`)."""
        return await self._run(self._remote.result(patience_s(wait_timeout_s, "wait_timeout_s")))

    async def cancel(self) -> None:
        """Ask the service to give the task up (see `Task.cancel`)."""
        await self._run(self._remote.cancel())

    async def retry(self) -> AsyncTask:
        """Run the task again with the same arguments; return the new one (see `Task.retry`)."""
        return AsyncTask(await self._run(self._remote.retry()), self._run)

    def __repr__(self) -> str:
        return f"<task {self.id!r} of {self._remote.api.name!r}>"


def _task_id(answer: Answer, *, url: str) -> str:
    task_id = json_object(answer, url=url).get("task_id")
    if not isinstance(task_id, str) or not task_id:
        raise unreadable(url, status=answer.status)
    return task_id


def _asked_wait_s(answer: Answer) -> float:
    header = answer.headers.get("retry-after", "")
    return retry_after_s(header, now=datetime.now(UTC)) or 0.0
