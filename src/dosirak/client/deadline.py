"""One moment by which a whole exchange has to be over, for a transport that counts each step.

The HTTP library limits every read and write by itself, so a server that sends a byte now and then
outlasts any such limit, in the head of its answer above all: there nobody else gets a word in. Here
the network is what knows the moment: each step gets what is left, and none when nothing is.

    SyncHTTPClient ── until(end_s) ──▶ HTTP library ──▶ DeadlineStream ── left_s() ──▶ socket
"""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore2
import httpx2

# Of the thread that performs the exchange, while it does.
_end_s: ContextVar[float | None] = ContextVar("dosirak_exchange_end_s", default=None)
# Those of the HTTP library's own transport.
_LIMITS = httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=5.0)


@contextmanager
def until(end_s: float) -> Generator[None]:
    """Let every step in this block end by `end_s` on the clock of `time.monotonic()`."""
    token = _end_s.set(end_s)
    try:
        yield
    finally:
        _end_s.reset(token)


def left_s(limit_s: float | None) -> float | None:
    """Return the time for one step: its own limit, or what is left if that is less."""
    end_s = _end_s.get()
    if end_s is None or math.isinf(end_s):
        return limit_s
    remaining_s = max(0.0, end_s - time.monotonic())
    return remaining_s if limit_s is None else min(limit_s, remaining_s)


def deadline_transport(url: str) -> httpx2.BaseTransport | None:
    """Return a transport that keeps to deadlines; None where a proxy stands between.

    The HTTP library finds its way through the environment's proxies only with a transport of its
    own; then each step is limited, but not their sum while a head is arriving.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    proxied = parts.scheme in proxies or "all" in proxies
    if proxied and not proxy_bypass(parts.hostname or ""):
        return None
    return _DeadlineTransport(httpx2.create_ssl_context())


def _step_s(limit_s: float | None) -> float | None:
    # To a socket zero means "do not wait", not "no time left".
    step_s = left_s(limit_s)
    if step_s is not None and step_s <= 0.0:
        raise httpcore2.ReadTimeout("The time for the whole answer is over.")
    return step_s


class _DeadlineTransport(httpx2.HTTPTransport):
    """The HTTP library's own transport over sockets that keep to deadlines."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(verify=context)
        self._pool = httpcore2.ConnectionPool(
            ssl_context=context,
            max_connections=_LIMITS.max_connections,
            max_keepalive_connections=_LIMITS.max_keepalive_connections,
            keepalive_expiry=_LIMITS.keepalive_expiry,
            network_backend=_DeadlineBackend(),
        )


class _DeadlineBackend(httpcore2.NetworkBackend):
    """Opens sockets that keep to deadlines."""

    def __init__(self) -> None:
        self._sockets = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Open a connection (httpcore2 calls this)."""
        return _DeadlineStream(
            self._sockets.connect_tcp(host, port, _step_s(timeout), local_address, socket_options)
        )


class _DeadlineStream(httpcore2.NetworkStream):
    """One connection, each of whose steps is limited by what is left."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what has arrived (httpcore2 calls this)."""
        return self._stream.read(max_bytes, _step_s(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write everything (httpcore2 calls this)."""
        self._stream.write(buffer, _step_s(timeout))

    def close(self) -> None:
        """Close the connection (httpcore2 calls this)."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        """Go on encrypted (httpcore2 calls this)."""
        return _DeadlineStream(
            self._stream.start_tls(ssl_context, server_hostname, _step_s(timeout))
        )

    def get_extra_info(self, info: str) -> Any:
        """Say something of the connection (httpcore2 calls this)."""
        return self._stream.get_extra_info(info)
