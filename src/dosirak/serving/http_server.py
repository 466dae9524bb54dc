"""The listener's server: the hot path first, uvicorn behind it, and an end without a loss."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from typing import Any, Protocol, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dosirak.serving.access import AccessList
from dosirak.serving.heads import head_reader
from dosirak.serving.hot_protocol import HotRoute, HotServer
from dosirak.serving.http.connection import bounded_connections
from dosirak.serving.http.guard import Guard
from dosirak.serving.http.options import HttpOptions
from dosirak.serving.http2 import Caller, open_http2, speaks_http2
from dosirak.serving.listener import accept_on, ignore_new_connections, waiting_connections

# How long clients that keep a connection open may go on using it after a signal.
_LINGER_S = 1.0
# How long connections that were begun may take to be accepted, and when none is left.
_ACCEPT_S = 1.0
_QUIET_S = 0.02
_POLL_S = 0.02
# How long it may take to tell the clients of requests that are cut off, and to leave tasks alone.
_CUT_OFF_S = 1.0
# Largest message of a WebSocket, where bodies may be larger: it is held whole.
_MOST_MESSAGE_BYTES = 16 * 1024 * 1024
# How long a connection may be open after an answer.
IDLE_S = 75


class OtherFronts(Protocol):
    """The fronts that accept besides this one (see `fronts`)."""

    def leave(self) -> None:
        """End connections with their next answer from now on."""
        ...

    def close(self) -> None:
        """Accept no more."""
        ...

    async def drained(self, until_s: float) -> None:
        """Wait until what they have left is for this one to end."""
        ...

    async def ended(self, until_s: float) -> None:
        """Wait until what they have is answered, and end them by then."""
        ...


class HttpServer(uvicorn.Server):
    """Uvicorn behind the hot path, and without its signal handling: ours drains first."""

    def __init__(
        self,
        guard: Guard,
        routes: Mapping[bytes, HotRoute],
        options: HttpOptions,
        tls: ssl.SSLContext | None = None,
        *,
        http2: bool = False,
        access: AccessList | None = None,
    ) -> None:
        super().__init__(_uvicorn_config(guard, options))
        self._tls = tls
        self._handshake_timeout_s = options.head_timeout_s if tls is not None else None
        self._guard = guard
        self.accepting = asyncio.Event()
        self.hot = HotServer(
            heads=head_reader(routes, options, access),
            routes=routes,
            hand_over=self.take_over,
            options=options,
            idle_s=self.config.timeout_keep_alive,
            offers_http2=http2 and tls is not None,
            access=access,
        )
        self._http2 = open_http2(guard, options, self.hot.idle_s) if http2 else None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting connections, and say so."""
        await super().startup([])
        for listener in sockets or []:
            await self.listen(listener)
        self.accepting.set()

    async def listen(self, listener: socket.socket) -> None:
        """Accept connections on a listener, too."""
        self.servers.append(
            await accept_on(
                listener,
                self.hot.connect,
                backlog=self.config.backlog,
                tls=self._tls,
                handshake_timeout_s=self._handshake_timeout_s,
            )
        )

    async def adopt(self, connection: socket.socket, data: bytes, caller: Caller | None) -> None:
        """Serve a connection that another process accepted, by the application."""
        protocol = _Adopted(lambda transport: self.take_over(transport, data, caller))
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, connection)

    async def on_tick(self, counter: int) -> bool:
        """Look after time, ten times a second (uvicorn calls this)."""
        if counter % 5 == 0:
            self.hot.sweep()
            if self._http2 is not None:
                self._http2.sweep(time.monotonic())
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals alone."""
        yield

    async def drain(
        self,
        listeners: Sequence[socket.socket],
        serving: asyncio.Task[None],
        others: OtherFronts,
        *,
        delay_s: float,
        until_s: float,
        cut_off: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        """Stop accepting, answer what was begun, and end.

        Args:
            listeners: the sockets that are accepted on, here and by others.
            serving: what runs `serve`.
            others: the fronts that accept, too.
            delay_s: how long to go on accepting connections, and telling them to leave.
            until_s: when the last request is cut off, on the clock of `time.monotonic()`.
            cut_off: has every request that is left answered with an error.
        """
        cutting = asyncio.create_task(_do_at(until_s, cut_off))
        try:
            await self._drain(listeners, others, delay_s, until_s + _CUT_OFF_S)
            await serving
            await others.ended(until_s + _CUT_OFF_S)
        finally:
            cutting.cancel()
            await asyncio.wait({cutting})

    async def _drain(
        self,
        listeners: Sequence[socket.socket],
        others: OtherFronts,
        delay_s: float,
        until_s: float,
    ) -> None:
        self._guard.closes_connections = self.hot.draining = True
        others.leave()
        if self._http2 is not None:
            self._http2.drain()
        await asyncio.sleep(delay_s)
        for listener in listeners:
            ignore_new_connections(listener)
        await self._accept_waiting(listeners)
        others.close()
        for server in self.servers:
            server.close()
        self._guard.leave_sockets()
        # Clients with an open connection are told to leave with their next answer; closing it
        # under them could lose a request that is already on its way.
        now_s = time.monotonic()
        await _wait_while(self._has_connections, until_s=min(now_s + _LINGER_S, until_s))
        self.hot.close_idle()
        await _wait_while(lambda: bool(self.hot.connections), until_s=until_s)
        self.hot.abort()
        await others.drained(until_s)
        await self._end_http2(until_s)
        left_s = until_s - time.monotonic()
        # What remains are requests and streams that uvicorn serves; it waits for them.
        self.config.timeout_graceful_shutdown = cast(int, max(0.1, left_s))
        self.should_exit = True

    async def _end_http2(self, until_s: float) -> None:
        http2 = self._http2
        if http2 is not None:
            http2.leave()
            await _wait_while(lambda: http2.is_serving, until_s=until_s)
            http2.abort()

    def _has_connections(self) -> bool:
        others = self._http2 is not None and self._http2.is_serving
        return bool(self.server_state.connections or self.hot.connections or others)

    async def _accept_waiting(self, listeners: Sequence[socket.socket]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ACCEPT_S):
                quiet_s = 0.0
                while quiet_s < _QUIET_S:
                    await asyncio.sleep(0.005)
                    waiting = any(map(waiting_connections, listeners))
                    quiet_s = 0.0 if waiting else quiet_s + 0.005

    def take_over(
        self, transport: asyncio.Transport, data: bytes, caller: Caller | None = None
    ) -> None:
        """Serve a connection from here on by the application; `data` came first."""
        if self._http2 is not None and speaks_http2(transport, data, caller):
            self._http2.take(transport, data, caller)
            return
        protocol = self._make_protocol()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if caller is not None:
            # What uvicorn makes of the transport is about the process in between.
            connection = cast(HttpToolsProtocol, protocol)
            connection.client = caller.client
            connection.scheme = "https" if caller.scheme == "https" else "http"
        if data:
            protocol.data_received(data)

    def _make_protocol(self) -> asyncio.Protocol:
        make = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        return make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


class _Adopted(asyncio.Protocol):
    """A connection that begins here in the middle."""

    def __init__(self, take_over: Callable[[asyncio.Transport], None]) -> None:
        self._take_over = take_over

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give it to what serves it (asyncio calls this)."""
        self._take_over(cast(asyncio.Transport, transport))


async def _do_at(at_s: float, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await asyncio.sleep(at_s - time.monotonic())
    await act()


async def _wait_while(holds: Callable[[], bool], *, until_s: float) -> None:
    while holds() and time.monotonic() < until_s:  # noqa: ASYNC110 - uvicorn tells nobody
        await asyncio.sleep(_POLL_S)


def _uvicorn_config(guard: Guard, options: HttpOptions) -> uvicorn.Config:
    # Every answer and error is logged by the guard; what uvicorn would add is noise: a stream that
    # a handler broke is, to uvicorn, an application that failed.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
    return uvicorn.Config(
        guard,
        loop="none",
        http=bounded_connections(options, guard.takes_sockets),
        ws="none",  # Mounted applications have theirs (see `http.connection`).
        ws_max_size=min(options.max_body_bytes, _MOST_MESSAGE_BYTES),
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE_S,
        backlog=2048,
    )
