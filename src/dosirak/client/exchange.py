"""One call over the wire, from the first attempt to its answer, without doing any of it.

A *conversation* is a generator that yields what is to be done next, `Send` or `Wait`, and is sent
what came of it. `SyncHTTPClient` and `AsyncHTTPClient` only perform these two; everything that can
be decided is decided here and in `session`, once for both.

    conversation ── Send(request, 29.8 s) ──▶ client ──▶ network
                 ◀── Answer | Opened, or an exception of the HTTP library thrown in ──
                 ── Wait(0.07 s) ──▶ client
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import httpx2

from dosirak.client.answer import Answer
from dosirak.client.failure import Failure, failure_of_answer, failure_of_exception
from dosirak.client.request import PreparedRequest
from dosirak.client.retry import RetryPolicy
from dosirak.errors import DeadlineExceeded
from dosirak.observe.opentelemetry import outgoing_headers
from dosirak.spec.calling import current_call

ResultT = TypeVar("ResultT")

# What the HTTP library may raise on the way; anything else is a mistake in this package. It reads
# cookies as text, whatever bytes they are: hence the last.
TRANSPORT_ERRORS = (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, UnicodeError)
# A connection takes milliseconds or never comes: leave time for another attempt.
_CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request now, and read its answer within `timeout_s` (infinite: no limit)."""

    request: PreparedRequest
    timeout_s: float

    def build(self, client: httpx2.Client | httpx2.AsyncClient) -> httpx2.Request:
        """Return the request as the HTTP library sends it, with a limit on each step."""
        step_s = self.timeout_s if math.isfinite(self.timeout_s) else None
        return client.build_request(
            self.request.method,
            self.request.url,
            # A header of the caller's own comes first.
            headers={
                **_inherited_headers(),
                **outgoing_headers(),
                **self.request.headers_within(self.timeout_s),
            },
            content=self.request.body,
            timeout=httpx2.Timeout(step_s, connect=min(_CONNECT_TIMEOUT_S, self.timeout_s)),
        )


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for a while."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Opened:
    """A successful answer whose body is still arriving; its first piece has arrived.

    Attributes:
        response: the HTTP library's response, to be closed by whoever receives this.
        first: the first piece; empty when the body was.
        pieces: an iterator, or async iterator, over the rest.
    """

    headers: Mapping[str, str]
    response: httpx2.Response
    first: bytes
    pieces: Any

    @property
    def content_type(self) -> str:
        """The Content-Type header; empty when absent."""
        return self.headers.get("content-type", "")


Effect: TypeAlias = Send | Wait
Conversation: TypeAlias = Generator[Effect, Any, ResultT]


@dataclass(frozen=True, slots=True)
class Exchange:
    """How requests are exchanged for answers.

    Attributes:
        policy: when a request is sent again.
        clock: seconds on a clock that never goes back.
        draw: a random number in [0, 1).
    """

    policy: RetryPolicy = field(default_factory=RetryPolicy)
    clock: Callable[[], float] = time.monotonic
    draw: Callable[[], float] = random.random

    def carry_out(
        self, request: PreparedRequest, *, timeout_s: float
    ) -> Conversation[Answer | Opened]:
        """Send until an attempt succeeds, the policy gives up or the time is over.

        Raises:
            DosirakError: the last attempt's failure.
        """
        timeout_s = _within_the_callers_time(timeout_s)
        deadline_s = self.clock() + timeout_s
        attempt = 0
        while True:
            outcome = yield from self._attempt(request, deadline_s, timeout_s)
            if not isinstance(outcome, Failure):
                return outcome
            wait_s = self.policy.wait_s(
                attempt,
                outcome.reach,
                idempotent=request.idempotent,
                remaining_s=deadline_s - self.clock(),
                draw=self.draw(),
                retry_after_s=outcome.retry_after_s,
            )
            if wait_s is None:
                raise outcome.error from outcome.cause
            yield Wait(wait_s)
            attempt += 1

    def _attempt(
        self, request: PreparedRequest, deadline_s: float, timeout_s: float
    ) -> Conversation[Answer | Opened | Failure]:
        # Never zero: to the socket layer zero means "do not block", not "no time left".
        remaining_s = max(deadline_s - self.clock(), 0.001)
        try:
            outcome = yield Send(request, remaining_s)
        except TRANSPORT_ERRORS as error:
            return failure_of_exception(error, url=request.url, timeout_s=timeout_s)
        if isinstance(outcome, Answer) and not outcome.is_success:
            return failure_of_answer(outcome, url=request.url)
        return outcome


def _inherited_headers() -> dict[str, str]:
    """Return what a handler's call hands on to the calls that are made for it."""
    caller = current_call()
    if caller is None:
        return {}
    headers = caller.outgoing_headers()
    # The time left is the exchange's to say.
    headers.pop("x-request-timeout", None)
    return headers


def _within_the_callers_time(timeout_s: float) -> float:
    """Return how long an exchange may take: nobody works on for a caller whose time is over.

    Raises:
        DeadlineExceeded: it is.
    """
    caller = current_call()
    left_s = None if caller is None else caller.remaining_s
    if left_s is None:
        return timeout_s
    if left_s <= 0.0:
        raise DeadlineExceeded(
            "The time of the call for which this one is made is over.",
            remedy="Send less at once, or allow more time (X-Request-Timeout, timeout_s).",
        )
    return min(timeout_s, left_s)
