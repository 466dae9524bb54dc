"""An application called without a socket: requests, streams, lifespan, and nothing left behind."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from dosirak import client as clients
from dosirak.client.asgi import ASGITransport
from dosirak.errors import DeadlineExceeded, ServiceError, Unavailable, UsageError


class Sums:
    """A small service that counts what happens to it."""

    def __init__(self, kit: Any, **changes: Any) -> None:
        self.schema = kit.schema_with(**changes)
        self.events: list[str] = []
        self.fail_at = ""
        self.endless = True
        self.application = Starlette(
            routes=[
                Route("/schema.json", self._schema),
                Route("/readyz", self._ready),
                Route("/add", self._add, methods=["POST"]),
            ],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, application: Any) -> AsyncIterator[dict[str, Any]]:
        if self.fail_at == "startup":
            raise ValueError("no model")
        self.events.append("start")
        yield {"greeting": "hello"}
        self.events.append("stop")
        if self.fail_at == "shutdown":
            raise ValueError("no way out")

    async def _schema(self, request: Request) -> Response:
        return JSONResponse(self.schema)

    async def _ready(self, request: Request) -> Response:
        return PlainTextResponse(request.state.greeting)

    async def _add(self, request: Request) -> Response:
        if self.schema["apis"][0]["streams"]:
            return StreamingResponse(self._items(), media_type="text/event-stream")
        values = await request.json()
        if values["a"] < 0:
            raise RuntimeError("negative")
        if values["a"] == 1000:
            await anyio.sleep(30)
        return JSONResponse(values["a"] + values.get("b", 1))

    async def _items(self) -> AsyncIterator[bytes]:
        try:
            number = 0
            while self.endless or number < 3:
                self.events.append(f"item {number}")
                yield b"data: %d\n\n" % number
                number += 1
            yield b"event: end\ndata: {}\n\n"
        finally:
            self.events.append("closed")


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Any:
    before = set(threading.enumerate())
    yield
    gc.collect()
    left = {t for t in threading.enumerate() if t.name == "dosirak-test-client"} - before
    assert left == set()


def test_a_service_is_called_without_a_socket(kit: Any) -> None:
    service = Sums(kit)
    with clients.test_client(service.application) as client:
        assert service.events == ["start"]
        assert client.add(a=1, b=2) == 3.0
        assert client.is_ready()
    assert service.events == ["start", "stop"]


def test_a_client_that_is_not_entered_starts_on_first_use_and_stops_on_close(kit: Any) -> None:
    service = Sums(kit)
    client = clients.test_client(service.application)
    assert service.events == []
    assert client.add(a=1) == 2.0
    client.close()
    client.close()
    assert service.events == ["start", "stop"]
    with pytest.raises(UsageError, match="closed"):
        client.add(a=1)


def test_a_client_that_is_dropped_stops_its_service(kit: Any) -> None:
    service = Sums(kit)
    client = clients.test_client(service.application)
    client.connect()
    del client
    gc.collect()
    assert service.events == ["start", "stop"]


def test_a_stream_arrives_item_by_item_and_ends_when_it_is_dropped(kit: Any) -> None:
    service = Sums(kit, streams=True)
    with clients.test_client(service.application) as client:
        items = client.add(a=1)
        assert [next(items), next(items)] == [0.0, 1.0]
        # The service is at most one piece ahead of its caller.
        assert "item 4" not in service.events
        items.close()
    assert "closed" in service.events


def test_a_whole_stream_is_read_to_its_end(kit: Any) -> None:
    service = Sums(kit, streams=True)
    service.endless = False
    with clients.test_client(service.application) as client:
        assert list(client.add(a=1)) == [0.0, 1.0, 2.0]


def test_an_application_that_raises_breaks_the_connection_and_is_the_cause(kit: Any) -> None:
    service = Sums(kit, idempotent=False)
    # Starlette answers 500 and raises; a bare application only raises.
    with clients.test_client(service.application) as client, pytest.raises(Exception, match="500"):
        client.add(a=-1)

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("bare")

    client = clients.test_client(bare)
    with pytest.raises(Unavailable) as caught:
        client.connect()
    assert "bare" in str(caught.value.__cause__.__cause__)  # type: ignore[union-attr]
    client.close()


def test_an_application_without_a_lifespan_is_served(kit: Any) -> None:
    service = Sums(kit)

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise AssertionError("only http")
        scope["state"] = {"greeting": ""}
        await service.application(scope, receive, send)

    with clients.test_client(bare) as client:
        assert client.add(a=1) == 2.0


def test_a_service_that_does_not_start_says_why(kit: Any) -> None:
    service = Sums(kit)
    service.fail_at = "startup"
    client = clients.test_client(service.application)
    with pytest.raises(ServiceError, match="did not start") as caught, client:
        pass
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_service_that_does_not_stop_says_why(kit: Any) -> None:
    service = Sums(kit)
    service.fail_at = "shutdown"
    client = clients.test_client(service.application)
    client.connect()
    with pytest.raises(ServiceError, match="did not stop"):
        client.close()


def test_a_slow_service_ends_in_deadline_exceeded(kit: Any) -> None:
    service = Sums(kit)
    transport = ASGITransport(service.application)
    with clients.SyncHTTPClient("http://x", transport=transport, timeout_s=0.3) as client:
        client.connect()
        with pytest.raises(DeadlineExceeded):
            client.add(a=1000)


def test_calls_from_several_threads_run_side_by_side(kit: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    service = Sums(kit)
    with clients.test_client(service.application) as client, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: client.add(a=n), range(50))) == [n + 1.0 for n in range(50)]


def test_the_path_the_query_and_the_headers_arrive(kit: Any) -> None:
    seen: dict[str, Any] = {}

    async def echo(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.update(scope, body=(await receive())["body"])
            await PlainTextResponse("ok")(scope, receive, send)

    with httpx2.Client(transport=ASGITransport(echo)) as http:
        assert http.post("http://host/a%20b?c=d", content=b"x", headers={"X-Y": "z"}).text == "ok"
    assert (seen["path"], seen["raw_path"]) == ("/a b", b"/a%20b")
    assert (seen["query_string"], seen["body"]) == (b"c=d", b"x")
    assert (b"x-y", b"z") in seen["headers"]


def test_a_client_left_open_at_exit_keeps_nobody_waiting() -> None:
    program = """
import dosirak.client as c
events = []
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            print(kind, flush=True)
            await send({"type": kind + ".complete"})
client = c.test_client(app)
client._http.__enter__()
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["lifespan.startup", "lifespan.shutdown"]
    assert (done.returncode, done.stderr) == (0, "")
