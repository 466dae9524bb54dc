"""What every store of tasks promises, and what it is told and tells. Where: `task_store_sqlite`, …

    submit ─▶ waiting ─▶ claim ─▶ running ─▶ finish ─▶ success │ failure ─▶ forgotten
                 ▲──── release, or its server is gone ──┘   (cancel from either, too)

A task is kept before its caller is told of it, and its answer before it is called done. Whoever
claims one holds it alone, and only that holder, in that attempt, can finish it: an answer once
shown never changes, whatever crashes or comes back late. All calls block; they belong on a thread.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from dosirak.errors import IntegrityError, Overloaded, Unavailable
from dosirak.observe.rejections import QUEUE_FULL
from dosirak.payload.wire import Body, WireRequest, WireResponse

TaskStatus = Literal["in_progress", "success", "failure", "cancelled"]

# Credentials are for the moment of the request, not for the disk.
_NOT_KEPT = frozenset({"authorization", "cookie", "proxy-authorization", "x-task-webhook"})


@dataclass(frozen=True, slots=True)
class TaskLimits:
    """How much is kept, and for how long.

    Attributes:
        max_waiting: tasks not done; more are refused.
        kept_s: how long a finished task can be asked for.
        waiting_s: how long a task may wait to be begun; then it has failed.
        lease_s: how long the tasks of a server that says nothing more are left to it.
    """

    max_waiting: int = 10_000
    kept_s: float = 86_400.0
    waiting_s: float = 7 * 86_400.0
    lease_s: float = 30.0


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What may be said of a task."""

    id: str
    api: str
    status: TaskStatus
    created_at: float
    executed_at: float | None


@dataclass(frozen=True, slots=True)
class ClaimedTask:
    """A task to run now; `attempts` counts this one."""

    id: str
    api: str
    attempts: int
    request: WireRequest


@dataclass(frozen=True, slots=True)
class Delivery:
    """A task that has ended, and somebody to be told of it now.

    Attributes:
        url: who.
        attempts: how often it was tried, this time included.
        answer: the task's answer; None when it was cancelled.
    """

    task: TaskRecord
    url: str
    attempts: int
    answer: WireResponse | None


class TaskStore(Protocol):
    """The tasks of one service. Any call raises `Unavailable` when the store cannot be reached."""

    @property
    def at_once(self) -> int:
        """How many calls may be made at once, each on a thread."""
        ...

    @property
    def look_every_s(self) -> float:
        """How often to look for what other servers have left."""
        ...

    @property
    def renew_every_s(self) -> float:
        """How often to call `renew`."""
        ...

    def open(self) -> None:
        """Connect, and take over the tasks of servers that are gone."""
        ...

    def close(self) -> None:
        """Leave unfinished tasks to whoever opens the store next."""
        ...

    def submit(self, api: str, request: WireRequest, *, webhook: str = "") -> TaskRecord:
        """Keep a task to be run.

        Raises:
            Overloaded: too many are waiting.
        """
        ...

    def submit_again(self, api: str, task_id: str) -> TaskRecord | None:
        """Keep a new task with the request of another; None when that is gone.

        Raises:
            Overloaded: too many are waiting.
        """
        ...

    def find(self, api: str, task_id: str) -> TaskRecord | None:
        """Return what is known of a task."""
        ...

    def answer_of(self, api: str, task_id: str) -> WireResponse | None:
        """Return the answer of a finished task, error or not."""
        ...

    def cancel(self, api: str, task_id: str) -> bool:
        """Mark an unfinished task as cancelled; return whether it was unfinished."""
        ...

    def claim(self) -> ClaimedTask | None:
        """Take the oldest waiting task for this server."""
        ...

    def renew(self, tasks: Collection[ClaimedTask]) -> set[str]:
        """Say that this server still runs these; return the ids of those it no longer holds."""
        ...

    def finish(self, task: ClaimedTask, response: WireResponse) -> bool:
        """Keep the answer of a claimed task, unless it is no longer held; may be repeated."""
        ...

    def release(self, task: ClaimedTask) -> None:
        """Give a claimed task back unfinished, to be run again; the attempt does not count."""
        ...

    def take_over(self) -> None:
        """Make the unfinished tasks of servers that are gone wait again."""
        ...

    def expire_waiting(self, response: WireResponse) -> list[str]:
        """Fail tasks that have waited too long with this answer; return the api of each."""
        ...

    def forget_expired(self) -> None:
        """Delete finished tasks that nobody can ask for any more."""
        ...

    def claim_delivery(self, hold_s: float) -> Delivery | None:
        """Take a delivery that is due; unless it ends, it is due again after `hold_s`."""
        ...

    def end_delivery(self, task_id: str, again_in_s: float | None) -> None:
        """Note a delivery as ended for good, or as due again."""
        ...


class _KeptRequest(msgspec.Struct, frozen=True):
    content_type: str
    accept: str
    headers: dict[str, str]
    query: str


class _KeptResponse(msgspec.Struct, frozen=True):
    status: int
    content_type: str
    headers: tuple[tuple[str, str], ...]


def pack_request(request: WireRequest) -> bytes:
    """Write all of a request that is kept, but for its body."""
    headers = {k: v for k, v in request.headers.items() if k not in _NOT_KEPT}
    kept = _KeptRequest(request.content_type, request.accept, headers, request.query)
    return msgspec.msgpack.encode(kept)


def unpack_request(packed: bytes, body: Body) -> WireRequest:
    """Read what `pack_request` wrote."""
    kept = msgspec.msgpack.decode(packed, type=_KeptRequest)
    return WireRequest(body, kept.content_type, kept.accept, kept.headers, kept.query)


def pack_response(response: WireResponse) -> bytes:
    """Write all of an answer, but for its body."""
    kept = _KeptResponse(response.status, response.content_type, response.headers)
    return msgspec.msgpack.encode(kept)


def unpack_response(packed: bytes, body: Body) -> WireResponse:
    """Read what `pack_response` wrote."""
    kept = msgspec.msgpack.decode(packed, type=_KeptResponse)
    return WireResponse(body, kept.content_type, kept.status, kept.headers)


def status_of(response: WireResponse) -> TaskStatus:
    """Return what became of a task that was answered so."""
    return "success" if response.status < 400 else "failure"


def out_of_reach() -> Unavailable:
    """Return the error for callers of a store that fails: what and where it is, is not theirs."""
    return Unavailable("The task store cannot be reached.", remedy="Try again later.")


def unreadable() -> IntegrityError:
    """Return the error for what is kept of a task and cannot be read."""
    return IntegrityError("What was kept of the task cannot be read.", remedy="Submit it again.")


def too_many(limit: int) -> Overloaded:
    """Return the error for a task that is one too many."""
    error = Overloaded(
        f"{limit} tasks are waiting or running, which is the limit.",
        remedy="Submit it again later, or allow more with --task-max-waiting.",
    )
    error.rejection = QUEUE_FULL
    return error


def as_json(record: TaskRecord) -> Mapping[str, object]:
    """Return what a caller is told of a task."""
    return {
        "task_id": record.id,
        "status": record.status,
        "created_at": moment(record.created_at),
        "executed_at": None if record.executed_at is None else moment(record.executed_at),
    }


def moment(at_s: float) -> str:
    """Write a time of the wall clock."""
    whole_s = int(at_s)
    clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole_s))
    return f"{clock}.{int((at_s - whole_s) * 1000):03d}Z"
