"""The request context: each caller's own, never shared, not even within a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field


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
