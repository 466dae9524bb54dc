"""The bare design, without a feature: `prototype_app.py WORKLOAD PORT`.

uvloop and httptools in front, the model in a process of its own behind a Unix socket, one message
of msgpack for each batch, two under way. No routes, metrics, request ids, log, deadlines, limits,
retries, errors, nor restarts: it is what all of those are measured against, and nothing to serve
with.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
from collections import deque

import httptools
import models
import msgspec
import uvloop

MOST_ROWS = 64
UNDER_WAY = 2
encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(list[bytes]).decode


def framed(bodies: list[bytes]) -> bytes:
    message = encode(bodies)
    return len(message).to_bytes(4, "little") + message


class Frames(asyncio.Protocol):
    """Cuts a stream into messages."""

    def __init__(self, take) -> None:
        self.take, self.buffer = take, b""

    def data_received(self, data: bytes) -> None:
        data = self.buffer + data if self.buffer else data
        at = 0
        while len(data) >= at + 4:
            end = at + 4 + int.from_bytes(data[at : at + 4], "little")
            if len(data) < end:
                break
            self.take(decode(data[at + 4 : end]))
            at = end
        self.buffer = data[at:]

    def connection_lost(self, exc) -> None:
        os._exit(0)  # Neither goes on without the other.


class Front:
    """Joins what waits and hands it on."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Connection, bytes]] = deque()
        self.sent: deque[list[Connection]] = deque()
        self.pumping = False

    def submit(self, connection: Connection, body: bytes) -> None:
        self.waiting.append((connection, body))
        if not self.pumping and len(self.sent) < UNDER_WAY:
            self.pumping = True
            self.loop.call_soon(self.pump)

    def pump(self) -> None:
        self.pumping = False
        while self.waiting and len(self.sent) < UNDER_WAY:
            count = min(MOST_ROWS, len(self.waiting))
            batch = [self.waiting.popleft() for _ in range(count)]
            self.sent.append([connection for connection, _ in batch])
            self.worker.write(framed([body for _, body in batch]))

    def answered(self, bodies: list[bytes]) -> None:
        connections = self.sent.popleft()
        self.pump()
        for connection, body in zip(connections, bodies, strict=True):
            connection.answer(body)


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.parser = httptools.HttpRequestParser(self)
        self.data_received = self.parser.feed_data

    def connection_made(self, transport) -> None:
        self.transport = transport

    def on_message_begin(self) -> None:
        self.body = b""

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.front.submit(self, self.body)

    def answer(self, body: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                % len(body) + body
            )  # fmt: skip


def handler(workload: str):
    """Return what turns bodies into answers, all of a batch at once."""
    write = msgspec.json.Encoder().encode
    if workload == "echo":
        values = msgspec.json.Decoder(dict[str, int]).decode
        return lambda bodies: [write(values(body)["value"]) for body in bodies]
    model = models.iris_model()
    rows = msgspec.json.Decoder(dict[str, list[list[float]]]).decode
    if workload == "iris":
        return lambda bodies: [write(models.predict(model, rows(body)["rows"])) for body in bodies]

    def joined(bodies: list[bytes]) -> list[bytes]:
        found = models.predict(model, [row for body in bodies for row in rows(body)["rows"]])
        return [write([one]) for one in found]

    return joined


async def work(workload: str, end: socket.socket) -> None:
    handle = handler(workload)
    gc.freeze()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(
        lambda: Frames(lambda bodies: transport.write(framed(handle(bodies)))), sock=end
    )
    transport.write(framed([]))
    await loop.create_future()


async def serve(port: int, end: socket.socket) -> None:
    front, ready = Front(), asyncio.Event()
    front.loop = asyncio.get_running_loop()
    take = lambda bodies: front.answered(bodies) if ready.is_set() else ready.set()  # noqa: E731
    front.worker, _ = await front.loop.create_connection(lambda: Frames(take), sock=end)
    await ready.wait()
    gc.freeze()
    server = await front.loop.create_server(lambda: Connection(front), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        uvloop.run(work(sys.argv[1], theirs))
    theirs.close()
    uvloop.run(serve(int(sys.argv[2]), ours))
