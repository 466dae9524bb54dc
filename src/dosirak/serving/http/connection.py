"""One connection: uvicorn's HTTP/1.1, with bounds on the head of a request and on silence.

uvicorn bounds neither how long the head of a request may take nor how large it may grow, so a
client that drips bytes keeps a connection for as long as it likes. Here a head must be complete
`head_timeout_s` after its first byte (or after the connection was opened), and so must the rest of
a body that nobody reads any more. What is not HTTP is answered in JSON, as every other error is.

The parser takes some requests that another reader of HTTP would cut differently; these are refused.

Nothing here is upgraded (WebSocket, h2c), so a request that asks for it is answered as if it did
not (RFC 9110, 7.8). The parser takes such a head for the end of HTTP and would read the body as the
next request; so it is given the head once more, without that wish.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from dosirak.errors import DosirakError, HeadTooLarge, RequestError, RequestTooSlow
from dosirak.serving.http.options import HttpOptions
from dosirak.serving.http.refusals import written


def bounded_connections(
    options: HttpOptions, takes_sockets: Callable[[str], bool] = lambda _path: False
) -> type[asyncio.Protocol]:
    """Return what makes the protocol of each connection, as uvicorn asks for it.

    Args:
        options: the bounds.
        takes_sockets: whether a WebSocket may be opened at a path.
    """
    make: Callable[..., asyncio.Protocol] = partial(
        BoundedConnection, options=options, takes_sockets=takes_sockets
    )
    return cast(type[asyncio.Protocol], make)


class BoundedConnection(HttpToolsProtocol):
    """Speaks HTTP/1.1 with one client."""

    def __init__(
        self,
        *arguments: Any,
        options: HttpOptions,
        takes_sockets: Callable[[str], bool] = lambda _path: False,
        **named: Any,
    ) -> None:
        super().__init__(*arguments, **named)
        self._takes_sockets = takes_sockets
        self._is_socket = False
        self._options = options
        self._timer: asyncio.TimerHandle | None = None
        self._refusal: DosirakError | None = None
        self._refused = False
        self._in_head = False
        self._head_bytes = 0
        self._header_count = 0
        self._has_transfer_encoding = False
        self._received_bytes = 0
        self._messages_begun = 0
        self._messages_ended = 0
        self._asks_upgrade = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request (asyncio calls this)."""
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more (asyncio calls this)."""
        self._disarm()
        super().connection_lost(exc)
        # Uvicorn leaves its timer running for connections that were reset.
        self._unset_keepalive_if_required()
        self._let_go()

    def _let_go(self) -> None:
        """Forget what leads back here: what has ended must not have to wait for the collector."""
        self.cycle = cast(RequestResponseCycle, None)
        self.pipeline.clear()
        self._refusal = None

    def data_received(self, data: bytes) -> None:
        """Take bytes (asyncio calls this)."""
        if self._refused:
            return
        ended_before = self._messages_ended
        self._feed(data)
        if self._is_socket:
            self._disarm()
            return
        if self._refused or self.transport.is_closing():
            return
        if self._messages_begun > self._messages_ended or self._messages_ended == ended_before:
            self._expect_more(len(data))
        elif self._answered() and self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_message_begin(self) -> None:
        """Begin to count a head (the parser calls this)."""
        self._in_head = True
        self._head_bytes = self._header_count = self._received_bytes = 0
        self._has_transfer_encoding = False
        self._messages_begun += 1
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the target (the parser calls this)."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header (the parser calls this)."""
        self._header_count += 1
        self._count(len(name) + len(value))
        if name.lower() == b"transfer-encoding":
            self._check_transfer_encoding(value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Let the application answer (the parser calls this)."""
        version = cast(Any, self.parser).get_http_version()
        # Without a version it would be HTTP/0.9; 1.0 knows no transfer encodings.
        if version not in ("1.0", "1.1") or (version == "1.0" and self._has_transfer_encoding):
            self._refuse_head()
        self._in_head = False
        self._disarm()
        self._asks_upgrade = cast(Any, self.parser).should_upgrade()
        if not self._asks_upgrade:
            super().on_headers_complete()
        elif cast(Any, self.parser).get_method() == b"CONNECT":
            # What follows it is not HTTP, whatever we say.
            self._refuse_head()

    def on_message_complete(self) -> None:
        """Expect the next request (the parser calls this)."""
        if self._asks_upgrade:
            self._messages_begun -= 1  # It begins again, see `_feed`.
            return
        self._messages_ended += 1
        self._disarm()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Let a WebSocket have the connection (uvicorn calls this)."""
        from dosirak.serving.http.socket_connection import socket_connections

        # Only who opens one pays for the library.
        self.ws_protocol_class = socket_connections(self.client, self.scheme or "http")
        self._is_socket = True
        super().handle_websocket_upgrade()

    def _opens_socket(self) -> bool:
        parser = cast(Any, self.parser)
        names = [name for name, _ in self.headers]
        plain = not {b"content-length", b"transfer-encoding"} & set(names)
        request = (parser.get_method(), parser.get_http_version())
        # Not while an answer to what was asked before is on its way.
        first = self._answered() and not self.pipeline
        return plain and first and request == (b"GET", "1.1") and self._should_upgrade()

    def _should_upgrade_to_ws(self) -> bool:
        return self._takes_sockets(unquote(self.url.partition(b"?")[0].decode("latin-1")))

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, or not within bounds (uvicorn calls this)."""
        self._refuse(self._refusal or _unreadable())

    def _feed(self, data: bytes) -> None:
        """Parse bytes; what uvicorn's `data_received` does, but for upgrades."""
        self._unset_keepalive_if_required()
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                if self._opens_socket():
                    # A client waits for the answer before it says anything as a WebSocket.
                    self.scope["method"] = "GET"
                    self.handle_websocket_upgrade()
                    return
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            except httptools.HttpParserError:
                self.send_400_response("")
                return

    def _head_without_upgrade(self) -> bytes:
        # The framing is decided anew by the same headers; the parser has seen that no name or value
        # breaks a line.
        parser = cast(Any, self.parser)
        version = parser.get_http_version().encode("ascii")
        lines = [b"%b %b HTTP/%b" % (parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % pair for pair in self.headers if pair[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _expect_more(self, size_bytes: int) -> None:
        if self._in_head:
            # A header is counted when it is complete; one without an end must not grow for ever.
            self._received_bytes += size_bytes
            if self._received_bytes > 2 * self._options.max_head_bytes:
                self._refuse(_too_large(self._options))
                return
        # What comes while a request is being answered is bounded by the reader of its body.
        if self._answered():
            self._arm()

    def _answered(self) -> bool:
        cycle = self._present_cycle()
        return cycle is None or cycle.response_complete

    def _present_cycle(self) -> RequestResponseCycle | None:
        # uvicorn declares that there always is one; before the first request there is none.
        return cast("RequestResponseCycle | None", self.cycle)

    def _count(self, size_bytes: int) -> None:
        self._head_bytes += size_bytes
        options = self._options
        if self._head_bytes > options.max_head_bytes or self._header_count > options.max_headers:
            self._refusal = _too_large(options)
            raise self._refusal

    def _check_transfer_encoding(self, value: bytes) -> None:
        """Refuse any but one `chunked`: the parser looks only at the last of several."""
        if self._has_transfer_encoding or value.strip(b" \t").lower() != b"chunked":
            self._refuse_head()
        self._has_transfer_encoding = True

    def _refuse_head(self) -> None:
        # What a callback raises reaches `send_400_response` by way of the parser.
        self._refusal = _unreadable()
        raise self._refusal

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self._options.head_timeout_s, self._expire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self._in_head:
            self._refuse(
                RequestTooSlow(
                    "The head of the request did not arrive in time.", remedy="Send it faster."
                )
            )
        else:
            self.transport.close()

    def _refuse(self, error: DosirakError) -> None:
        """Answer with an error and close, after what was asked before has its answer."""
        self._refused = True
        self._disarm()
        cycle = self._present_cycle()
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            cycle.keep_alive = False
            self.flow.pause_reading()
            return
        self.transport.write(written(error))
        self.transport.close()


def _unreadable() -> RequestError:
    return RequestError(
        "The request is not HTTP/1.1 that can be read.", remedy="Send it with an HTTP client."
    )


def _too_large(options: HttpOptions) -> HeadTooLarge:
    return HeadTooLarge(
        f"The head of the request is over {options.max_head_bytes} bytes or"
        f" {options.max_headers} headers.",
        remedy="Send fewer and shorter headers, and a shorter query.",
    )
