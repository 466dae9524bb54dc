"""The conversations of a client with a service: readiness, schema, calls. No I/O (see `exchange`).

A `Session` is what both clients share: it knows the address, the credential and the patience, and
turns a wish into a conversation. It holds no connection and nothing that changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

from dosirak.client.address import Address
from dosirak.client.answer import Answer, unlike_dosirak, unreadable
from dosirak.client.exchange import Conversation, Exchange, Opened, Wait
from dosirak.client.failure import was_refused
from dosirak.client.request import PreparedRequest, checked_headers
from dosirak.client.retry import RetryPolicy
from dosirak.client.schema import RemoteApi, RemoteService, read_schema
from dosirak.errors import (
    DeadlineExceeded,
    DosirakError,
    Forbidden,
    InvalidConfiguration,
    RemoteError,
    Unauthorized,
    Unavailable,
    UsageError,
)

# One probe of `/readyz`: a service that is ready answers it at once.
_PROBE_TIMEOUT_S = 5.0
_FIRST_PROBE_WAIT_S = 0.05
_LONGEST_PROBE_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Session:
    """What a client knows.

    Attributes:
        headers: sent with every request.
        timeout_s: the longest time for one call with its retries; infinite for no limit.
        ready_timeout_s: how long to wait for readiness before the schema is read; None: not at all.
    """

    address: Address
    exchange: Exchange = field(default_factory=Exchange)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    timeout_s: float = 30.0
    ready_timeout_s: float | None = None

    @classmethod
    def open(
        cls,
        url: str,
        *,
        token: str | None,
        timeout_s: float | None,
        ready_timeout_s: float | None,
        retries: int,
        headers: Mapping[str, str] | None,
    ) -> Session:
        """Check what a person gave to a client.

        Raises:
            InvalidConfiguration: a value cannot be used (the caller's fault).
        """
        address = Address.parse(url, token)
        own = {"authorization": address.authorization} if address.authorization else {}
        if retries < 0:
            raise InvalidConfiguration("retries is negative.", remedy="Give 0 for no retries.")
        return cls(
            address=address,
            exchange=Exchange(RetryPolicy(retries=retries)),
            headers={**checked_headers(headers or {}), **own},
            timeout_s=patience_s(timeout_s, "timeout_s"),
            ready_timeout_s=None
            if ready_timeout_s is None
            else patience_s(ready_timeout_s, "ready_timeout_s"),
        )

    def at_urgency(self, urgency: object) -> Session:
        """Return the same, whose requests say how urgent they are (RFC 9218).

        Raises:
            InvalidConfiguration: it is no whole number from 0 to 7 (the caller's fault).
        """
        if isinstance(urgency, bool) or not isinstance(urgency, int) or not 0 <= urgency <= 7:
            raise InvalidConfiguration(
                f"The urgency is {urgency!r:.100}.",
                remedy="Give a whole number from 0 (most urgent) to 7; 3 is what others have.",
            )
        return replace(self, headers={**self.headers, "priority": f"u={urgency}"})

    def connect(self) -> Conversation[RemoteService]:
        """Wait for readiness if asked to, then read the schema.

        Raises:
            Unavailable: nothing answers, or the service did not become ready.
            RemoteError: what answers is no dosirak service.
        """
        if self.ready_timeout_s is not None:
            yield from self.wait_until_ready(self.ready_timeout_s)
        request = self._get("/schema.json")
        try:
            answer = yield from self.whole(request)
        except RemoteError as error:
            if error.status in (404, 405):
                raise unlike_dosirak(self.address.base, status=error.status) from error
            raise
        return read_schema(answer, url=self.address.base)

    def is_ready(self) -> Conversation[bool]:
        """Ask once whether the service can answer now."""
        return (yield from self._probe(min(self.timeout_s, _PROBE_TIMEOUT_S))) is None

    def wait_until_ready(self, timeout_s: float) -> Conversation[None]:
        """Ask again and again until the service is ready.

        Raises:
            Unavailable: it was not within `timeout_s`; the cause is what was met last.
            Unauthorized, Forbidden: the credential is refused, which no waiting changes.
        """
        end_s = self.exchange.clock() + timeout_s
        wait_s = _FIRST_PROBE_WAIT_S
        while True:
            remaining_s = end_s - self.exchange.clock()
            problem = yield from self._probe(max(0.001, min(remaining_s, _PROBE_TIMEOUT_S)))
            if problem is None:
                return
            if isinstance(problem, Unauthorized | Forbidden):
                raise problem
            if end_s - self.exchange.clock() <= wait_s:
                raise self._not_ready(timeout_s, problem) from problem
            yield Wait(wait_s)
            wait_s = min(_LONGEST_PROBE_WAIT_S, wait_s * 1.5)

    def call(self, api: RemoteApi, request: PreparedRequest) -> Conversation[Any]:
        """Call an api and read its result.

        Raises:
            DosirakError: the service's error, or what prevented an answer.
        """
        answer = yield from self.whole(request)
        return read_result(api, answer, url=request.url)

    def open_stream(self, request: PreparedRequest) -> Conversation[Opened]:
        """Call an api that streams, until the first piece has arrived.

        Raises:
            DosirakError: the service's error, or what prevented an answer.
        """
        opened = yield from self.exchange.carry_out(request, timeout_s=self.timeout_s)
        if not isinstance(opened, Opened):
            raise unreadable(request.url)
        return opened

    def request_to(
        self, api: RemoteApi, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> PreparedRequest:
        """Write arguments into a request to an api.

        Raises:
            InvalidInput: the arguments do not fit the api (the caller's fault).
        """
        content_type, body = api.codec.encode_arguments(args, kwargs)
        content_headers = {"content-type": content_type} if content_type else {}
        return PreparedRequest(
            method=api.method,
            url=self.address.at(api.route),
            headers={**self.headers_for(api), **content_headers},
            body=bytes(body),
            idempotent=api.idempotent,
            whole=not api.streams,
        )

    def headers_for(self, api: RemoteApi) -> dict[str, str]:
        """Return the headers that every request for an api's result carries."""
        return {**self.headers, "accept": api.codec.accept}

    def whole(self, request: PreparedRequest) -> Conversation[Answer]:
        """Exchange a request for a complete, successful answer.

        Raises:
            DosirakError: the service's error, or what prevented an answer.
        """
        answer = yield from self.exchange.carry_out(request, timeout_s=self.timeout_s)
        if not isinstance(answer, Answer):
            raise unreadable(request.url)
        return answer

    def _get(self, path: str) -> PreparedRequest:
        headers = {**self.headers, "accept": "application/json"}
        return PreparedRequest("GET", self.address.at(path), headers)

    def _probe(self, timeout_s: float) -> Conversation[DosirakError | None]:
        """Return what keeps the service from being ready; None when it is."""
        once = Exchange(RetryPolicy(retries=0), clock=self.exchange.clock)
        try:
            yield from once.carry_out(self._get("/readyz"), timeout_s=timeout_s)
        except InvalidConfiguration:
            raise
        except DosirakError as error:
            return error
        return None

    def _not_ready(self, timeout_s: float, problem: DosirakError) -> Unavailable:
        late = f"The service at {self.address.base} was not ready within {timeout_s:g} s"
        if was_refused(problem):
            return DeadlineExceeded(
                f"{late}: the connection was refused.",
                remedy="Check the address and its port, and that the service is running.",
            )
        return DeadlineExceeded(f"{late}.", remedy="See the service's log, or allow more time.")


def read_result(api: RemoteApi, answer: Answer, *, url: str) -> Any:
    """Read the result of a call.

    Raises:
        RemoteError: the body is not what the schema promises (the server's fault).
    """
    try:
        return api.codec.decode_result(answer.content_type, answer.body)
    # A stranger's bytes go through many libraries' readers; each has its own ways to refuse them.
    except Exception as error:
        raise unreadable(url, error, status=answer.status) from error


def closed_client(url: str) -> UsageError:
    """Return the error for using a client that was closed."""
    return UsageError(
        f"This client of {url} is closed.", remedy="Make a new one, or close it later."
    )


def patience_s(timeout_s: object, name: str) -> float:
    """Return a timeout as a number; None is infinite.

    Raises:
        InvalidConfiguration: it is no number of more than nothing (the caller's fault).
    """
    if timeout_s is None:
        return math.inf
    if not isinstance(timeout_s, bool) and isinstance(timeout_s, Real):
        with suppress(OverflowError):
            seconds = float(timeout_s)
            if seconds > 0:
                return seconds
    raise InvalidConfiguration(
        f"{name} is {timeout_s!r:.100}.",
        remedy="Give a number of seconds greater than 0, or None for no limit.",
    )
