"""Errors as answers: one JSON object for every error, with what HTTP wants said beside it."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from dosirak.errors import DosirakError
from dosirak.payload.codec import error_response
from dosirak.payload.wire import WireResponse


def problem_response(
    error: DosirakError, *, request_id: str, headers: Iterable[tuple[str, str]] = ()
) -> WireResponse:
    """Write an error that no codec writes: it arose before or beside an api."""
    return replace(
        error_response(error, request_id=request_id),
        headers=(*headers, *status_headers(error.http_status)),
    )


def status_headers(status: int) -> tuple[tuple[str, str], ...]:
    """Return the headers that go with a status whoever answers it."""
    match status:
        case 401:
            return (("www-authenticate", "Bearer"),)
        case 408 | 413:
            # The rest of the body is not read, so the connection cannot be used again.
            return (("connection", "close"),)
        case 429 | 503:
            return (("retry-after", "1"),)
        case _:
            return ()
