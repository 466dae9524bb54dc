"""The load: arrivals by the clock, not by the answers, over raw keep-alive connections.

    rate ─▶ Poisson arrivals ─▶ idle connection, else a new one ─▶ answer ─▶ Ledger

A closed loop slows down with the server that it measures and so never sees an overload. Here the
next request leaves when its time has come, whatever became of the last one. When all connections
that are allowed are in use, calls wait here, and their time runs.
"""

from __future__ import annotations

import asyncio
import random
import time
from array import array
from collections import deque
from collections.abc import Iterable

from ledger import Call, Ledger

_LENGTH = b"\r\ncontent-length: "
_CLOSE = b"\r\nconnection: close"


class OpenLoop:
    """Sends calls at a rate and writes what became of them into a ledger.

    Args:
        port: on 127.0.0.1.
        ledger: where outcomes go.
        most_connections: more calls than this under way at once wait here.
        patience_s: a call without an answer after this long is lost.
    """

    def __init__(
        self, port: int, ledger: Ledger, *, most_connections: int = 800, patience_s: float = 30.0
    ) -> None:
        self._port = port
        self._ledger = ledger
        self._most_connections = most_connections
        self._patience_s = patience_s
        self._idle: list[Wire] = []
        self._wires: set[Wire] = set()
        self._waiting: deque[Call] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._open = 0
        self._all_closed = asyncio.Event()
        self.lateness = array("f")
        self.elapsed_s = 0.0

    async def run(self, calls: Iterable[Call], rate_per_s: float, *, seed: int = 1) -> None:
        """Send every call at its time; return when each has its outcome."""
        chance = random.Random(seed)
        began_s = due_s = time.perf_counter()
        for call in calls:
            due_s += chance.expovariate(rate_per_s)
            now_s = time.perf_counter()
            while now_s < due_s:
                await asyncio.sleep(due_s - now_s)
                now_s = time.perf_counter()
            call.meant_s = due_s
            self.lateness.append(now_s - due_s)
            self.send(call)
            if now_s - due_s > 0.005 and not call.number % 16:
                await asyncio.sleep(0)  # Behind: let answers be read all the same.
        self.elapsed_s = time.perf_counter() - began_s
        await self.settle()

    def send(self, call: Call) -> None:
        """Send one call now."""
        if not call.meant_s:
            call.meant_s = time.perf_counter()
        self._ledger.open(call)
        self._open += 1
        if self._idle:
            self._idle.pop().send(call)
        elif len(self._wires) + len(self._opening) < self._most_connections:
            task = asyncio.create_task(self._connect(call))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        else:
            self._waiting.append(call)

    async def settle(self) -> None:
        """Wait for what is under way; what does not come in time is lost."""
        self._all_closed.clear()
        if self._open:
            try:
                async with asyncio.timeout(self._patience_s):
                    await self._all_closed.wait()
            except TimeoutError:
                for wire in list(self._wires):
                    wire.abort()
                for call in list(self._waiting):
                    self._close(call, "lost")
                self._waiting.clear()
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Close every connection."""
        for wire in list(self._wires):
            wire.abort()
        await asyncio.sleep(0.01)

    def lateness_ms(self, quantile: float) -> float:
        """Return how late the generator itself was."""
        late = sorted(self.lateness)
        return late[min(len(late) - 1, int(len(late) * quantile))] * 1000 if late else 0.0

    # Told by wires.

    def answered(self, wire: Wire, call: Call, status: int, head: bytes, body: bytes) -> None:
        """An answer came to its end."""
        closes = _CLOSE in head
        if closes:
            wire.abort()
        self._close(call, self._ledger.judge(call, status, head, body))
        if not closes:
            if self._waiting:
                wire.send(self._waiting.popleft())
            else:
                self._idle.append(wire)

    def ended(self, wire: Wire, call: Call | None, *, by_client: bool) -> None:
        """A connection ended, perhaps with a call under way."""
        self._wires.discard(wire)
        if wire in self._idle:
            self._idle.remove(wire)
        if call is not None:
            self._close(call, "left" if by_client else "lost")
        if self._waiting:
            replacement = asyncio.create_task(self._connect(self._waiting.popleft()))
            self._opening.add(replacement)
            replacement.add_done_callback(self._opening.discard)

    async def _connect(self, call: Call) -> None:
        try:
            _, wire = await asyncio.get_running_loop().create_connection(
                lambda: Wire(self), "127.0.0.1", self._port
            )
        except OSError:
            self._close(call, "unsent")
            return
        self._wires.add(wire)
        wire.send(call)

    def _close(self, call: Call, outcome: str) -> None:
        self._ledger.close(call, outcome, time.perf_counter() - call.meant_s)
        self._open -= 1
        if not self._open:
            self._all_closed.set()


class Wire(asyncio.Protocol):
    """One kept-alive connection with at most one call under way."""

    __slots__ = ("_buffer", "_call", "_leaving", "_left", "_load", "_transport")

    def __init__(self, load: OpenLoop) -> None:
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._call: Call | None = None
        self._leaving: asyncio.TimerHandle | None = None
        self._left = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        call, self._call = self._call, None
        self._load.ended(self, call, by_client=self._left)

    def send(self, call: Call) -> None:
        """Write a request."""
        self._call = call
        self._buffer = b""
        if self._transport is None:
            asyncio.get_running_loop().call_soon(self.connection_lost, None)
            return
        self._transport.write(call.request)
        if call.leave_after_s is not None:
            loop = asyncio.get_running_loop()
            self._leaving = loop.call_later(call.leave_after_s, self._leave, call)

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data if self._buffer else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._buffer = data
            return
        length_at = data.find(_LENGTH, 0, end)
        length = (
            int(data[length_at + 18 : data.find(b"\r", length_at + 18)]) if length_at > 0 else 0
        )
        if len(data) < end + 4 + length:
            self._buffer = data
            return
        self._buffer = b""
        call, self._call = self._call, None
        if call is None:
            self.abort()  # An answer that nobody asked for: the next call would be given it.
            return
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        body = data[end + 4 : end + 4 + length]
        self._load.answered(self, call, int(data[9:12]), data[: end + 4], body)

    def _leave(self, call: Call) -> None:
        self._leaving = None
        if self._call is call:
            self._left = True
            self.abort()
