"""What has been answered is freed there and then: the collector of a server comes seldom.

Counted, not timed: a reference that leads round from a request to itself keeps its body until then,
and a flood of requests would keep many.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvloop

import dosirak
from dosirak.errors import InvalidInput
from dosirak.payload.wire import WireRequest, WireResponse
from dosirak.serving.application import create_application
from dosirak.serving.batch_run import BatchedCall
from dosirak.serving.dataplane import Dataplane
from dosirak.serving.http.options import HttpOptions
from dosirak.serving.http_server import HttpServer
from dosirak.spec.context import Context

OPTIONS = HttpOptions(max_body_bytes=100_000)
TIMES = 10


@dosirak.service
class Failing:
    @dosirak.api
    def double(self, value: int) -> int:
        if value == 13:
            raise InvalidInput("13 is refused.")
        if value == 14:
            raise RuntimeError("a secret")
        return "no number" if value == 15 else 2 * value  # type: ignore[return-value]

    @dosirak.api(batchable=True)
    def joined(self, values: list[int]) -> list[int]:
        if 13 in values:
            raise InvalidInput("13 is refused.")
        if 14 in values:
            raise RuntimeError("a secret")
        return values

    @dosirak.api
    async def waiting(self, value: int) -> int:
        await asyncio.sleep(0)
        if value == 13:
            raise InvalidInput("13 is refused.")
        return value


@contextmanager
def _no_collector() -> Iterator[None]:
    logging.getLogger("dosirak").disabled = True  # A handler of the tests' keeps its records.
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        logging.getLogger("dosirak").disabled = False


def _post(path: str, body: bytes, *more: str, media: str = "application/json") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {media}",
             f"Content-Length: {len(body)}", *more, "", ""]  # fmt: skip
    return "\r\n".join(lines).encode() + body


_FORM = b'--x\r\nContent-Disposition: form-data; name="value"\r\n\r\n7\r\n--x--\r\n'

REQUESTS = {
    "good": _post("/double", b'{"value":7}'),
    "a page": b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "half a body": _post("/double", b'{"value":'),
    "refused by the author": _post("/double", b'{"value":13}'),
    "failing": _post("/double", b'{"value":14}'),
    "a result that is none": _post("/double", b'{"value":15}'),
    "failing on the loop": _post("/waiting", b'{"value":13}'),
    "a form": _post("/double", _FORM, media="multipart/form-data; boundary=x"),
    "half a form": _post("/double", _FORM[:-9], media="multipart/form-data; boundary=x"),
    "no such path": _post("/nothing", b"{}"),
    "a bad host": _post("/double", b"{}").replace(b"localhost", b"evil.example"),
    "an unknown encoding": _post("/double", b"{}", "Content-Encoding: br"),
    "a large length": _post("/double", b"{}").replace(b"Length: 2", b"Length: 2000000"),
    "a head that is none": b"POST /double HTTP/1.1\r\nHost localhost\r\n\r\n",
    "no version": b"GET /double\r\n\r\n",
    "a tunnel": b"CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "two codings": _post("/double", b"{}", "Transfer-Encoding: gzip, chunked"),
    "two at once": _post("/double", b'{"value":7}') * 2,
}


@pytest.mark.parametrize("resets", [False, True], ids=["closed", "reset"])
def test_connections_and_their_requests_are_freed_when_they_end(resets: bool) -> None:
    found = uvloop.run(_left_by_connections(resets=resets))
    assert {name: count for name, count in found.items() if count >= TIMES} == {}


async def _left_by_connections(*, resets: bool) -> dict[str, int]:
    application = create_application(Failing.spec, {}, options=OPTIONS)
    server = HttpServer(await application.start(), {}, OPTIONS)
    serving = asyncio.create_task(server.serve(sockets=[]))
    await server.accepting.wait()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    await server.listen(listener)
    port = listener.getsockname()[1]

    def ask(data: bytes, times: int) -> None:
        for _ in range(times):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(data)
                assert client.recv(65536).startswith(b"HTTP/1.1 ")
                if resets:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    found: dict[str, int] = {}
    with _no_collector():
        for name, data in REQUESTS.items():
            await asyncio.to_thread(ask, data, 1)
            await _until(lambda: not server.server_state.connections)
            gc.collect()
            await asyncio.to_thread(ask, data, TIMES)
            await _until(lambda: not server.server_state.connections)
            found[name] = gc.collect()
    server.should_exit = True
    await serving
    await application.stop()
    return found


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.01)  # What ends with a connection takes its turn, too.


@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("double", {"value": 7}),
        ("double", {"value": "seven"}),
        ("double", {"value": 13}),
        ("double", {"value": 14}),
        ("double", {"value": 15}),
        ("joined", {"values": [1]}),
        ("joined", {"values": ["one"]}),
        ("joined", {"values": [13]}),
        ("joined", {"values": [14]}),
        ("waiting", {"value": "seven"}),
        ("waiting", {"value": 13}),
    ],
    ids=str,
)
def test_the_calls_of_a_message_are_freed_with_it(api: str, body: dict[str, Any]) -> None:
    assert uvloop.run(_left_by_messages(api, json.dumps(body).encode())) < TIMES


async def _left_by_messages(api: str, body: bytes) -> int:
    dataplane = Dataplane(Failing.spec, {})
    await dataplane.start()
    try:
        with _no_collector():
            await _run(dataplane, api, body)
            gc.collect()
            for _ in range(TIMES):
                await _run(dataplane, api, body)
            return gc.collect()
    finally:
        await dataplane.stop()


async def _run(dataplane: Dataplane, api: str, body: bytes) -> None:
    ended = asyncio.Event()

    def take(_run: Any, answered: Any, *, done: bool) -> None:
        assert all(isinstance(call.outcome, WireResponse) for call in answered)
        if done:
            ended.set()

    request = WireRequest(body, "application/json")
    calls = [BatchedCall(index, request, Context()) for index in range(3)]
    dataplane.run(api, calls, take)
    await asyncio.wait_for(ended.wait(), 20)
    await asyncio.sleep(0.01)  # The thread lets go of what it ran.
