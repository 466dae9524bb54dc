"""The request context: each caller's own, never shared, not even within a batch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

# What a call hands on to the calls that are made for it: W3C trace context and baggage, and how
# urgent it is.
HANDED_ON = ("traceparent", "tracestate", "baggage", "priority")


class Context(Struct):
    """What a handler may know of the request and say about the response.

    A handler receives it by annotating a parameter with `Context`; so does a lifecycle hook, of
    which there is no request: its context has only `state`.

    Attributes:
        request_id: the id in the logs and in the `X-Request-Id` response header.
        headers: request headers, names in lower case; read only.
        state: a dictionary that the hooks and all calls of one worker share.
        response_status: the status to answer with when the handler returns.
        response_headers: headers to add to the response.
        deadline_s: when the answer is due, on the clock of `time.monotonic()`; None without limit.
    """

    request_id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    response_status: int = 200
    response_headers: dict[str, str] = field(default_factory=dict)
    deadline_s: float | None = None

    @property
    def remaining_s(self) -> float | None:
        """The time until the answer is due, at least 0; None without limit."""
        if self.deadline_s is None:
            return None
        return max(0.0, self.deadline_s - time.monotonic())

    def outgoing_headers(self) -> dict[str, str]:
        """Return the headers to send with a request that is made for this one.

        They continue its trace, carry its id, and tell a dosirak server how much time is left.
        dosirak's own clients send them by themselves.
        """
        headers = {name: self.headers[name] for name in HANDED_ON if name in self.headers}
        if self.request_id:
            headers["x-request-id"] = self.request_id
        left_s = self.remaining_s
        if left_s is not None:
            headers["x-request-timeout"] = f"{max(left_s, 0.001):.3f}"
        return headers
