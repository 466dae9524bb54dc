"""The door to HTTP/2, which is an extra: what the server asks of it, and how it is opened.

A connection that chose `h2` in its TLS handshake, or that begins with HTTP/2's preface, is given to
hypercorn (`http2_connection`), over the same ASGI application as every other request.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, cast

from starlette.types import ASGIApp

from dosirak.errors import MissingDependency
from dosirak.serving.http.options import HttpOptions

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ALPN = "h2"


class Http2(Protocol):
    """Serves the connections that speak HTTP/2."""

    @property
    def is_serving(self) -> bool:
        """Whether any connection is open."""
        ...

    def take(self, transport: asyncio.Transport, data: bytes, caller: Caller | None) -> None:
        """Serve a connection from here on; `data` came first."""
        ...

    def sweep(self, now_s: float) -> None:
        """Look after time. Call it every half second."""
        ...

    def drain(self) -> None:
        """Ask every client to leave when it has nothing under way (GOAWAY)."""
        ...

    def leave(self) -> None:
        """Take no further request; what is under way goes on."""
        ...

    def abort(self) -> None:
        """Close every connection."""
        ...


class Caller(Protocol):
    """Who is at the other end of a connection that came by way of another process."""

    @property
    def client(self) -> tuple[str, int] | None:
        """Its address."""
        ...

    @property
    def scheme(self) -> str:
        """`https` where the other process speaks TLS with it."""
        ...

    @property
    def http2(self) -> bool:
        """It chose HTTP/2 there."""
        ...


def check_http2() -> None:
    """Refuse to serve HTTP/2 without what speaks it.

    Raises:
        MissingDependency: hypercorn is not installed.
    """
    if find_spec("hypercorn") is None:
        raise MissingDependency(
            "HTTP/2 needs hypercorn.", remedy="Install it with: pip install 'dosirak[http2]'."
        )


def open_http2(application: ASGIApp, options: HttpOptions, idle_s: float) -> Http2:
    """Return what serves the application over HTTP/2."""
    # By name: importing it needs the extra.
    module = import_module("dosirak.serving.http2_connection")
    return cast(Http2, module.Http2Server(application, options, idle_s))


def speaks_http2(transport: asyncio.Transport, data: bytes, caller: Caller | None) -> bool:
    """Whether a connection chose HTTP/2, or begins as one that does."""
    chosen = has_chosen_http2(transport) if caller is None else caller.http2
    return chosen or data.startswith(PREFACE[:18])


def has_chosen_http2(transport: asyncio.BaseTransport) -> bool:
    """Whether a connection chose HTTP/2 in its TLS handshake."""
    tls = transport.get_extra_info("ssl_object")
    return tls is not None and tls.selected_alpn_protocol() == ALPN
