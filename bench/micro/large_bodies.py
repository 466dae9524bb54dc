"""What a large body costs between two processes: through the socket, and in shared memory.

`python bench/micro/large_bodies.py [--rounds 300]` sends bodies of several sizes over a real
channel to a second process, which makes an array of each (and, in the second table, reads all of
it), and prints microseconds of CPU per body of both processes together: the least of several
repetitions. Above the size where shared memory wins on both tables lies `SHARED_BYTES`.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import resource
import socket
from typing import Any

import numpy as np
import uvloop

from dosirak.payload.wire import Body
from dosirak.serving import channel as channels
from dosirak.serving.channel import Channel
from dosirak.serving.messages import Chunk, Credit, to_front_decoder, to_worker_decoder
from dosirak.serving.shared_bodies import borrow, lend

_KIB = 1024
_SIZES = (64, 128, 256, 600, 1024, 4096, 16384)
_REPETITIONS = 5


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _serve(end: socket.socket, other_end: socket.socket, *, shares: bool, reads: bool) -> None:
    """Answer every body with the CPU seconds used so far."""
    other_end.close()

    async def serve() -> None:
        gone = asyncio.Event()

        def receive(message: Any, body: Body) -> None:
            array = np.frombuffer(body, dtype=np.float32)
            float(array.sum() if reads else array[0])
            channel.send(Chunk(0), str(_cpu_s()).encode())

        channel: Channel[Any] = Channel(
            to_worker_decoder, receive, gone.set, max_body_bytes=2**32 - 1
        )
        if shares:
            channel.share(borrow(end))
        await channel.open(end)
        await gone.wait()

    uvloop.run(serve())


async def _measure(end: socket.socket, size: int, rounds: int, *, shares: bool) -> float:
    answered: asyncio.Queue[float] = asyncio.Queue()
    channel: Channel[Any] = Channel(
        to_front_decoder,
        lambda _message, body: answered.put_nowait(float(bytes(body))),
        lambda: None,
        max_body_bytes=2**32 - 1,
    )
    if shares:
        channel.share(lend(end))
    end.setblocking(False)
    await channel.open(end)
    body = bytes(size)
    best_s = float("inf")
    for repetition in range(_REPETITIONS + 1):
        channel.send(Credit(0), body)
        before_s = await answered.get() + _cpu_s()
        for _ in range(rounds):
            channel.send(Credit(0), body)
            after_s = await answered.get()
        if repetition:
            best_s = min(best_s, (after_s + _cpu_s() - before_s) / rounds)
    channel.close()
    return best_s * 1e6


def _one(size: int, rounds: int, *, shares: bool, reads: bool) -> float:
    ours, theirs = socket.socketpair()
    # Forked before a loop runs here; the child has only its end.
    process = multiprocessing.get_context("fork").Process(
        target=_serve, args=(theirs, ours), kwargs={"shares": shares, "reads": reads}
    )
    process.start()
    theirs.close()
    microseconds = uvloop.run(_measure(ours, size, rounds, shares=shares))
    process.join()
    return microseconds


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    rounds = parser.parse_args().rounds
    # Here every size that is measured goes the way that is measured.
    channels.SHARED_BYTES = 1
    for reads in (False, True):
        print(f"{'all of it read' if reads else 'one element read'}: us of CPU, socket | shared")
        for kib in _SIZES:
            count = max(20, rounds * 256 // max(256, kib))
            cost = [_one(kib * _KIB, count, shares=s, reads=reads) for s in (False, True)]
            print(f"  {kib:6d} KiB  {cost[0]:9.1f} | {cost[1]:9.1f}", flush=True)


if __name__ == "__main__":
    main()
