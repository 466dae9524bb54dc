"""An acceptor's plain requests on their way to the owner and back.

All that arrives in one turn of the loop goes in one message, which is how many callers become one
batch however they are spread over fronts.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from typing import Any

from dosirak.errors import DosirakError
from dosirak.payload.wire import Body
from dosirak.serving.channel import Channel
from dosirak.serving.forwarding import Answers, Forwarded, ForwardedHead, Withdrawn
from dosirak.serving.heads import PlainRequest
from dosirak.serving.hot_protocol import HotRequest
from dosirak.serving.messages import AnswerBatch, cut
from dosirak.serving.pending import head_too_large

_MOST_HEADS = 1024
_MOST_REVISIONS = 64


class ForwardingRoute:
    """Where an acceptor's plain requests go, whatever their path; one for each revision seen."""

    __slots__ = ("_link", "revision", "timeout_s")

    def __init__(self, link: OwnersLink, revision: bytes = b"") -> None:
        self._link = link
        self.revision = revision
        # The owner knows what a call may take, and answers in time.
        self.timeout_s = math.inf

    def submit(self, request: HotRequest) -> None:
        """Send the request with the others of this turn."""
        self._link.submit(request)

    def withdraw(self, request: HotRequest) -> None:
        """Tell the owner that nobody waits."""
        self._link.withdraw(request)

    def note(self, request: HotRequest, batch: AnswerBatch | None = None) -> None:
        """Nothing: the owner counts and logs."""

    def note_failure(self, status: int, body: Body) -> None:
        """Nothing: the owner counts and logs."""

    def note_error(self, request: HotRequest, error: DosirakError) -> None:
        """Nothing: the owner counts and logs."""


class OwnersLink:
    """The requests that the owner has not answered.

    Args:
        channel: to the owner.
    """

    def __init__(self, channel: Channel[Any]) -> None:
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, HotRequest] = {}
        self._outgoing: list[HotRequest] = []
        self._withdrawn: list[int] = []
        self._flushing = False
        self._forgets = False
        # By identity: requests that say the same share their head. The head itself is kept, so
        # that no other can have its identity.
        self._heads: dict[int, tuple[int, PlainRequest]] = {}
        self._routes: dict[bytes, ForwardingRoute] = {}
        self.route = ForwardingRoute(self)

    def submit(self, request: HotRequest) -> None:
        """Send a request with the others of this turn."""
        number = request.batch_id = next(self._numbers)
        self._waiting[number] = request
        self._outgoing.append(request)
        self._soon()

    def withdraw(self, request: HotRequest) -> None:
        """Tell the owner that nobody waits for a request."""
        if self._waiting.pop(request.batch_id, None) is not None:
            self._withdrawn.append(request.batch_id)
            self._soon()

    def take_answers(self, answers: Answers, body: Body) -> None:
        """Write answers to their connections."""
        parts = cut(body, answers.sizes)
        for number, at, part in zip(answers.numbers, answers.head_of, parts, strict=True):
            request = self._waiting.pop(number, None)
            if request is None:
                continue
            head = answers.heads[at]
            request.route = self._route_of(head.revision)
            request.status = head.status
            request.connection.send_answer(
                request, head.status, head.content_type, tuple(head.headers), part
            )

    def _route_of(self, revision: bytes) -> ForwardingRoute:
        route = self._routes.get(revision)
        if route is None:
            if len(self._routes) >= _MOST_REVISIONS:
                self._routes.clear()
            route = self._routes[revision] = ForwardingRoute(self, revision)
        return route

    def _soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        requests, self._outgoing = self._outgoing, []
        if requests:
            self._send(requests)
        if self._withdrawn:
            numbers, self._withdrawn = self._withdrawn, []
            self._channel.send(Withdrawn(numbers))

    def _send(self, requests: list[HotRequest]) -> None:
        message = self._message(requests)
        bodies = [request.body for request in requests]
        if self._channel.send_batch(message, bodies, sum(message.sizes)):
            return
        # Their heads are too large for one message, and the owner has seen none of them.
        self._forgets = True
        if len(requests) == 1:
            self._waiting.pop(requests[0].batch_id, None)
            requests[0].failed(head_too_large())
            return
        half = len(requests) // 2
        self._send(requests[:half])
        self._send(requests[half:])

    def _message(self, requests: list[HotRequest]) -> Forwarded:
        forget, self._forgets = self._forgets or len(self._heads) >= _MOST_HEADS, False
        if forget:
            self._heads.clear()
        new_heads: list[ForwardedHead] = []
        return Forwarded(
            forget,
            new_heads,
            [request.batch_id for request in requests],
            [self._head_number(request.plain, new_heads) for request in requests],
            [request.request_id for request in requests],
            [request.connection.client for request in requests],
            [request.arrived_s for request in requests],
            [len(request.body) for request in requests],
        )

    def _head_number(self, plain: PlainRequest, new_heads: list[ForwardedHead]) -> int:
        # Requests that differ in nothing but their ids have it in common.
        known = self._heads.get(id(plain.wire))
        if known is not None:
            return known[0]
        number = len(self._heads)
        self._heads[id(plain.wire)] = number, plain
        new_heads.append(ForwardedHead.of(number, plain))
        return number
