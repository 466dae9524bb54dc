"""HTTP/2 with a client that is not ours: calls, streams, errors, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h2.connection
import h2.events
import httpx
import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def served(launch_shared):
    """One server for all tests; the last one stops it."""
    target = f"{HERE / 'transported.py'}:Transported"
    return launch_shared("Transported", served=target, http2=True)


@pytest.fixture
def client(served):
    with httpx.Client(http1=False, http2=True, base_url=served.url, timeout=30) as client:
        yield client


def test_nothing_is_upgraded_on_the_way(served):
    upgrade = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AA"}
    for chunked in ({"json": {"value": 7}}, {"content": iter([b'{"value"', b":7}"])}):
        answer = served.client.post("/echo", headers=upgrade, **chunked)
        assert (answer.http_version, answer.status_code, answer.json()) == ("HTTP/1.1", 200, 7)


def test_calls_answer_as_over_http1(served, client):
    for path, body in (("/echo", {"value": 7}), ("/double", {"values": [1, 2]})):
        answer, plain = client.post(path, json=body), served.client.post(path, json=body)
        assert answer.http_version == "HTTP/2"
        assert (answer.status_code, answer.content) == (200, plain.content)
        ours = set(plain.headers) - {"date", "content-length"}
        assert ours <= set(answer.headers)


def test_errors_answer_as_over_http1(served, client):
    for path, body in (("/echo", {"value": -1}), ("/echo", {"value": "x"}), ("/nothing", {})):
        answer, plain = client.post(path, json=body), served.client.post(path, json=body)
        assert answer.status_code == plain.status_code >= 400
        assert {**answer.json(), "request_id": ""} == {**plain.json(), "request_id": ""}
    assert client.post("/late", json={}).status_code == served.call("late").status_code == 504
    assert client.get("/livez").status_code == 200


def test_large_bodies_travel_both_ways_whole(client):
    data = os.urandom(3_000_001)
    headers = {"content-type": "application/octet-stream"}
    assert client.post("/reversed", content=data, headers=headers).content == data[::-1]


def test_many_calls_share_a_connection_and_none_is_swapped(served):
    async def call_all() -> list[list[int]]:
        async with httpx.AsyncClient(
            http1=False, http2=True, base_url=served.url, timeout=30
        ) as client:
            calls = [client.post("/double", json={"values": [n]}) for n in range(100)]
            return [answer.json() for answer in await asyncio.gather(*calls)]

    assert asyncio.run(call_all()) == [[2 * number] for number in range(100)]


def test_a_stream_comes_whole_and_a_broken_one_is_reset(client):
    with client.stream("POST", "/count", json={"upto": 50}) as answer:
        text = b"".join(answer.iter_bytes())
    assert b"49" in text
    with (
        pytest.raises(httpx.RemoteProtocolError, match="StreamReset"),
        client.stream("POST", "/breaks", json={"after": 3}) as answer,
    ):
        list(answer.iter_bytes())
    assert client.post("/echo", json={"value": 1}).json() == 1


def test_a_refused_body_ends_no_other_stream(served):
    async def pieces():
        for _ in range(5):
            yield b"x" * 100_000

    async def call_all() -> tuple[int, list[int]]:
        async with httpx.AsyncClient(
            http1=False, http2=True, base_url=served.url, timeout=30
        ) as client:
            odd = asyncio.create_task(
                client.post("/echo", content=pieces(), headers={"content-encoding": "unknown"})
            )
            # Others go on as long as that one: this client, which waits for room to send, looks for
            # it only when something comes, even if another of its calls has found it already.
            answers: list[int] = []
            while not odd.done() or len(answers) < 20:
                answer = await client.post("/echo", json={"value": len(answers)})
                answers.append(answer.json())
            return (await odd).status_code, answers

    status, answers = asyncio.run(call_all())
    assert status == 415
    assert answers == list(range(len(answers)))


def test_odd_requests_are_refused_and_the_connection_goes_on(served):
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as raw:
        speaker = h2.connection.H2Connection()
        speaker.initiate_connection()
        base = [(":authority", f"127.0.0.1:{served.port}"), (":scheme", "http")]
        speaker.send_headers(1, [(":method", "CONNECT"), base[0]], end_stream=True)
        many = [(f"x-{n}", "1") for n in range(300)]
        speaker.send_headers(
            3, [(":method", "GET"), *base, (":path", "/livez"), *many], end_stream=True
        )
        speaker.send_headers(5, [(":method", "GET"), *base, (":path", "/livez")], end_stream=True)
        raw.sendall(speaker.data_to_send())
        seen: dict[int, str] = {}
        while len(seen) < 3:
            data = raw.recv(65536)
            assert data, seen
            for event in speaker.receive_data(data):
                if isinstance(event, h2.events.StreamReset):
                    seen[event.stream_id] = "reset"
                elif isinstance(event, h2.events.ResponseReceived):
                    seen[event.stream_id] = dict(event.headers)[b":status"].decode()
            raw.sendall(speaker.data_to_send())
    assert seen == {1: "reset", 3: "431", 5: "200"}


def test_one_that_resets_what_it_sends_is_sent_away(served):
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as raw:
        speaker = h2.connection.H2Connection()
        speaker.initiate_connection()
        head = [
            (":method", "GET"),
            (":authority", f"127.0.0.1:{served.port}"),
            (":scheme", "http"),
            (":path", "/livez"),
        ]
        with pytest.raises(OSError):
            for number in range(1, 40_001, 2):
                speaker.send_headers(number, head)
                speaker.reset_stream(number)
                raw.sendall(speaker.data_to_send())
            raw.settimeout(20)
            while raw.recv(65536):
                pass
            raise ConnectionResetError
    assert served.call("echo", value=2).json() == 2


def test_the_end_loses_no_request(served, until, tmp_path):
    gate = tmp_path / "gate"
    answered = threading.Event()
    lost: list[str] = []

    def call_on() -> int:
        count = 0
        with httpx.Client(http1=False, http2=True, base_url=served.url, timeout=30) as client:
            while True:
                try:
                    assert client.post("/echo", json={"value": count}).json() == count
                except httpx.ConnectError:
                    return count  # Nobody listens any more; nothing was sent.
                except httpx.HTTPError as error:
                    lost.append(repr(error))
                    return count
                count += 1
                answered.set()

    def hold() -> int:
        with httpx.Client(http1=False, http2=True, base_url=served.url, timeout=30) as client:
            return client.post("/held", json={"gate": str(gate)}).status_code

    with ThreadPoolExecutor(5) as pool:
        held = pool.submit(hold)
        calling = [pool.submit(call_on) for _ in range(4)]
        until(Path(f"{gate}.begun").exists)
        assert answered.wait(20)
        served.process.send_signal(signal.SIGTERM)
        counts = [one.result(60) for one in calling]
        gate.touch()
        assert held.result(30) == 200
    assert lost == []
    assert any(counts)  # one that began late may have found nobody
    assert served.process.wait(20) == 0
