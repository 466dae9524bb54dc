"""Answers to what is not HTTP, or not within bounds: written whole, before any application."""

from __future__ import annotations

from dosirak.errors import DosirakError
from dosirak.observe.request_ids import new_request_id
from dosirak.serving.problems import problem_response

_REASONS = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


def written(error: DosirakError) -> bytes:
    """Return an answer with an error that closes its connection."""
    request_id = new_request_id()
    response = problem_response(error, request_id=request_id)
    head = (
        b"HTTP/1.1 %d %s\r\n" % (response.status, _REASONS[response.status]),
        b"content-type: application/json\r\nx-content-type-options: nosniff\r\n",
        b"x-request-id: %s\r\n" % request_id.encode("ascii"),
        b"content-length: %d\r\nconnection: close\r\n\r\n" % len(response.body),
    )
    return b"".join((*head, bytes(response.body)))
