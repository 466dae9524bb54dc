"""Heads of requests that drip, swell or are none, against a real listener."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn

from dosirak.serving.http.connection import bounded_connections
from dosirak.serving.http.options import HttpOptions

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
DRIP_S = 0.05


@dataclass
class Client:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def drip(self, piece: bytes) -> bytes:
        """Send a piece again and again; return what the server says before it closes."""

        async def go_on() -> None:
            while True:
                await self.send(piece)
                await asyncio.sleep(DRIP_S)

        dripping = asyncio.create_task(go_on())
        received = await self.rest()
        dripping.cancel()
        await asyncio.wait({dripping})
        return received

    async def rest(self) -> bytes:
        received = b""
        try:
            async with asyncio.timeout(20):
                while piece := await self.reader.read(65536):
                    received += piece
        except ConnectionError:
            pass
        return received


Connect = Callable[[], Coroutine[Any, Any, Client]]


@asynccontextmanager
async def serving(options: HttpOptions, application: Any) -> AsyncIterator[Connect]:
    server = uvicorn.Server(
        uvicorn.Config(
            application, port=0, http=bounded_connections(options), lifespan="off",
            log_config=None, access_log=False, timeout_graceful_shutdown=1,
        )
    )  # fmt: skip
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    clients: list[Client] = []

    async def connect() -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        clients.append(client)
        return client

    try:
        yield connect
    finally:
        for client in clients:
            client.writer.close()
        await server.shutdown()


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/slow":
        await asyncio.sleep(0.5)
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"ok"})


def talk(
    conversation: Callable[[Client], Coroutine[Any, Any, bytes]], **options: Any
) -> tuple[int, Any]:
    """Have a conversation; return the last answer's status (0 for none) and body."""

    async def run() -> bytes:
        async with serving(HttpOptions(**options), hello) as connect:
            return await conversation(await connect())

    received = asyncio.run(run())
    if not received:
        return 0, None
    last = list(re.finditer(rb"HTTP/1\.1 \d", received))[-1].start()
    head, _, body = received[last:].partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body) if body.startswith(b"{") else body


def test_a_head_that_drips_is_answered_with_408_in_json() -> None:
    async def conversation(client: Client) -> bytes:
        await client.send(HEAD)
        return await client.drip(b"X: y\r\n")

    status, body = talk(conversation, head_timeout_s=0.3, max_headers=10**6)
    assert (status, body["code"]) == (408, "request_too_slow")


def test_a_connection_without_a_request_is_closed() -> None:
    assert talk(lambda client: client.rest(), head_timeout_s=0.2) == (0, None)


def test_empty_lines_are_no_request() -> None:
    assert talk(lambda client: client.drip(b"\r\n"), head_timeout_s=0.2)[0] in (0, 400)


def test_the_second_head_on_a_connection_is_timed_too() -> None:
    async def conversation(client: Client) -> bytes:
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.reader.readuntil(b"ok")
        await client.send(HEAD)
        return await client.drip(b"X: y\r\n")

    assert talk(conversation, head_timeout_s=0.3, max_headers=10**6)[0] == 408


def test_an_idle_connection_and_a_slow_answer_are_not_hurried() -> None:
    async def conversation(client: Client) -> bytes:
        request = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
        await client.send(request)
        await client.reader.readuntil(b"ok")
        await asyncio.sleep(0.4)
        await client.send(request.replace(b"Host", b"Connection: close\r\nHost"))
        return await client.rest()

    assert talk(conversation, head_timeout_s=0.15) == (200, b"ok")


def test_the_rest_of_a_body_that_was_answered_may_not_drip() -> None:
    async def conversation(client: Client) -> bytes:
        await client.send(HEAD + b"Content-Length: 1000000\r\n\r\n")
        await client.reader.readuntil(b"ok")
        return await client.drip(b"x")

    assert talk(conversation, head_timeout_s=0.3) == (0, None)


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
        HEAD + b"X: " + b"a" * 1_000_000,
        HEAD + b"X: y\r\n" * 300 + b"\r\n",
        b"GET /?" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"a" * 1_000_000,
    ],
    ids=["long header", "header without end", "many headers", "long target", "no http"],
)
def test_heads_over_the_limits_are_refused_in_json(head: bytes) -> None:
    async def conversation(client: Client) -> bytes:
        with contextlib.suppress(ConnectionError):
            await client.send(head)
        return await client.rest()

    status, body = talk(conversation)
    # A reset may overtake the answer to what was still being sent.
    assert status in ((400, 431) if head[:1] == b"a" else (431, 0))
    assert body is None or body["code"] in ("head_too_large", "bad_request")


def test_a_large_head_within_the_limits_is_answered_however_it_is_cut() -> None:
    async def conversation(client: Client) -> bytes:
        head = HEAD + b"Connection: close\r\nX: " + b"a" * 60_000 + b"\r\n\r\n"
        for start in range(0, len(head), 10_000):
            await client.send(head[start : start + 10_000])
            await asyncio.sleep(0.01)
        return await client.rest()

    assert talk(conversation)[0] == 200


def test_nonsense_behind_a_request_does_not_take_its_answer() -> None:
    async def conversation(client: Client) -> bytes:
        await client.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.1)
        await client.send(b"nonsense\r\n\r\n")
        return await client.rest()

    assert talk(conversation) == (200, b"ok")


@pytest.mark.parametrize(
    "data", [b"nonsense\r\n\r\n", b"\x16\x03\x01\x00", b"GET \xff HTTP/1.1\r\n\r\n"]
)
def test_what_is_not_http_is_answered_in_json(data: bytes) -> None:
    async def conversation(client: Client) -> bytes:
        await client.send(data)
        return await client.rest()

    status, body = talk(conversation)
    assert (status, body["code"]) == (400, "bad_request")
    assert body["remedy"]


@pytest.mark.parametrize(
    "lines",
    [
        (b"POST /", b"Content-Length: 0"),
        (b"POST / HTTP/1.0", b"Transfer-Encoding: chunked"),
        (b"POST / HTTP/1.1", b"Transfer-Encoding: gzip, chunked"),
        (b"POST / HTTP/1.1", b"Transfer-Encoding: cow", b"Transfer-Encoding: chunked"),
        (b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    ],
)
def test_what_two_readers_could_cut_differently_is_refused_and_closed(lines) -> None:
    async def conversation(client: Client) -> bytes:
        request = b"\r\n".join([*lines, b"Host: x", b"", b"0", b"", b""])
        await client.send(request + HEAD + b"\r\n")
        received = await client.rest()
        assert received.count(b"HTTP/1.1 4") + received.count(b"HTTP/1.1 2") == 1
        return received

    assert talk(conversation)[0] == 400


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    said = b"%b %b:" % (scope["method"].encode(), scope["path"].encode()) + body + b";"
    length = (b"content-length", b"%d" % len(said))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": said})


# A body that is a request: whoever takes it for the next one answers a request that nobody sent.
SMUGGLED = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADES = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "websocket": b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "unheard of": b"upgrade: a/1\r\nConnection: upgrade\r\nUpgrade: b/2\r\n",
}
BODIES = {
    "sized": b"Content-Length: %d\r\n\r\n%b" % (len(SMUGGLED), SMUGGLED),
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
    % (len(SMUGGLED), SMUGGLED),
}


@pytest.mark.parametrize("piece", [1, 7, 10**6])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES)
def test_a_wish_for_another_protocol_is_ignored_and_the_body_kept(
    upgrade: bytes, body: bytes, piece: int
) -> None:
    request = b"POST /one HTTP/1.1\r\nHost: x\r\n" + upgrade + body
    last = b"GET /three HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n"
    data = request + request.replace(b"/one", b"/two") + last

    async def run() -> bytes:
        async with serving(HttpOptions(), echo) as connect:
            client = await connect()
            for start in range(0, len(data), piece):
                await client.send(data[start : start + piece])
                await asyncio.sleep(0)
            return await client.rest()

    said = re.findall(rb"(?s)\r\n\r\n([A-Z]+ /\w+:.*?);", asyncio.run(run()))
    assert said == [b"POST /one:" + SMUGGLED, b"POST /two:" + SMUGGLED, b"GET /three:"]


def test_two_ways_to_cut_a_body_are_refused_behind_an_upgrade_too() -> None:
    async def conversation(client: Client) -> bytes:
        both = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        await client.send(HEAD + UPGRADES["h2c"] + both + SMUGGLED)
        received = await client.rest()
        assert len(re.findall(rb"HTTP/1\.1 \d", received)) == 1
        return received

    assert talk(conversation)[0] == 400


def test_a_tunnel_is_refused_and_closed() -> None:
    async def conversation(client: Client) -> bytes:
        await client.send(b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED)
        received = await client.rest()
        assert len(re.findall(rb"HTTP/1\.1 \d", received)) == 1
        return received

    assert talk(conversation)[0] == 400
