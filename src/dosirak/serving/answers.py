"""What a handler said about its answer through the context, checked and put on it.

A header from user code is checked here once for every transport: a line break in one would let a
value in it write the rest of the answer.
"""

from __future__ import annotations

import re
from typing import TypeVar

from msgspec.structs import replace

from dosirak.errors import ResultError
from dosirak.payload.wire import WireResponse, WireStream
from dosirak.spec.context import Context

AnswerT = TypeVar("AnswerT", WireResponse, WireStream)

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
# The transport's own: a wrong one would break the framing of the message.
_FRAMING = frozenset({"connection", "content-length", "content-type", "transfer-encoding"})


def with_context(answer: AnswerT, context: Context) -> AnswerT:
    """Return the answer with the context's status and headers.

    Raises:
        ResultError: a header or the status cannot be sent (the author's fault).
    """
    if context.response_status == 200 and not context.response_headers:
        return answer
    return replace(
        answer,
        status=_checked_status(context.response_status, answer.status),
        headers=(*answer.headers, *map(_checked_header, context.response_headers.items())),
    )


def _checked_status(status: object, own: int) -> int:
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise ResultError(
            f"The response status {status!r} cannot be sent.", remedy="Use 200 to 599."
        )
    return own if status == 200 else status


def _checked_header(header: tuple[object, object]) -> tuple[str, str]:
    name, value = header
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.lower() in _FRAMING:
        raise ResultError(
            f"The response header {name!r} cannot be set.",
            remedy="Use a token that is not the transport's own, such as X-Model.",
        )
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise ResultError(
            f"The value of the response header {name!r} cannot be sent.",
            remedy="Use a string of Latin-1 characters on one line.",
        )
    return name.lower(), value
