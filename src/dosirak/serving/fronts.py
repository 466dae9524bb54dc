"""The fronts besides the one that owns the server: acceptor processes on listeners of their own.

The kernel spreads connections over the listeners of a port (SO_REUSEPORT); requests meet again in
the owner's one queue for each api, so that none waits behind another front's. An acceptor that ends
is started again on the listener that the owner has kept: connections that wait there are lost to
nobody. One that cannot be started is given up, and the owner accepts on its listener itself. Where
the system only lacks something (descriptors, memory, processes) the owner does so meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from dosirak.observe.logs import ROOT_LOGGER
from dosirak.payload.wire import Body
from dosirak.serving.channel import Channel
from dosirak.serving.childrens_environment import childrens_environment
from dosirak.serving.descriptors import Scarcity, is_lack
from dosirak.serving.forwarded import ForwardedCalls
from dosirak.serving.forwarding import (
    Accepting,
    Adopt,
    Begin,
    Close,
    Drained,
    Forwarded,
    Leave,
    Routes,
    ToOwner,
    Withdrawn,
    to_owner_decoder,
)
from dosirak.serving.http_server import HttpServer
from dosirak.serving.messages import BrokenFrame
from dosirak.serving.restarts import MOST_FAILED_STARTS, RestartBudget
from dosirak.serving.shared_bodies import lend

_MAX_BODY_BYTES = 2**32 - 1
_START_S = 60.0

_log = logging.getLogger(f"{ROOT_LOGGER}.serving.front")


@dataclass(frozen=True, slots=True)
class Relayed:
    """A client whose TLS an acceptor speaks (see `http2.Caller`)."""

    client: tuple[str, int] | None
    http2: bool
    scheme: str = "https"


class Fronts:
    """All acceptors of a server.

    Args:
        server: the owner's own; it serves what acceptors cannot.
        listeners: one for each acceptor.
        begin: returns what an acceptor is told first.
    """

    def __init__(
        self,
        server: HttpServer,
        listeners: Sequence[socket.socket],
        begin: Callable[[], Begin],
    ) -> None:
        self._server = server
        self._listeners = listeners
        self._begin = begin
        self._keeping: list[asyncio.Task[None]] = []
        self._starting: list[asyncio.Event] = []
        self._acceptors: set[_Acceptor] = set()
        self._opened = asyncio.Event()
        self._closing = False

    async def start(self) -> None:
        """Start the acceptors; return when each accepts or was given up, or it takes too long.

        What one of them hands on before that, probes too, waits until then.
        """
        for listener in self._listeners:
            ready = asyncio.Event()
            keeping = asyncio.create_task(self._keep(listener, ready.set))
            # It ends without an acceptor only by an error, which is this server's.
            keeping.add_done_callback(lambda _done, ready=ready: ready.set())
            self._keeping.append(keeping)
            self._starting.append(ready)
        until_s = time.monotonic() + _START_S
        await _until(until_s, [_wait_for(ready) for ready in self._starting])
        for keeping in self._keeping:
            if keeping.done():
                keeping.result()
        self._opened.set()

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the acceptors."""
        return tuple(acceptor.pid for acceptor in self._acceptors)

    def show(self, paths: tuple[str, ...]) -> None:
        """Say which routes are those of plain requests from now on."""
        self._tell(Routes(paths))

    def leave(self) -> None:
        """End connections with their next answer from now on."""
        self._tell(Leave())

    def close(self) -> None:
        """Accept no more; each acceptor ends when what it has is answered."""
        self._closing = True
        self._tell(Close())

    async def drained(self, until_s: float) -> None:
        """Wait until what acceptors have left is for this process to end, at most until then."""
        await _until(until_s, [acceptor.drained() for acceptor in self._acceptors])

    async def ended(self, until_s: float) -> None:
        """Wait until every acceptor has ended; end those that have not by then."""
        self._closing = True
        await _until(until_s, [acceptor.exited() for acceptor in self._acceptors])
        self.kill()
        await asyncio.gather(*self._keeping)

    def kill(self) -> None:
        """End every acceptor now."""
        self._closing = True
        for task in self._keeping:
            task.cancel()
        for acceptor in self._acceptors:
            acceptor.kill()

    def _tell(self, message: Routes | Leave | Close) -> None:
        for acceptor in self._acceptors:
            acceptor.tell(message)

    async def _keep(self, listener: socket.socket, is_ready: Callable[[], None]) -> None:
        """Have an acceptor on a listener for as long as the server accepts."""
        budget, listens, lacks = RestartBudget(), False, 0
        with contextlib.suppress(asyncio.CancelledError):
            while not self._closing:
                ending = await self._run_one(listener, budget, is_ready)
                if self._closing:
                    break
                lacks = lacks + 1 if ending is _Ending.LACKING else 0
                delay_s = _delay_s(budget, ending)
                if not listens and (delay_s is None or lacks >= MOST_FAILED_STARTS):
                    _log.error("Acceptors cannot be started; this process accepts in their place.")
                    # Also when one comes back: whoever is first takes a connection.
                    listens = await self._listen(listener)
                    is_ready()
                if delay_s is None:
                    break
                await asyncio.sleep(delay_s)

    async def _listen(self, listener: socket.socket) -> bool:
        """Accept on a listener in an acceptor's place; whether that can be."""
        try:
            await self._server.listen(listener)
        except OSError as error:
            _log.error("This process cannot accept in its place: %s.", error)
            return False
        return True

    async def _run_one(
        self, listener: socket.socket, budget: RestartBudget, is_ready: Callable[[], None]
    ) -> _Ending:
        acceptor = _Acceptor(self._server, listener, self._opened)
        self._acceptors.add(acceptor)
        try:
            await acceptor.spawn(self._begin())
            was_ready = await acceptor.accepting()
            if was_ready:
                budget.started(time.monotonic())
                # What changed while it started.
                acceptor.tell(Routes(self._begin().paths))
                is_ready()
            await acceptor.exited()
            if not self._closing:
                _log.error("An acceptor ended.")
            return _Ending.WAS_READY if was_ready else _Ending.NEVER_READY
        except OSError as error:
            _log.error("An acceptor could not be started: %s.", error)
            return _Ending.LACKING if is_lack(error) else _Ending.NEVER_READY
        finally:
            acceptor.kill()
            self._acceptors.discard(acceptor)


class _Ending(Enum):
    """How an acceptor came to its end."""

    WAS_READY = "was ready"
    NEVER_READY = "never ready"
    LACKING = "lacking"


def _delay_s(budget: RestartBudget, ending: _Ending) -> float | None:
    """Return how long to wait before another is started; None to give up."""
    if ending is _Ending.LACKING:
        return budget.lacked()
    return budget.ended(time.monotonic(), was_ready=ending is _Ending.WAS_READY)


class _Acceptor:
    """One acceptor process, from its spawn to its end.

    Args:
        server: serves what it hands on.
        listener: what it accepts on.
        opened: set once what it hands on is served.
    """

    def __init__(self, server: HttpServer, listener: socket.socket, opened: asyncio.Event) -> None:
        self._server = server
        self._listener = listener
        self._opened = opened
        self._scarcity = Scarcity()
        self._channel: Channel[ToOwner] = Channel(
            to_owner_decoder, self._receive, self._lose, max_body_bytes=_MAX_BODY_BYTES
        )
        self._calls = ForwardedCalls(self._channel, lambda: server.hot.routes)
        self._adoption: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._accepting = asyncio.Event()
        self._drained = asyncio.Event()
        self._exited = asyncio.Event()
        self._adopting: set[asyncio.Task[Any]] = set()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid if self._process is not None else 0

    async def spawn(self, begin: Begin) -> None:
        """Start the process.

        Raises:
            OSError: it cannot be started.
        """
        with contextlib.ExitStack() as ends, contextlib.ExitStack() as given_ends:
            ours, theirs = map(ends.enter_context, socket.socketpair())
            given_ends.enter_context(theirs)
            kept, adoption = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ends.enter_context(kept)
            given_ends.enter_context(adoption)
            given = (theirs.fileno(), adoption.fileno(), self._listener.fileno())
            self._process = _spawn_process(given)
            self._watch(self._process)
            ends.pop_all()
        self._adoption = kept
        self._adoption.setblocking(False)
        self._channel.share(lend(ours))
        ours.setblocking(False)
        await self._channel.open(ours)
        self._channel.send(begin)

    async def accepting(self) -> bool:
        """Wait until it accepts; return False when it ended, or took too long."""
        either = [asyncio.create_task(event.wait()) for event in (self._accepting, self._exited)]
        await asyncio.wait(either, timeout=_START_S, return_when=asyncio.FIRST_COMPLETED)
        for task in either:
            task.cancel()
        if not self._accepting.is_set():
            self.kill()
        return self._accepting.is_set()

    async def drained(self) -> None:
        """Wait until all that it has left is TLS that it speaks for this process."""
        await self._drained.wait()

    async def exited(self) -> None:
        """Wait until the process has ended."""
        await self._exited.wait()

    def tell(self, message: Routes | Leave | Close) -> None:
        """Say something to it."""
        self._channel.send(message)

    def kill(self) -> None:
        """End it now."""
        if self._process is not None:
            self._process.kill()

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        loop = asyncio.get_running_loop()

        def wait() -> None:
            process.wait()
            # The loop may have ended before it did.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._note_exit)

        try:
            threading.Thread(target=wait, name=f"acceptor-{process.pid}", daemon=True).start()
        except RuntimeError as error:  # There may be no further thread.
            raise OSError(errno.EAGAIN, "a process cannot be looked after") from error

    def _note_exit(self) -> None:
        self._drained.set()
        self._exited.set()

    def _receive(self, message: ToOwner, body: Body) -> None:
        match message:
            case Forwarded():
                self._calls.receive(message, body)
            case Withdrawn():
                self._calls.withdraw(message)
            case Adopt():
                self._adopt(message, bytes(body))
            case Accepting():
                self._accepting.set()
            case Drained():
                self._drained.set()

    def _adopt(self, message: Adopt, data: bytes) -> None:
        """Serve a connection from here on.

        Raises:
            BrokenFrame: none was sent.
        """
        assert self._adoption is not None  # noqa: S101 - it is there before the process
        connection = sent_connection(self._adoption)
        if connection is None:
            self._scarcity.note("No descriptor is left for a connection, which was closed")
            return
        caller = Relayed(message.client, message.http2) if message.client is not None else None
        _begin(self._serve(connection, data, caller), self._adopting)

    async def _serve(self, connection: socket.socket, data: bytes, caller: Relayed | None) -> None:
        await self._opened.wait()
        await self._server.adopt(connection, data, caller)

    def _lose(self) -> None:
        self._calls.lose()
        if self._adoption is not None:
            self._adoption.close()
        # It cannot be talked to, or has ended.
        self.kill()


def sent_connection(adoption: socket.socket) -> socket.socket | None:
    """Take a connection that was announced; None when it was lost for lack of a descriptor.

    Raises:
        BrokenFrame: none was sent.
    """
    try:
        data, descriptors, flags, _ = socket.recv_fds(adoption, 1, 1, socket.MSG_CMSG_CLOEXEC)
    except OSError as error:
        raise BrokenFrame("a connection was announced and not sent") from error
    if descriptors:
        connection = socket.socket(fileno=descriptors[0])
        connection.setblocking(False)
        return connection
    if data and flags & socket.MSG_CTRUNC:
        return None
    raise BrokenFrame("a connection was announced and not sent")


async def _wait_for(event: asyncio.Event) -> None:
    await event.wait()


def _spawn_process(given: tuple[int, ...]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "dosirak.serving.acceptor", *map(str, given)],
        stdin=subprocess.DEVNULL,
        pass_fds=given,
        env=childrens_environment(os.environ),
    )


async def _until(until_s: float, waits: Sequence[Coroutine[Any, Any, None]]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, until_s - time.monotonic())):
            await asyncio.gather(*waits)


def _begin(work: Awaitable[None], kept: set[asyncio.Task[Any]]) -> None:
    task = asyncio.ensure_future(work)
    kept.add(task)
    task.add_done_callback(kept.discard)
