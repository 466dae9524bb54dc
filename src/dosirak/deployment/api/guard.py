"""Around every route of the control plane: whose host name, whose page, how large a body.

    Host → Origin, Sec-Fetch-Site, the header of our own → size → routes → security headers

A page of another origin must not reach the control plane on its reader's machine: neither under a
name that points here, nor by a form or a script. The checks look at `scope["path"]`, never at a URL
rebuilt from headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dosirak.errors import (
    DosirakError,
    Forbidden,
    MisdirectedRequest,
    PayloadTooLarge,
    RequestError,
)
from dosirak.observe.request_ids import request_id_from
from dosirak.payload.codec import error_response
from dosirak.serving.problems import status_headers

OWN_HEADER = "x-dosirak-request"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
# The largest thing that anybody sends is a configuration.
MAX_BODY_BYTES = 1 << 20
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'; object-src 'none'",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class GuardOptions:
    """What a guard lets through.

    Attributes:
        allowed_hosts: names that Host may hold, without port.
        max_body_bytes: largest body of a request.
    """

    allowed_hosts: frozenset[str] = LOOPBACK_NAMES
    max_body_bytes: int = MAX_BODY_BYTES


class Guard:
    """The outermost application."""

    def __init__(self, application: ASGIApp, options: GuardOptions) -> None:
        self._application = application
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = request_id_from(headers.get("x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id
        answering = _with_headers(send, request_id)
        try:
            check_request(scope, headers, self._options)
        except DosirakError as error:
            await error_answer(error, request_id)(scope, receive, answering)
            return
        bounded = _Bounded(receive, self._options.max_body_bytes)
        await self._application(scope, bounded, answering)


class _Bounded:
    """A body that ends in an error once it is too large."""

    def __init__(self, receive: Receive, max_body_bytes: int) -> None:
        self._receive = receive
        self._left_bytes = max_body_bytes

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left_bytes -= len(message.get("body", b""))
        if self._left_bytes < 0:
            # The only kind that FastAPI, which reads the body, passes on as it is.
            raise HTTPException(413, "The body is too large")
        return message


def check_request(scope: Scope, headers: Mapping[str, str], options: GuardOptions) -> None:
    """Let a request through or say why not. Pure.

    Raises:
        RequestError: Host is missing or repeated.
        MisdirectedRequest: Host is not a name of this control plane.
        Forbidden: a web page of another origin sent it, or no page of ours.
        PayloadTooLarge: it says that its body is too large.
    """
    host = _one_host(scope)
    if _name_of(host) not in options.allowed_hosts:
        raise MisdirectedRequest(
            "The control plane does not answer for that host name.",
            remedy="Use the address that `dosirak platform status` shows, or allow the name when"
            " starting it.",
        )
    if scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS:
        _check_page(host, headers)
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > options.max_body_bytes:
        raise _too_large()


def error_answer(error: DosirakError, request_id: str) -> Response:
    """Return an error as the project's answers say it."""
    wire = error_response(error, request_id=request_id)
    return Response(
        bytes(wire.body),
        status_code=wire.status,
        media_type=wire.content_type,
        headers=dict(status_headers(wire.status)),
    )


def _check_page(host: str, headers: Mapping[str, str]) -> None:
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is None and site is None:
        return  # no browser: they always send one of the two with such a method
    foreign = origin is not None and origin.lower().partition("://")[2] != host
    if foreign or site not in (None, "same-origin"):
        raise Forbidden(
            "Web pages of other origins may not send this.",
            remedy="Call the control plane from a program, or from its own console.",
        )
    if not headers.get(OWN_HEADER):
        raise Forbidden(
            f"A page must say with {OWN_HEADER} that it means this.",
            remedy=f"Send the header {OWN_HEADER}: 1.",
        )


def _one_host(scope: Scope) -> str:
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1:
        raise RequestError("A request has exactly one Host header.", remedy="Send one.")
    return str(hosts[0].decode("latin-1")).lower()


def _name_of(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].removesuffix(".")


def _too_large() -> PayloadTooLarge:
    return PayloadTooLarge("The body is too large.", remedy="Send less.")


def _with_headers(send: Send, request_id: str) -> Send:
    async def send_more(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            headers["x-request-id"] = request_id
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            message = {**message, "headers": headers.raw}
        await send(message)

    return send_more


def request_id_of(scope: Mapping[str, Any]) -> str:
    """Return the id that the guard gave to a request."""
    return str(scope.get("state", {}).get("request_id", ""))
