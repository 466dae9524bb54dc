"""The heads of answers of the hot path: the same lines, in the same order, as the application's.

All that does not change from answer to answer is kept ready. The date changes each second, so what
is kept is forgotten each second.
"""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from dosirak.serving.http.guard import SECURITY_HEADERS
from dosirak.serving.http.served import REVISION_HEADER
from dosirak.serving.messages import Headers
from dosirak.serving.problems import status_headers

_MOST_KEPT = 256
_SECURITY = b"".join(b"\r\n" + name + b": " + value for name, value in SECURITY_HEADERS)


class AnswerHeads:
    """Writes the heads of answers."""

    def __init__(self) -> None:
        self._second = 0
        self._kept: dict[tuple[int, str, Headers], bytes] = {}

    def write(
        self,
        status: int,
        content_type: str,
        headers: Headers,
        body_bytes: int,
        request_id: str,
        revision: bytes,
        *,
        close: bool,
    ) -> bytes:
        """Return a head, with the empty line after it; `revision` is what `revision_line` wrote."""
        key = (status, content_type, headers)
        start = self._kept.get(key)
        if start is None:
            start = self._keep(key)
        if status < 400 and not close:
            return b"%b%d\r\nx-request-id: %b%b%b\r\n\r\n" % (
                start,
                body_bytes,
                request_id.encode("ascii"),
                _SECURITY,
                revision,
            )
        return b"%b%d\r\nx-request-id: %b%b%b%b\r\n\r\n" % (
            start,
            body_bytes,
            request_id.encode("ascii"),
            _SECURITY,
            revision,
            _more(status, close=close),
        )

    def tick(self) -> None:
        """Forget heads of another second."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._kept.clear()

    def _keep(self, key: tuple[int, str, Headers]) -> bytes:
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        status, content_type, headers = key
        lines = [f"HTTP/1.1 {status} {_phrase(status)}", f"date: {formatdate(usegmt=True)}"]
        if content_type:
            lines.append(f"content-type: {content_type}")
        lines += [f"{name}: {value}" for name, value in headers]
        start = self._kept[key] = ("\r\n".join(lines) + "\r\ncontent-length: ").encode("latin-1")
        return start


def revision_line(revision: str) -> bytes:
    """Return the line of a head that names the revision, empty for none."""
    return b"\r\n%b: %b" % (REVISION_HEADER, revision.encode("ascii")) if revision else b""


def closes(status: int) -> bool:
    """Whether an answer with this status ends its connection."""
    return ("connection", "close") in status_headers(status)


@lru_cache(_MOST_KEPT)
def _more(status: int, *, close: bool) -> bytes:
    """Return the lines that go with an error, and with the last answer of a connection."""
    more = dict(status_headers(status)) if status >= 400 else {}
    if close:
        more["connection"] = "close"
    return "".join(f"\r\n{name}: {value}" for name, value in more.items()).encode("ascii")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
