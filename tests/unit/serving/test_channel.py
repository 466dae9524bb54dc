"""A channel at its limits: a peer that has gone, and a message that is too large."""

from __future__ import annotations

import asyncio
import socket

import uvloop

from dosirak.serving.channel import Channel
from dosirak.serving.messages import MAX_HEADER_BYTES, CallBatch, Stop, to_worker_decoder


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


def test_a_message_whose_header_the_peer_would_not_take_is_not_written() -> None:
    async def main(characters: int) -> tuple[bool, int]:
        channel = Channel(
            to_worker_decoder, lambda _message, _body: None, lambda: None, max_body_bytes=2**20
        )
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            await channel.open(ours)
            batch = CallBatch(1, "a", [], [], [1], ["x" * characters], [None])
            sent = channel.send_batch(batch, [b"1"], 1)
            theirs.setblocking(False)
            try:
                received = len(theirs.recv(1024))
            except BlockingIOError:
                received = 0
            channel.abort()
            await asyncio.sleep(0)
            return sent, received

    assert uvloop.run(main(MAX_HEADER_BYTES)) == (False, 0)
    assert uvloop.run(main(10_000)) == (True, 1024)
