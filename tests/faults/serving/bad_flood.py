"""Bad requests in great number, from a process of its own: `bad_flood.py PORT COUNT RATE`.

They come by the clock at a rate, chosen at random from all kinds, some of them turned, cut or left
at once. What became of them is printed as JSON. The process gives way to the one that measures.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from typing import cast

import bad_requests
import uvloop

# A small server's backlog: what would wait longer than a moment for a connection is not sent.
_MOST_UNDER_WAY = 200
_ANSWER_S = 0.3


def kinds() -> list[bytes]:
    """Return the requests to choose from: what fits into a packet or two."""
    return [case.data for case in bad_requests.all_cases() if len(case.data) < 20_000]


async def flood(port: int, count: int, rate_per_s: float, *, seed: int = 11) -> Counter[str]:
    """Send so many; return how many had which outcome."""
    chance, cases = random.Random(seed), kinds()
    outcomes: Counter[str] = Counter()
    under_way = asyncio.Semaphore(_MOST_UNDER_WAY)
    due_s = time.perf_counter()
    async with asyncio.TaskGroup() as sending:
        for _ in range(count):
            due_s += chance.expovariate(rate_per_s)
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            await under_way.acquire()
            data, leaves = _spoilt(chance.choice(cases), chance)
            one = sending.create_task(_one(port, data, outcomes, leaves=leaves))
            one.add_done_callback(lambda _: under_way.release())
    return outcomes


def _spoilt(data: bytes, chance: random.Random) -> tuple[bytes, bool]:
    kind = chance.random()
    if kind < 0.2:
        at = chance.randrange(len(data))
        data = data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
    elif kind < 0.4:
        data = data[: chance.randrange(len(data))]
    return data, kind > 0.9


async def _one(port: int, data: bytes, outcomes: Counter[str], *, leaves: bool) -> None:
    status = await _status(port, data, leaves=leaves)
    refused_by_us = status >= 500 and status != 501
    outcomes["closed" if not status else "5xx" if refused_by_us else "ok"] += 1


class _Once(asyncio.Protocol):
    """Sends bytes and takes the status of what comes back; 0 when nothing does."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.status = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._data)

    def data_received(self, data: bytes) -> None:
        self._end(int(data[9:12]) if data[9:12].isdigit() else 0)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(0)

    def _end(self, status: int) -> None:
        if not self.status.done():
            self.status.set_result(status)


async def _status(port: int, data: bytes, *, leaves: bool) -> int:
    try:
        transport, once = await asyncio.get_running_loop().create_connection(
            lambda: _Once(data), "127.0.0.1", port
        )
    except OSError:
        return 0
    try:
        if leaves:
            await asyncio.sleep(0)
            return 0
        async with asyncio.timeout(_ANSWER_S):
            return int(await once.status)
    except TimeoutError:
        return 0
    finally:
        transport.abort()


if __name__ == "__main__":
    to, number, rate = sys.argv[1:]
    print(json.dumps(uvloop.run(flood(int(to), int(number), float(rate)))))
