"""Around every route: who may ask, under which name, and what is said of each answer.

The checks look at the path that is routed (`scope["path"]`), never at a URL rebuilt from headers.
Host names other than our own are refused so that a web page cannot reach a server on its reader's
machine by pointing a name at it, and unsafe methods from another origin for the same reason.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import time
from collections.abc import Mapping, MutableMapping
from typing import Any

from starlette.types import Receive, Scope, Send

from dosirak.errors import (
    DosirakError,
    Forbidden,
    MisdirectedRequest,
    RequestError,
    ServiceError,
    Unauthorized,
    Unavailable,
)
from dosirak.observe.access_log import AccessLog, AccessRecord
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.observe.metrics import ServingMetrics
from dosirak.observe.request_ids import request_id_from
from dosirak.observe.traces import TRACEPARENT, TracedRequest, Tracer, trace_id_of
from dosirak.serving.access import AccessList
from dosirak.serving.http.exchange import KEY, ClientGone, Exchange, StreamBroken
from dosirak.serving.http.options import HttpOptions
from dosirak.serving.http.served import REVISION_HEADER, ServedRoutes
from dosirak.serving.problems import problem_response
from dosirak.serving.proxied import believe

# Probes carry no credential, and the page holds nothing of the service: it asks for the token.
PUBLIC_PATHS = frozenset(
    {
        *("/", "/-/try.css", "/-/api_forms.js", "/-/try.js", "/-/icon.svg"),
        *("/livez", "/readyz", "/healthz"),
    }
)
# For whoever runs the server, from this machine, with a token of their own.
ADMIN_PATHS = frozenset({"/admin/reload"})
# Asked every few seconds, by who looks after the server: a trace says nothing of them, and the
# access log only what went wrong.
_ROUTINE_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_CLIENT_CLOSED = 499
_CLOSE = (b"connection", b"close")
SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
]

_log = logging.getLogger(f"{ROOT_LOGGER}.serving.http")


class Guard:
    """The outermost application."""

    def __init__(
        self,
        served: ServedRoutes,
        *,
        options: HttpOptions,
        metrics: ServingMetrics,
        access_log: AccessLog | None,
        tracer: Tracer | None = None,
        access: AccessList | None = None,
    ) -> None:
        self._served = served
        self._access = access
        self._options = options
        self._metrics = metrics
        self._access_log = access_log
        self._tracer = tracer
        self.closes_connections = False

    def serve(self, served: ServedRoutes) -> None:
        """Lead requests to other routes from now on; those that have begun stay where they are."""
        self._served = served

    def takes_sockets(self, path: str) -> bool:
        """Whether a WebSocket may be opened at a path."""
        return self._served.takes_sockets(path)

    def leave_sockets(self) -> None:
        """Have every WebSocket closed."""
        self._served.leave_sockets()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] == "websocket":
            send = _refusing(send)
        # One request sees one revision, whatever happens while it is answered.
        served = self._served
        exchange = self._open(scope, receive, send, served.revision)
        self._metrics.request_began()
        served.in_progress += 1
        try:
            await self._answer(exchange, served)
        finally:
            served.in_progress -= 1
            self._note(exchange, served.revision)
            # They hold each other: a request must not have to wait for the collector.
            del scope[KEY]

    def _open(self, scope: Scope, receive: Receive, send: Send, revision: str) -> Exchange:
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = request_id_from(given.decode("latin-1"))
        exchange = Exchange(scope, receive, send, request_id=request_id, options=self._options)
        if self._options.behind_proxy:
            believe(scope, exchange.headers)
        exchange.extra_headers = [(b"x-request-id", request_id.encode("ascii")), *SECURITY_HEADERS]
        if revision:
            exchange.extra_headers.append((REVISION_HEADER, revision.encode("ascii")))
        if self.closes_connections:
            exchange.extra_headers.append(_CLOSE)
        scope[KEY] = exchange
        if self._tracer is not None and exchange.path not in _ROUTINE_PATHS:
            exchange.trace = self._tracer.begin(exchange.headers)
            exchange.headers[TRACEPARENT] = exchange.trace.traceparent
        return exchange

    async def _answer(self, exchange: Exchange, served: ServedRoutes) -> None:
        try:
            check_request(exchange.scope, exchange.headers, self._options, self._access)
            if exchange.is_socket:
                await served.answer_socket(exchange)
            else:
                await served.routes(exchange.scope, _no_receive, _no_send)
        except ClientGone:
            exchange.status = _CLIENT_CLOSED
        except DosirakError as error:
            await self._answer_error(exchange, error)
        except StreamBroken:
            raise
        except asyncio.CancelledError:
            # The server waits no longer, neither for the request nor for its answer.
            if exchange.status or not self.closes_connections:
                raise
            await self._answer_error(exchange, _stopping())
        except Exception as error:
            _log.error("Answering failed [request %s].", exchange.request_id, exc_info=error)
            await self._answer_error(
                exchange,
                ServiceError(
                    "The server failed.", remedy="Look up the request id in the server's log."
                ),
            )

    async def _answer_error(self, exchange: Exchange, error: DosirakError) -> None:
        if exchange.status:
            raise StreamBroken from error
        self._metrics.error_answered(exchange.api, error)
        exchange.answered_error = error.code
        if self.closes_connections and _CLOSE not in exchange.extra_headers:
            exchange.extra_headers.append(_CLOSE)  # It began before.
        headers = getattr(error, "headers", ())
        await exchange.answer(
            problem_response(error, request_id=exchange.request_id, headers=headers)
        )

    def _note(self, exchange: Exchange, revision: str) -> None:
        now_s = time.monotonic()
        duration_s = now_s - exchange.began_s
        if self._tracer is not None and exchange.trace is not None:
            self._tracer.end(exchange.trace, _traced(exchange, now_s))
        self._metrics.request_ended(exchange.api, exchange.status, duration_s)
        if exchange.error_code:
            self._metrics.stream_broke(exchange.error_code)
        self._metrics.revision_answered(revision, 1)
        if self._access_log is None or _is_routine(exchange):
            return
        client = exchange.scope.get("client")
        self._access_log.write(
            AccessRecord(
                method=exchange.method[:16],
                path=exchange.path[:256],
                status=exchange.status,
                duration_ms=round(duration_s * 1000, 3),
                request_id=exchange.request_id,
                api=exchange.api,
                client=client[0] if client else "",
                request_bytes=exchange.request_bytes,
                response_bytes=exchange.response_bytes,
                error=exchange.error_code,
                trace_id=trace_id_of(exchange.headers.get(TRACEPARENT, "")),
            )
        )


def _refusing(send: Send) -> Send:
    """Return what also sends an answer instead of opening a WebSocket."""

    async def send_refusal(message: MutableMapping[str, Any]) -> None:
        if message["type"].startswith("http."):
            message = {**message, "type": f"websocket.{message['type']}"}
        await send(message)

    return send_refusal


def _is_routine(exchange: Exchange) -> bool:
    """Whether a health check or a scrape of the metrics was answered as usual."""
    return exchange.path in _ROUTINE_PATHS and 200 <= exchange.status < 400


def _traced(exchange: Exchange, now_s: float) -> TracedRequest:
    client = exchange.scope.get("client")
    timings = exchange.timings
    return TracedRequest(
        method=exchange.method[:16],
        path=exchange.path[:256],
        route=exchange.route,
        api=exchange.api,
        status=exchange.status,
        request_id=exchange.request_id,
        client=client[0] if client else "",
        headers=exchange.headers,
        request_bytes=exchange.request_bytes,
        response_bytes=exchange.response_bytes,
        arrived_s=exchange.began_s,
        ended_s=now_s,
        began_s=timings.began_s,
        call_s=now_s - timings.began_s if exchange.streamed else timings.compute_s,
        error=exchange.error_code or exchange.answered_error,
        scheme=str(exchange.scope.get("scheme", "http")),
    )


def _stopping() -> Unavailable:
    return Unavailable("The server is stopping.", remedy="Send it again in a moment.")


def check_request(
    scope: Scope,
    headers: Mapping[str, str],
    options: HttpOptions,
    access: AccessList | None = None,
) -> None:
    """Let a request through or say why not.

    Raises:
        RequestError: Host is missing or repeated.
        MisdirectedRequest: Host is not a name of this server.
        Forbidden: a web page of another origin sent it, or it is for whoever runs the server.
        Unauthorized: it needs a token and does not carry it.
    """
    host = _one_host(scope)
    if options.allowed_hosts is not None and _name_of(host) not in options.allowed_hosts:
        raise MisdirectedRequest(
            "This server does not answer for that host name.",
            remedy="Use the address it was started with, or allow the name when starting it.",
        )
    # A page of another origin may open a WebSocket without asking, with the reader's credentials.
    if scope.get("type") == "websocket" or scope["method"] not in _SAFE_METHODS:
        _check_origin(host, headers)
    if scope["path"] in ADMIN_PATHS:
        _check_admin(scope, headers, options)
    elif scope["path"] in PUBLIC_PATHS:
        return
    elif options.token is not None:
        _check_token(headers.get("authorization", ""), options.token)
    elif access is not None and not access.is_open:
        access.check(_bearer(headers.get("authorization", "")))


def _one_host(scope: Scope) -> str:
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1:
        raise RequestError("A request has exactly one Host header.", remedy="Send one.")
    return str(hosts[0].decode("latin-1")).lower()


def _name_of(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].removesuffix(".")


def _check_origin(host: str, headers: Mapping[str, str]) -> None:
    origin = headers.get("origin")
    foreign = origin is not None and origin.lower().partition("://")[2] != host
    if foreign or headers.get("sec-fetch-site") == "cross-site":
        raise Forbidden(
            "Web pages of other origins may not send this.",
            remedy="Call the service from a program, or from its own page.",
        )


def _check_admin(scope: Scope, headers: Mapping[str, str], options: HttpOptions) -> None:
    client = scope.get("client")
    if client is None or not _is_loopback(str(client[0])):
        raise Forbidden(
            "The admin routes are only for the machine that the server runs on.",
            remedy="Call them from there.",
        )
    if options.admin_token is None:
        raise Forbidden(
            "The admin routes are closed.",
            remedy="Start the server with --admin-token-file, or with DOSIRAK_ADMIN_TOKEN.",
        )
    _check_token(headers.get("authorization", ""), options.admin_token)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _bearer(authorization: str) -> str:
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "bearer" or not given.strip():
        raise Unauthorized("This needs a token.", remedy="Send Authorization: Bearer <token>.")
    return given.strip()


def _check_token(authorization: str, token: str) -> None:
    given = _bearer(authorization)
    if not secrets.compare_digest(given.encode("utf-8"), token.encode("utf-8")):
        raise Unauthorized("The token is wrong.", remedy="Send the token of this server.")


async def _no_receive() -> dict[str, object]:
    raise RuntimeError("Routes read through the exchange.")


async def _no_send(_message: object) -> None:
    raise RuntimeError("Routes answer through the exchange.")
