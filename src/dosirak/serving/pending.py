"""A request between its arrival at the front and its answer, whoever waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from dosirak.errors import DosirakError, HeadTooLarge
from dosirak.observe.timings import CallTimings
from dosirak.payload.wire import Body, WireRequest, WireResponse
from dosirak.serving.messages import AnswerBatch, AnswerHead, CallBatch, RequestHead
from dosirak.serving.urgency import DEFAULT_URGENCY, PRIORITY_HEADER, urgency_of
from dosirak.spec.context import Context


def head_too_large() -> HeadTooLarge:
    """Return the error for a request whose head alone is more than one message carries."""
    return HeadTooLarge(
        "The head of the request is too large to be passed on.",
        remedy="Send fewer and shorter headers.",
    )


class BatchWorker(Protocol):
    """A worker as the dispatcher needs it."""

    def send_batch(self, batch: CallBatch, bodies: Sequence[Body], body_bytes: int) -> bool:
        """Send a message of calls; False when their heads are too large for one."""
        ...

    def withdraw(self, batch_id: int, index: int) -> None:
        """Say that nobody waits for one of them any more."""
        ...

    def kill(self, reason: str) -> None:
        """End the worker now."""
        ...

    def on_end(self, told: Callable[[str], None]) -> None:
        """Tell why it ended, as soon as that is known: the name of a signal, if it was one."""
        ...


class PendingCall:
    """One request; exactly one of `answered` and `failed` is called, unless it is withdrawn.

    Attributes:
        head: what its head says, shared by requests that say the same.
        deadline_s: on the clock of `time.monotonic()`; None without limit.
        arrived_s: on the same clock.
        done: it was answered, it failed, or nobody waits for it.
        crashes: workers that ended while they may have been running it.
        sends: workers that it was sent to.
        worker: who has it; None while it waits.
        batch_id: the message that it is in.
        index: its place in that message.
        urgency: 0 to 7, the most urgent first (see `urgency`).
    """

    __slots__ = (
        "arrived_s",
        "batch_id",
        "body",
        "crashes",
        "deadline_s",
        "done",
        "head",
        "index",
        "request_id",
        "sends",
        "urgency",
        "worker",
    )

    def __init__(
        self,
        head: RequestHead,
        body: Body,
        request_id: str,
        *,
        arrived_s: float,
        deadline_s: float | None,
        urgency: int = DEFAULT_URGENCY,
    ) -> None:
        self.head = head
        self.body = body
        self.request_id = request_id
        self.arrived_s = arrived_s
        self.deadline_s = deadline_s
        self.done = False
        self.crashes = 0
        self.sends = 0
        self.worker: BatchWorker | None = None
        self.batch_id = 0
        self.index = 0
        self.urgency = urgency

    def answered(self, head: AnswerHead, body: Body, batch: AnswerBatch) -> None:
        """Take the answer."""
        raise NotImplementedError

    def failed(self, error: DosirakError) -> None:
        """Take the error that stands for an answer."""
        raise NotImplementedError


class AwaitedCall(PendingCall):
    """A request that a coroutine waits for."""

    __slots__ = ("_timings", "answer")

    def __init__(self, request: WireRequest, context: Context, timings: CallTimings) -> None:
        head = RequestHead(
            request.content_type,
            request.accept,
            dict(request.headers),
            request.query,
            request.method,
        )
        super().__init__(
            head,
            request.body,
            context.request_id,
            arrived_s=time.monotonic(),
            deadline_s=context.deadline_s,
            urgency=urgency_of(request.headers.get(PRIORITY_HEADER, "")),
        )
        self._timings = timings
        self.answer: asyncio.Future[WireResponse] = asyncio.get_running_loop().create_future()

    def answered(self, head: AnswerHead, body: Body, batch: AnswerBatch) -> None:
        """Take the answer."""
        # Counted with the message; what is said here is for the request's trace.
        self._timings.began_s = batch.began_s
        self._timings.compute_s = batch.compute_s
        self._timings.shared = True
        if not self.answer.done():
            self.answer.set_result(
                WireResponse(body, head.content_type, head.status, tuple(head.headers))
            )

    def failed(self, error: DosirakError) -> None:
        """Take the error."""
        if not self.answer.done():
            self.answer.set_exception(error)
