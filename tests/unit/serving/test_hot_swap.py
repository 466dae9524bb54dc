"""The hot path while routes change under it: each request meets one table of routes."""

from __future__ import annotations

import asyncio

from dosirak.serving.heads import HeadReader
from dosirak.serving.hot_protocol import HotRequest, HotServer
from dosirak.serving.http.options import HttpOptions
from dosirak.serving.messages import AnswerBatch, AnswerHead

HEAD = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n"
BATCH = AnswerBatch(1, [], [AnswerHead(200, "", ())], [], [2], 1, 1, 0.0, 0.0, False)


class Route:
    """Keeps requests until they are answered."""

    timeout_s = 60.0

    def __init__(self, revision: bytes) -> None:
        self.revision = b"\r\nx-dosirak-revision: " + revision
        self.requests: list[HotRequest] = []

    def submit(self, request: HotRequest) -> None:
        self.requests.append(request)

    def answer(self) -> None:
        self.requests.pop(0).answered(AnswerHead(200, "", ()), b"ok", BATCH)

    def withdraw(self, request: HotRequest) -> None: ...

    def note(self, request: HotRequest, batch=None) -> None: ...

    def note_failure(self, status: int, body: bytes) -> None: ...
    def note_error(self, request: HotRequest, error: Exception) -> None: ...


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.protocol: asyncio.BaseProtocol | None = None

    def write(self, data: bytes) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


class Application(asyncio.Protocol):
    """What a connection is handed over to."""

    received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data


def hand_over(transport: Transport, data: bytes) -> None:
    application = Application()
    transport.set_protocol(application)
    application.data_received(data)


def connect(routes: dict[bytes, Route]) -> tuple[HotServer, object, Transport]:
    options = HttpOptions()
    server = HotServer(
        heads=HeadReader(routes, options), routes=routes, hand_over=hand_over, options=options
    )
    protocol, transport = server.connect(), Transport()
    protocol.connection_made(transport)
    return server, protocol, transport


def test_a_request_under_way_is_answered_by_its_own_revision() -> None:
    old, new = Route(b"old"), Route(b"new")
    server, protocol, transport = connect({b"/a": old})
    protocol.data_received(HEAD % b"/a" + b"body")
    server.serve({b"/a": new})
    old.answer()
    assert b"x-dosirak-revision: old" in transport.written
    transport.written = b""
    protocol.data_received(HEAD % b"/a" + b"body")
    new.answer()
    assert b"x-dosirak-revision: new" in transport.written


def test_a_body_that_comes_after_its_route_has_gone_is_handed_over_whole() -> None:
    old, new = Route(b"old"), Route(b"new")
    server, protocol, transport = connect({b"/a": old})
    first, rest = HEAD % b"/a" + b"bo", b"dy" + HEAD % b"/b"
    protocol.data_received(first)
    server.serve({b"/b": new})
    protocol.data_received(rest)
    assert isinstance(transport.protocol, Application)
    assert transport.protocol.received == first + rest
    assert old.requests == new.requests == []


def test_a_body_whose_route_is_in_both_tables_goes_to_the_new_one() -> None:
    old, new = Route(b"old"), Route(b"new")
    server, protocol, _ = connect({b"/a": old})
    protocol.data_received(HEAD % b"/a" + b"bo")
    server.serve({b"/a": new})
    protocol.data_received(b"dy")
    assert len(new.requests) == 1
    assert old.requests == []


def test_a_route_that_is_new_is_hot_at_once() -> None:
    new = Route(b"new")
    server, protocol, transport = connect({})
    server.serve({b"/b": new})
    protocol.data_received(HEAD % b"/b" + b"body")
    assert len(new.requests) == 1
    assert transport.protocol is None
