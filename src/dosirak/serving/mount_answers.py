"""What a mounted application may say, by the rules of ASGI, checked where it says it.

Whatever breaks them is raised in the application, which then has failed as if it had raised by
itself; nothing that could break a message to the front, or the framing of HTTP, leaves its worker.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_NAME = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_MOST_HEAD_BYTES = 256 * 1024
_MOST_REASON_BYTES = 123
_BYTES = (bytes, bytearray, memoryview)


class WrongMessage(RuntimeError):
    """An application broke the rules of ASGI."""


class MountAnswer:
    """The messages of one exchange.

    Args:
        is_socket: of a WebSocket.
    """

    def __init__(self, *, is_socket: bool) -> None:
        self._may = _SOCKET_BEGINS if is_socket else _HTTP_BEGINS

    @property
    def is_complete(self) -> bool:
        """Whether nothing can follow what was said."""
        return not self._may

    def checked(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return a message as it may leave.

        Raises:
            WrongMessage: it must not, or not now (the application's fault).
        """
        kind = str(event.get("type"))
        if kind not in self._may:
            raise WrongMessage(f"{kind!r} cannot be sent now; {_named(self._may)} can.")
        checked = _CHECKS[kind](event)
        ends = kind.endswith(".body") and not checked["more_body"]
        self._may = () if ends else _NEXT[kind]
        return checked


def _named(kinds: tuple[str, ...]) -> str:
    return " or ".join(kinds) or "nothing"


def _start(event: Mapping[str, Any]) -> dict[str, Any]:
    status = event.get("status")
    if not isinstance(status, int):
        raise WrongMessage(f"The status {status!r} is no number.")
    if not 200 <= status <= 599:
        raise WrongMessage(f"The status {status} is not one of 200 to 599.")
    return {"type": event["type"], "status": int(status), "headers": _headers(event)}


def _body(event: Mapping[str, Any]) -> dict[str, Any]:
    body = event.get("body") or b""
    if not isinstance(body, _BYTES):
        raise WrongMessage(f"A body is bytes, not {type(body).__name__}.")
    more = bool(event.get("more_body", False))
    return {"type": event["type"], "body": bytes(body), "more_body": more}


def _accept(event: Mapping[str, Any]) -> dict[str, Any]:
    subprotocol = event.get("subprotocol")
    if subprotocol is not None and not (
        isinstance(subprotocol, str) and _NAME.fullmatch(subprotocol.encode("utf-8", "replace"))
    ):
        raise WrongMessage(f"{subprotocol!r} cannot be the name of a subprotocol.")
    return {"type": event["type"], "subprotocol": subprotocol, "headers": _headers(event)}


def _message(event: Mapping[str, Any]) -> dict[str, Any]:
    text, data = event.get("text"), event.get("bytes")
    if (text is None) == (data is None):
        raise WrongMessage("A message is either text or bytes.")
    if text is None:
        if not isinstance(data, _BYTES):
            raise WrongMessage(f"The bytes of a message are bytes, not {type(data).__name__}.")
        return {"type": event["type"], "bytes": bytes(data)}
    _encoded(text)
    return {"type": event["type"], "text": text}


def _close(event: Mapping[str, Any]) -> dict[str, Any]:
    code, reason = event.get("code") or 1000, event.get("reason") or ""
    if not isinstance(code, int) or not (code in _CODES or 3000 <= code <= 4999):
        raise WrongMessage(f"{code!r} is no code that a WebSocket can be closed with.")
    if len(_encoded(reason)) > _MOST_REASON_BYTES:
        raise WrongMessage(f"The reason of a close has at most {_MOST_REASON_BYTES} bytes.")
    return {"type": event["type"], "code": code, "reason": reason}


def _encoded(text: Any) -> bytes:
    if not isinstance(text, str):
        raise WrongMessage(f"Text is a str, not {type(text).__name__}.")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise WrongMessage("A lone surrogate is no text.") from error


def _headers(event: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    headers: list[tuple[bytes, bytes]] = []
    size_bytes, lengths = 0, 0
    for given, said in event.get("headers") or ():
        if not (isinstance(given, _BYTES) and isinstance(said, _BYTES)):
            raise WrongMessage(f"The header {given!r} is not a pair of bytes.")
        name, value = bytes(given).lower(), bytes(said)
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise WrongMessage(f"The header {name!r} cannot be sent.")
        lengths += name == b"content-length"
        if lengths > 1 or (name == b"content-length" and not value.isdigit()):
            raise WrongMessage("A Content-Length is one number.")
        size_bytes += len(name) + len(value)
        # How the body is framed is for who writes it to say.
        if name != b"transfer-encoding":
            headers.append((name, value))
    if size_bytes > _MOST_HEAD_BYTES:
        raise WrongMessage(f"The headers have {size_bytes} bytes, over {_MOST_HEAD_BYTES}.")
    return headers


_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})
_HTTP_BEGINS = ("http.response.start",)
_HTTP_BODY = ("http.response.body",)
_REFUSAL_BODY = ("websocket.http.response.body",)
_SOCKET_BEGINS = ("websocket.accept", "websocket.close", "websocket.http.response.start")
_SOCKET_OPEN = ("websocket.send", "websocket.close")
# What may follow a message; after the last piece of a body, nothing.
_NEXT: Mapping[str, tuple[str, ...]] = {
    "http.response.start": _HTTP_BODY,
    "http.response.body": _HTTP_BODY,
    "websocket.http.response.start": _REFUSAL_BODY,
    "websocket.http.response.body": _REFUSAL_BODY,
    "websocket.accept": _SOCKET_OPEN,
    "websocket.send": _SOCKET_OPEN,
    "websocket.close": (),
}
_CHECKS = {
    "http.response.start": _start,
    "http.response.body": _body,
    "websocket.http.response.start": _start,
    "websocket.http.response.body": _body,
    "websocket.accept": _accept,
    "websocket.send": _message,
    "websocket.close": _close,
}
