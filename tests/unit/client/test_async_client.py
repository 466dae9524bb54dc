"""What is particular to the asynchronous client; the rules are tested in test_sync_client."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dosirak.client import AsyncHTTPClient
from dosirak.client.methods import OWN_NAMES
from dosirak.errors import (
    ApiNotFound,
    DeadlineExceeded,
    InvalidInput,
    RemoteError,
    ServiceError,
    Unavailable,
    UsageError,
)

Scripted = Callable[..., Any]
LAST = b"0\r\n\r\n"


def using(server: Any, use: Callable[[AsyncHTTPClient], Awaitable[Any]], **options: Any) -> Any:
    """Run `use` with a client in an event loop of its own."""

    async def main() -> Any:
        async with AsyncHTTPClient(server.url, **options) as client:
            return await use(client)

    return asyncio.run(main())


def stream_of(*pieces: bytes) -> bytes:
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    return head + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces)


def test_a_method_can_be_called_before_and_after_connecting(scripted: Scripted, kit: Any) -> None:
    server = scripted(kit.reply(b"3.0"))

    async def use(client: AsyncHTTPClient) -> None:
        assert await client.add(a=1, b=2) == 3.0
        assert await client.add(1, b=2) == 3.0
        assert await client.call("add", a=1) == 3.0
        assert inspect.iscoroutinefunction(client.add)
        assert str(inspect.signature(client.add)) == "(a: float, b: float = 1) -> float"
        assert "add" in dir(client)

    using(server, use)
    assert [r.path for r in server.received].count("/schema.json") == 1


def test_the_first_calls_may_be_tasks_of_the_event_loop(scripted: Scripted, kit: Any) -> None:
    server = scripted(kit.reply(b"3.0"))

    async def use(client: AsyncHTTPClient) -> list[float]:
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(client.add(a=n)) for n in range(10)]
        return [call.result() for call in calls]

    assert using(server, use) == [3.0] * 10
    assert [r.path for r in server.received].count("/schema.json") == 1


def test_the_reserved_names_are_those_of_the_client() -> None:
    assert {name for name in dir(AsyncHTTPClient) if not name.startswith("_")} == OWN_NAMES


def test_what_is_misspelt_is_said_whenever_it_is_found_out(scripted: Scripted, kit: Any) -> None:
    async def use(client: AsyncHTTPClient) -> None:
        with pytest.raises(UsageError, match="not connected"):
            _ = client.apis
        with pytest.raises(AttributeError, match="Did you mean 'add'"):
            await client.ad(a=1)
        with pytest.raises(AttributeError, match="Did you mean 'add'"):
            _ = client.ad
        with pytest.raises(ApiNotFound):
            await client.call("ad")

    using(scripted(kit.reply()), use)


def test_retries_and_errors_follow_the_same_rules(scripted: Scripted, kit: Any) -> None:
    server = scripted(kit.hang_up, kit.reply(b"no", status=503), kit.reply(b"3.0"))

    async def use(client: AsyncHTTPClient) -> Any:
        return await client.add(a=1)

    assert using(server, use) == 3.0
    assert len(server.calls) == 3
    with pytest.raises(InvalidInput):
        using(scripted(kit.fault("invalid_input", status=400)), use)
    careful = scripted(kit.hang_up, schema=kit.schema_with(idempotent=False))
    with pytest.raises(Unavailable):
        using(careful, use)
    assert len(careful.calls) == 1


@pytest.mark.parametrize("kind", ["silent", "trickling body", "trickling head"])
def test_a_slow_server_ends_in_deadline_exceeded(scripted: Scripted, kit: Any, kind: str) -> None:
    def trickle_head(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
        while not server.stopping.wait(0.02):
            connection.sendall(b"y")

    ways = {
        "silent": lambda connection: server.stopping.wait(30),
        "trickling body": kit.trickle,
        "trickling head": trickle_head,
    }
    server = scripted(ways[kind])

    async def use(client: AsyncHTTPClient) -> Any:
        return await client.add(a=1)

    with pytest.raises(DeadlineExceeded):
        using(server, use, timeout_s=0.3)


def test_cancelling_a_call_leaves_the_client_usable(scripted: Scripted, kit: Any) -> None:
    server = scripted(lambda connection: server.stopping.wait(30), kit.reply(b"3.0"))

    async def use(client: AsyncHTTPClient) -> Any:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.add(a=1), 0.3)
        return await client.add(a=1)

    assert using(server, use) == 3.0


def test_a_stream_is_iterated_before_and_after_connecting(scripted: Scripted, kit: Any) -> None:
    body = stream_of(b"data: 1\n\nda", b"ta: 2\n\n", b"event: end\ndata: {}\n\n") + LAST
    server = scripted(body, schema=kit.schema_with(streams=True))

    async def use(client: AsyncHTTPClient) -> None:
        assert [item async for item in client.add(a=1)] == [1.0, 2.0]
        assert [item async for item in client.add(a=1)] == [1.0, 2.0]
        assert [item async for item in client.call("add", a=1)] == [1.0, 2.0]

    using(server, use)


def test_an_error_among_lines_is_raised(scripted: Scripted, kit: Any) -> None:
    pieces = stream_of(b'1\n{"$error":', b'{"error": "No.", "code": "service_error"}}\n')
    lines = pieces.replace(b"text/event-stream", b"application/x-ndjson") + LAST
    server = scripted(lines, schema=kit.schema_with(streams=True))

    async def read() -> None:
        async with AsyncHTTPClient(server.url) as client:
            items = aiter(client.add(a=1))
            assert await anext(items) == 1.0
            with pytest.raises(ServiceError, match="No"):
                await anext(items)

    asyncio.run(read())


def test_iterating_over_what_does_not_stream_is_a_clear_error(scripted: Scripted, kit: Any) -> None:
    async def use(client: AsyncHTTPClient) -> None:
        with pytest.raises(UsageError, match="does not stream"):
            async for _ in client.add(a=1):
                pass

    using(scripted(kit.reply()), use)


def test_a_truncated_stream_is_never_taken_for_a_whole_one(scripted: Scripted, kit: Any) -> None:
    server = scripted(stream_of(b"data: 1\n\n"), schema=kit.schema_with(streams=True))

    async def use(client: AsyncHTTPClient) -> None:
        items = aiter(client.add(a=1))
        assert await anext(items) == 1.0
        with pytest.raises((Unavailable, RemoteError)):
            await anext(items)

    using(server, use)
    assert len(server.calls) == 1


def test_a_dropped_stream_closes_its_connection(scripted: Scripted, kit: Any) -> None:
    gone: list[bool] = []

    def endless(connection: socket.socket) -> None:
        connection.sendall(stream_of(b"data: 1\n\n"))
        connection.settimeout(20)
        gone.append(connection.recv(1) == b"")

    server = scripted(endless, schema=kit.schema_with(streams=True))

    async def use(client: AsyncHTTPClient) -> None:
        async for item in client.add(a=1):
            assert item == 1.0
            break
        gc.collect()
        for _ in range(1000):
            if gone:
                break
            await asyncio.sleep(0.01)
        assert gone == [True]

    using(server, use)


def test_a_task_is_submitted_polled_and_read(scripted: Scripted, kit: Any) -> None:
    def state(status: str, code: int = 200, task_id: str = "t1") -> bytes:
        body = {"task_id": task_id, "status": status}
        return kit.reply(json.dumps(body).encode(), status=code)

    server = scripted(
        state("in_progress"),
        state("in_progress"),
        state("in_progress", 202),
        kit.reply(b"3.0"),
        state("cancelled"),
        state("in_progress", task_id="t2"),
        schema=kit.schema_with(kind="task"),
    )

    async def use(client: AsyncHTTPClient) -> None:
        task = await client.add.submit(a=1)
        assert (task.id, await task.status()) == ("t1", "in_progress")
        assert await task.get(wait_timeout_s=20) == 3.0
        await task.cancel()
        assert (await task.retry()).id == "t2"

    using(server, use)


def test_submitting_what_is_no_task_is_a_clear_error(scripted: Scripted, kit: Any) -> None:
    async def use(client: AsyncHTTPClient) -> None:
        with pytest.raises(UsageError, match="not a task"):
            await client.add.submit(a=1)

    using(scripted(kit.reply()), use)


def test_readiness_is_asked_and_waited_for(scripted: Scripted, kit: Any) -> None:
    server = scripted(kit.reply(b"3.0"), ready=[503, 503, 200])

    async def use(client: AsyncHTTPClient) -> None:
        assert not await client.is_ready()
        await client.wait_until_ready(20)
        assert await client.is_ready()

    using(server, use)


def test_a_closed_client_says_so(scripted: Scripted, kit: Any) -> None:
    async def use(client: AsyncHTTPClient) -> None:
        await client.connect()
        await client.close()
        with pytest.raises(UsageError, match="closed"):
            await client.add(a=1)

    async def main() -> None:
        await use(AsyncHTTPClient(scripted(kit.reply()).url))

    asyncio.run(main())


def test_a_call_says_how_urgent_it_is(scripted: Scripted, kit: Any) -> None:
    server = scripted(kit.reply(b"3.0"))

    async def use(client: AsyncHTTPClient) -> list[float]:
        first = await client.at_urgency(1).add(a=1)
        await client.connect()
        return [first, await client.at_urgency(5).add(a=1), await client.add(a=1)]

    assert using(server, use) == [3.0] * 3
    assert [made.headers.get("priority") for made in server.calls] == ["u=1", "u=5", None]
