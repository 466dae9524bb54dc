"""How long a connection of the hot path stays open: idle, at work, or with nobody reading."""

from __future__ import annotations

import asyncio
import time

from dosirak.serving.heads import HeadReader
from dosirak.serving.hot_protocol import HotProtocol, HotRequest, HotServer
from dosirak.serving.http.options import HttpOptions
from dosirak.serving.messages import AnswerBatch, AnswerHead

REQUEST = b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody"
BATCH = AnswerBatch(1, [], [AnswerHead(200, "", ())], [], [2], 1, 1, 0.0, 0.0, False)
OPTIONS = HttpOptions(send_timeout_s=5.0)


class Route:
    """Answers when it is told to."""

    timeout_s = 60.0
    revision = b""

    def __init__(self) -> None:
        self.requests: list[HotRequest] = []

    def submit(self, request: HotRequest) -> None:
        self.requests.append(request)

    def answer(self) -> None:
        self.requests.pop(0).answered(AnswerHead(200, "", ()), b"ok", BATCH)

    def note(self, request: HotRequest, batch=None) -> None: ...


class Transport(asyncio.Transport):
    """Says what is left to write, and how it was ended."""

    def __init__(self) -> None:
        super().__init__()
        self.unsent = 0
        self.ended = ""

    def write(self, data: bytes) -> None: ...

    def is_closing(self) -> bool:
        return bool(self.ended)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"


def connect() -> tuple[HotServer, HotProtocol, Transport, Route]:
    routes = {b"/a": Route()}
    server = HotServer(
        heads=HeadReader(routes, OPTIONS),
        routes=routes,
        hand_over=lambda _transport, _data: None,
        options=OPTIONS,
        idle_s=10.0,
    )
    protocol, transport = server.connect(), Transport()
    protocol.connection_made(transport)
    return server, protocol, transport, routes[b"/a"]


def test_the_idle_time_begins_with_the_answer_and_not_with_a_request_that_took_long() -> None:
    _, protocol, transport, route = connect()
    protocol.data_received(REQUEST)
    now_s = time.monotonic()
    for later_s in (30.0, 60.0, 90.0):
        protocol.sweep(now_s + later_s)
    route.answer()
    protocol.sweep(now_s + 90.5)
    protocol.sweep(now_s + 99.0)
    assert transport.ended == ""
    protocol.sweep(now_s + 101.0)
    assert transport.ended == "closed"


def test_an_answer_that_nobody_reads_does_not_keep_a_connection_for_ever() -> None:
    _, protocol, transport, route = connect()
    protocol.data_received(REQUEST)
    transport.unsent = 1000
    protocol.pause_writing()
    route.answer()
    now_s = time.monotonic()
    # As long as the client reads, however slowly, it is given time.
    for second in range(0, 40, 4):
        transport.unsent -= 1
        protocol.sweep(now_s + second)
    protocol.sweep(now_s + 40.0)
    assert transport.ended == ""
    protocol.sweep(now_s + 42.0)
    assert transport.ended == "aborted"


def test_a_client_that_has_read_all_is_idle_from_then_on() -> None:
    async def main() -> Transport:
        _, protocol, transport, route = connect()
        protocol.data_received(REQUEST)
        transport.unsent = 1000
        protocol.pause_writing()
        route.answer()
        now_s = time.monotonic()
        for second in range(0, 40, 4):
            transport.unsent -= 1
            protocol.sweep(now_s + second)
        transport.unsent = 0
        protocol.resume_writing()
        protocol.sweep(now_s + 40.0)
        protocol.sweep(now_s + 45.0)
        return transport

    assert asyncio.run(main()).ended == ""
