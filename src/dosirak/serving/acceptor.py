"""A front more: `python -m dosirak.serving.acceptor CHANNEL ADOPTION LISTENER`, descriptors.

    connection ─▶ hot path ─▶ plain requests of one turn ─▶ the owner's queue ─▶ … answers ─▶ bytes
                     └─▶ anything else: the connection itself goes to the owner

It reads heads, speaks TLS and writes answers on a core of its own; everything that is decided is
decided by the front that owns the server, which this one ends with. It keeps nothing: when it ends,
its connections do and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import uvloop

from dosirak.observe.logs import configure_logging
from dosirak.payload.wire import Body
from dosirak.serving.access import open_access
from dosirak.serving.channel import Channel
from dosirak.serving.descriptors import watch_descriptors
from dosirak.serving.forwarding import (
    Accepting,
    Answers,
    Begin,
    Close,
    Drained,
    Leave,
    Routes,
    ToAcceptor,
    to_acceptor_decoder,
)
from dosirak.serving.garbage_collection import settle
from dosirak.serving.handing_on import HandingOn
from dosirak.serving.heads import head_reader
from dosirak.serving.hot_protocol import HotRoute, HotServer
from dosirak.serving.listener import accept_on
from dosirak.serving.owners_link import OwnersLink
from dosirak.serving.shared_bodies import borrow
from dosirak.serving.tls import server_context
from dosirak.serving.worker import die_with_parent

_MAX_BODY_BYTES = 2**32 - 1
_BACKLOG = 2048
_SWEEP_S = 0.5
_POLL_S = 0.02
# How long clients that keep a connection open may go on using it (see `http_server`).
_LINGER_S = 1.0
_YOUNG_OBJECTS = 50_000


class Acceptor:
    """One process of this kind.

    Args:
        listener: bound, and shared with the owner.
        adoption: where descriptors of connections go.
    """

    def __init__(self, listener: socket.socket, adoption: socket.socket) -> None:
        self._listener = listener
        self._channel: Channel[ToAcceptor] = Channel(
            to_acceptor_decoder, self._receive, lambda: os._exit(0), max_body_bytes=_MAX_BODY_BYTES
        )
        self._link = OwnersLink(self._channel)
        self._handing_on = HandingOn(self._channel, adoption)
        loop = asyncio.get_running_loop()
        self._begun: asyncio.Future[Begin] = loop.create_future()
        self._closing = asyncio.Event()
        self._hot: HotServer | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    async def run(self, end: socket.socket) -> int:
        """Accept until the owner says stop; return the exit code."""
        self._channel.share(borrow(end))
        await self._channel.open(end)
        begin = await self._begun
        configure_logging(begin.log_style)
        tls = _tls_of(begin)
        hot = self._hot = self._make_hot(begin, tls)
        server = await accept_on(
            self._listener,
            hot.connect,
            backlog=_BACKLOG,
            tls=tls,
            handshake_timeout_s=begin.options.head_timeout_s if tls is not None else None,
        )
        self._sweep()
        settle(_YOUNG_OBJECTS)
        self._channel.send(Accepting())
        watching = asyncio.create_task(watch_descriptors())
        await self._closing.wait()
        watching.cancel()
        server.close()
        await self._end(hot)
        return 0

    def _make_hot(self, begin: Begin, tls: ssl.SSLContext | None) -> HotServer:
        routes = self._routes(begin.paths)
        access = open_access(begin.options.access_file)
        return HotServer(
            heads=head_reader(routes, begin.options, access),
            routes=routes,
            hand_over=self._handing_on.hand_over,
            options=begin.options,
            idle_s=begin.idle_s,
            offers_http2=begin.http2 and tls is not None,
            access=access,
        )

    def _routes(self, paths: tuple[str, ...]) -> dict[bytes, HotRoute]:
        return {path.encode("latin-1"): self._link.route for path in paths}

    def _receive(self, message: ToAcceptor, body: Body) -> None:
        match message:
            case Answers():
                self._link.take_answers(message, body)
            case Routes(paths):
                if self._hot is not None:
                    self._hot.serve(self._routes(paths))
            case Begin():
                self._begun.set_result(message)
            case Leave():
                if self._hot is not None:
                    self._hot.draining = True
            case Close():
                self._closing.set()

    def _sweep(self) -> None:
        if self._hot is not None:
            self._hot.sweep()
        self._sweeping = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)

    async def _end(self, hot: HotServer) -> None:
        """Let what is under way end; the owner ends this process when it takes too long."""
        leaves = asyncio.get_running_loop().call_later(_LINGER_S, hot.close_idle)
        await _wait_while(lambda: bool(hot.connections or self._handing_on.is_moving))
        leaves.cancel()
        self._channel.send(Drained())
        await _wait_while(lambda: self._handing_on.is_relaying)


async def _wait_while(holds: Callable[[], bool]) -> None:
    while holds():  # noqa: ASYNC110 - connections tell nobody
        await asyncio.sleep(_POLL_S)


def _tls_of(begin: Begin) -> ssl.SSLContext | None:
    certificate, key, client_ca = (Path(name) if name else None for name in begin.tls)
    return server_context(certificate, key, client_ca, http2=begin.http2)


def main(arguments: list[str]) -> int:
    """Run an acceptor over the inherited descriptors that the arguments name."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    die_with_parent()
    end, adoption, listener = (socket.socket(fileno=int(number)) for number in arguments)
    for inherited in (end, adoption, listener):
        inherited.set_inheritable(False)
    adoption.setblocking(False)

    async def run() -> int:
        return await Acceptor(listener, adoption).run(end)

    return uvloop.run(run())


if __name__ == "__main__":
    exit_code = main(sys.argv[1:])
    os._exit(exit_code)
