"""What one worker asks of other services, at the front: calls begun, answered and withdrawn.

    Call ─▶ the other service's pool ─▶ Answer │ StreamBegan, Chunk…, StreamEnded

A call lives no longer than its caller: when that withdraws it, or its worker ends, it is cancelled
where it waits or runs. Bodies pass through; the front does not read them.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from dosirak.errors import DosirakError, NotFound
from dosirak.observe.timings import CallTimings
from dosirak.payload.wire import Body, WireRequest, WireResponse, WireStream
from dosirak.serving.messages import (
    Answer,
    Call,
    Cancel,
    Credit,
    StreamBegan,
    Times,
)
from dosirak.serving.problems import problem_response
from dosirak.serving.stream_pieces import Send, StreamSender
from dosirak.spec.context import Context


class OtherServices(Protocol):
    """Answers the calls that workers make of other services (see `dependency_pools`)."""

    async def call(
        self,
        service: str,
        api: str,
        request: WireRequest,
        context: Context,
        timings: CallTimings,
    ) -> WireResponse | WireStream:
        """Answer one call (see `calls.Calls`)."""
        ...


class NoOtherServices:
    """Of a service that depends on none."""

    async def call(
        self,
        service: str,
        api: str,
        request: WireRequest,
        context: Context,
        timings: CallTimings,
    ) -> WireResponse | WireStream:
        """Refuse.

        Raises:
            NotFound: always.
        """
        raise no_such_service(service)


class Asked:
    """The calls of one worker.

    Args:
        others: answers them.
        send: writes a message to the worker.
    """

    def __init__(self, others: OtherServices, send: Send) -> None:
        self._others = others
        self._send = send
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._streams = StreamSender(send)

    def receive(self, message: Call | Cancel | Credit, body: Body) -> None:
        """Take what the worker says."""
        match message:
            case Call():
                # The body outlives this turn of the loop; a view of what was read must not.
                task = asyncio.create_task(self._answer(message, bytes(body)))
                self._calls[message.call_id] = task
                task.add_done_callback(lambda _done: self._calls.pop(message.call_id, None))
            case Cancel(call_id):
                if call_id in self._calls:
                    self._calls[call_id].cancel()
            case Credit(call_id):
                self._streams.credit(call_id)

    def close(self) -> None:
        """The worker has gone: nobody waits for its calls."""
        for task in self._calls.values():
            task.cancel()

    async def _answer(self, call: Call, body: bytes) -> None:
        timings = CallTimings()
        try:
            answer = await self._others.call(
                call.service, call.api, call.request(body), call.context(), timings
            )
        except DosirakError as error:
            answer = problem_response(error, request_id=call.request_id)
        head = (call.call_id, answer.status, answer.content_type, answer.headers, Times.of(timings))
        if isinstance(answer, WireStream):
            self._send(StreamBegan(*head), b"")
            await self._streams.run(call.call_id, answer)
        else:
            self._send(Answer(*head), answer.body)


def no_such_service(name: str) -> NotFound:
    """Return the error for a service that has no workers of its own."""
    return NotFound(
        f"No service {name!r} has workers of its own here.",
        remedy="Name it with dosirak.depends(…, workers=…).",
    )
