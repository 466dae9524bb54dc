"""The least that a server can be: it answers whatever comes, at once, and does nothing else.

Asked now and then while another server on the same core is under load, it shows what of the times
is the machine and the load generator: no server there can be quicker. Run as a program it prints
its port; it ends when its input does.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import cores
import uvloop
from ledger import Call, Ledger
from numbered import post
from open_loop import OpenLoop

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1"


class _Bare(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(_ANSWER)


class Beside:
    """A bare server beside the one that is tested, and what callers of it wait meanwhile."""

    def __init__(self, rate_per_s: float = 50.0) -> None:
        self._rate_per_s = rate_per_s
        self._ledger = Ledger()

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *cores.server_prefix(), sys.executable, str(Path(__file__)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        self._load = OpenLoop(int(await self._process.stdout.readline()), self._ledger)
        self._asking = asyncio.create_task(self._ask())
        return self

    async def _ask(self) -> None:
        request, number = post("/", b"1"), 0
        while True:
            await self._load.run([Call(number, request)], self._rate_per_s, seed=number)
            number += 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._asking.cancel()
        await self._load.close()
        self._process.kill()
        await self._process.communicate()

    @property
    def p99_ms(self) -> float:
        """What all but one in a hundred of its callers waited at most."""
        return self._ledger.quantile_ms(0.99)

    def __str__(self) -> str:
        return f"a bare server beside it {self.p99_ms:.1f} ms"


async def _main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Bare, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(_main())
