"""An acceptor's plain requests at the owner: the same requests on the same routes as its own.

    Forwarded ─▶ ForwardedRequest ─▶ hot route ─▶ pool … answer ─▶ Answers, once a turn

Metrics, log, traces, limits, quarantine and queue do not know the difference.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from dosirak.errors import ApiNotFound, ServiceError
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.payload.wire import Body
from dosirak.serving.channel import Channel
from dosirak.serving.forwarding import Answers, Forwarded, GivenHead, Withdrawn
from dosirak.serving.heads import PlainRequest
from dosirak.serving.hot_protocol import HotRequest, HotRoute
from dosirak.serving.messages import BrokenFrame, Headers, cut
from dosirak.serving.problems import problem_response

_MOST_ORIGINS = 1024

_log = logging.getLogger(f"{ROOT_LOGGER}.serving.front")

GivenAnswer: TypeAlias = tuple[int, tuple[int, str, Headers, bytes], Body]


class ForwardedRequest(HotRequest):
    """A request that another process has read.

    Attributes:
        number: what its acceptor knows it by.
    """

    __slots__ = ("number",)

    def __init__(
        self,
        origin: Origin,
        route: HotRoute,
        plain: PlainRequest,
        body: Body,
        request_id: str,
        number: int,
        arrived_s: float,
    ) -> None:
        super().__init__(origin, route, plain, body, request_id)
        # What it may take began when it arrived there.
        self.deadline_s += arrived_s - self.arrived_s
        self.arrived_s = arrived_s
        self.number = number


class Origin:
    """One client of an acceptor; stands for the connections that it has there."""

    __slots__ = ("_calls", "client")

    def __init__(self, calls: ForwardedCalls, client: str) -> None:
        self._calls = calls
        self.client = client

    def send_answer(
        self, request: HotRequest, status: int, content_type: str, headers: Headers, body: Body
    ) -> None:
        """Answer with the others of this turn."""
        head = (status, content_type, headers, request.route.revision)
        self._calls.answer(request, head, body)


class ForwardedCalls:
    """The requests of one acceptor.

    Args:
        channel: to the acceptor.
        routes: returns the routes of the present revision.
    """

    def __init__(
        self, channel: Channel[Any], routes: Callable[[], Mapping[bytes, HotRoute]]
    ) -> None:
        self._channel = channel
        self._routes = routes
        self._loop = asyncio.get_running_loop()
        self._heads: dict[int, PlainRequest] = {}
        self._origins: dict[str, Origin] = {}
        self._waiting: dict[int, ForwardedRequest] = {}
        self._answers: list[GivenAnswer] = []

    def receive(self, message: Forwarded, body: Body) -> None:
        """Take requests.

        Raises:
            BrokenFrame: the message contradicts itself.
        """
        if message.forget:
            self._heads.clear()
        for head in message.new_heads:
            self._heads[head.number] = head.plain()
        routes = self._routes()
        columns = zip(
            message.numbers,
            message.head_of,
            message.request_ids,
            message.clients,
            message.arrived_s,
            cut(body, message.sizes),
            strict=True,
        )
        try:
            for number, at, request_id, client, arrived_s, part in columns:
                plain = self._heads[at]
                route = routes.get(plain.path)
                if route is None:
                    self._refuse(number, request_id)
                    continue
                request = ForwardedRequest(
                    self._origin(client), route, plain, part, request_id, number, arrived_s
                )
                self._waiting[number] = request
                route.submit(request)
        except (KeyError, ValueError) as error:
            raise BrokenFrame("requests that were forwarded do not fit their message") from error

    def withdraw(self, message: Withdrawn) -> None:
        """Nobody waits for these any more."""
        for number in message.numbers:
            request = self._waiting.pop(number, None)
            if request is not None:
                _abandon(request)

    def answer(
        self, request: HotRequest, head: tuple[int, str, Headers, bytes], body: Body
    ) -> None:
        """Answer one with the others of this turn; nothing when nobody waits for it."""
        if isinstance(request, ForwardedRequest) and self._waiting.pop(request.number, None):
            self._add(request.number, head, body)

    def lose(self) -> None:
        """The acceptor has gone, and its clients with it."""
        waiting, self._waiting = self._waiting, {}
        for request in waiting.values():
            _abandon(request)

    def _refuse(self, number: int, request_id: str) -> None:
        """Answer one whose route has gone while it came."""
        error = ApiNotFound(
            "There is nothing at this path.", remedy="Look at the routes at /schema.json."
        )
        problem = problem_response(error, request_id=request_id)
        self._add(number, (problem.status, problem.content_type, (), b""), problem.body)

    def _add(self, number: int, head: tuple[int, str, Headers, bytes], body: Body) -> None:
        if not self._answers:
            self._loop.call_soon(self._flush)
        self._answers.append((number, head, body))

    def _flush(self) -> None:
        answers, self._answers = self._answers, []
        self._send(answers)

    def _send(self, answers: list[GivenAnswer]) -> None:
        if not answers:
            return
        heads: dict[tuple[int, str, Headers, bytes], int] = {}
        head_of = [heads.setdefault(head, len(heads)) for _, head, _ in answers]
        bodies = [body for _, _, body in answers]
        sizes = [len(body) for body in bodies]
        message = Answers(
            [number for number, _, _ in answers],
            [GivenHead(*head) for head in heads],
            head_of,
            sizes,
        )
        if not self._channel.send_batch(message, bodies, sum(sizes)):
            # Their heads are too large for one message.
            half = len(answers) // 2
            self._send(answers[:half] or [_without_head(*answers[0])])
            self._send(answers[half:] if half else [])

    def _origin(self, client: str) -> Origin:
        origin = self._origins.get(client)
        if origin is None:
            if len(self._origins) >= _MOST_ORIGINS:
                self._origins.clear()
            origin = self._origins[client] = Origin(self, client)
        return origin


def _abandon(request: ForwardedRequest) -> None:
    """Nobody waits for a request; whatever that leads to, those after it are abandoned, too."""
    try:
        request.abandon()
    except Exception:
        _log.exception("A request whose client has gone could not be taken back.")


def _without_head(number: int, head: tuple[int, str, Headers, bytes], _body: Body) -> GivenAnswer:
    """Return what is answered when an answer's own head is more than one message carries."""
    error = ServiceError(
        "The headers of the answer are too large.", remedy="Set fewer in the handler."
    )
    problem = problem_response(error, request_id="")
    return number, (problem.status, problem.content_type, (), head[3]), problem.body
