"""The end of a channel whose peer has gone while another process still holds the socket."""

from __future__ import annotations

import asyncio
import socket

import uvloop

from dosirak.serving.channel import Channel
from dosirak.serving.messages import Stop, to_worker_decoder


def test_a_channel_ends_though_nobody_reads_what_it_has_to_write() -> None:
    async def main() -> None:
        ended = asyncio.Event()
        channel = Channel(
            to_worker_decoder, lambda _message, _body: None, ended.set, max_body_bytes=2**20
        )
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        # As a child of the worker that ended has it: open, and nobody reads.
        with theirs:
            await channel.open(ours)
            for _ in range(64):
                channel.send(Stop(), bytes(2**17))
            channel.abort()
            async with asyncio.timeout(10):
                await ended.wait()

    uvloop.run(main())
