"""What an acceptor forwards: the owner knows of a request all that its head said."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.errors import Overloaded
from dosirak.serving.forwarded import ForwardedCalls, ForwardedRequest
from dosirak.serving.forwarding import Answers, Forwarded, ForwardedHead, Withdrawn
from dosirak.serving.heads import HeadReader, PlainRequest
from dosirak.serving.hot_protocol import HotRequest
from dosirak.serving.http.options import HttpOptions
from dosirak.serving.owners_link import OwnersLink

PATH = b"/classify"
# Of the connection and of one request; these stay with the acceptor or travel with each request.
_NOT_OF_THE_HEAD = {"body_bytes": 0, "keep_alive": True, "request_id": ""}
_HEADERS = st.dictionaries(
    st.sampled_from(
        ["accept", "content-type", "priority", "traceparent", "x-request-timeout", "x-more"]
    ),
    st.sampled_from(
        ["1.5", "u=0", "u=7, i", "text/plain", f"00-{'a' * 32}-{'b' * 16}-01", "caf\xe9", ""]
    ),
)


def read(headers: dict[str, str], query: str = "") -> PlainRequest | None:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    target = f"{PATH.decode()}?{query}" if query else PATH.decode()
    head = "\r\n".join([f"POST {target} HTTP/1.1", "Host: localhost", *lines, "", ""])
    return HeadReader([PATH], HttpOptions()).read(head.encode("latin-1"))


def sent(head: ForwardedHead) -> ForwardedHead:
    """Return what arrives of it."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(head), type=ForwardedHead)


@given(_HEADERS, st.sampled_from(["", "a=1&b=%20"]))
def test_all_that_a_head_says_arrives(headers, query):
    plain = read(headers, query)
    if plain is None:
        return  # The connection goes to the owner.
    arrived = sent(ForwardedHead.of(7, plain)).plain()
    assert arrived == dataclasses.replace(plain, **_NOT_OF_THE_HEAD)


class Channel:
    """Keeps what is sent, and takes as many heads at once as it is told."""

    def __init__(self, most_heads: int = 1000) -> None:
        self.sent: list[tuple[Any, list[bytes]]] = []
        self._most_heads = most_heads

    def send_batch(self, message: Any, bodies: Any, body_bytes: int) -> bool:
        heads = message.heads if isinstance(message, Answers) else message.new_heads
        if len(heads) > self._most_heads:
            return False
        self.sent.append((message, [bytes(body) for body in bodies]))
        return True

    def send(self, message: Any) -> None: ...


class Connection:
    """Keeps the statuses that it is answered with."""

    client = "::1"

    def __init__(self) -> None:
        self.statuses: list[int] = []

    def send_answer(self, request: Any, status: int, *_more: Any) -> None:
        self.statuses.append(status)


class Route:
    """Keeps requests, or refuses them."""

    timeout_s = 60.0
    revision = b"\r\nx-dosirak-revision: now"

    def __init__(self, *, refuses: bool = False) -> None:
        self.requests: list[HotRequest] = []
        self.withdrawn: list[HotRequest] = []
        self._refuses = refuses

    def submit(self, request: HotRequest) -> None:
        self.requests.append(request)
        if self._refuses:
            request.failed(Overloaded("Too many.", remedy="Wait."))

    def withdraw(self, request: HotRequest) -> None:
        self.withdrawn.append(request)

    def note(self, request: HotRequest, batch: Any = None) -> None: ...
    def note_failure(self, status: int, body: Any) -> None: ...
    def note_error(self, request: HotRequest, error: Exception) -> None: ...


def message(plain: PlainRequest, numbers: list[int]) -> Forwarded:
    ids = [f"id-{number}" for number in numbers]
    count = len(numbers)
    return Forwarded(
        False, [ForwardedHead.of(0, plain)], numbers, [0] * count, ids, ["::1"] * count,
        [5.0] * count, [1] * count,
    )  # fmt: skip


def test_a_forwarded_request_lacks_nothing_that_one_of_this_process_has():
    plain = read({"Priority": "u=1", "X-Request-Timeout": "2.5"})
    assert plain is not None

    async def main() -> tuple[HotRequest, HotRequest]:
        route = Route()
        calls = ForwardedCalls(Channel(), lambda: {PATH: route})  # type: ignore[arg-type]
        calls.receive(message(plain, [3]), b"x")
        origin: Any = None
        return route.requests[0], HotRequest(origin, route, plain, b"x", "id-3")

    forwarded, own = asyncio.run(main())
    slots = {slot for kind in HotRequest.__mro__ for slot in getattr(kind, "__slots__", ())}
    differ = {"arrived_s", "deadline_s", "connection", "plain", "route"}
    for slot in slots - differ:
        assert getattr(forwarded, slot) == getattr(own, slot), slot
    assert (forwarded.arrived_s, forwarded.deadline_s) == (5.0, 7.5)
    assert (forwarded.urgency, forwarded.connection.client) == (1, "::1")


def test_each_forwarded_request_is_answered_once_whatever_becomes_of_it():
    plain = read({})
    assert plain is not None
    channel, route, routes = Channel(), Route(refuses=True), {}
    routes[PATH] = route

    async def main() -> None:
        calls = ForwardedCalls(channel, lambda: routes)  # type: ignore[arg-type]
        calls.receive(message(plain, [1, 2]), b"xy")
        del routes[PATH]
        calls.receive(message(plain, [3]), b"z")
        routes[PATH] = kept = Route()
        calls.receive(message(plain, [4, 5]), b"vw")
        calls.withdraw(Withdrawn([5, 1, 99]))
        assert [request.number for request in kept.withdrawn] == [5]
        kept.requests[0].failed(Overloaded("Too many.", remedy="Wait."))
        kept.requests[1].failed(Overloaded("Too many.", remedy="Wait."))
        await asyncio.sleep(0)
        calls.lose()

    asyncio.run(main())
    ((answers, bodies),) = channel.sent
    statuses = [answers.heads[at].status for at in answers.head_of]
    assert list(zip(answers.numbers, statuses, strict=True)) == [
        (1, 429), (2, 429), (3, 404), (4, 429),
    ]  # fmt: skip
    assert all(
        b"id-%d" % number in body for number, body in zip(answers.numbers, bodies, strict=True)
    )
    assert isinstance(route.requests[0], ForwardedRequest)


def test_a_request_that_cannot_be_taken_back_keeps_no_other_from_it(caplog):
    plain = read({})
    assert plain is not None

    class Route1(Route):
        def withdraw(self, request: HotRequest) -> None:
            super().withdraw(request)
            raise RuntimeError("not this one")

    route = Route1()

    async def main() -> None:
        calls = ForwardedCalls(Channel(), lambda: {PATH: route})  # type: ignore[arg-type]
        calls.receive(message(plain, [1, 2, 3, 4]), b"abcd")
        calls.withdraw(Withdrawn([1, 2]))
        calls.lose()

    asyncio.run(main())
    assert route.withdrawn == route.requests
    assert "not this one" in caplog.text


@pytest.mark.parametrize(("most_heads", "status"), [(1000, 200), (2, 200), (0, 431)])
def test_requests_whose_heads_are_too_large_for_one_message_go_in_several(most_heads, status):
    # Two of them share a head.
    plains = [read({"X-More": str(number % 6)}) for number in range(7)]
    shared = {plain.wire.headers["x-more"]: plain for plain in plains if plain is not None}
    to_owner, to_acceptor, connection = (
        Channel(most_heads),
        Channel(max(1, most_heads)),
        Connection(),
    )
    route = Route()

    async def main() -> None:
        link = OwnersLink(to_owner)  # type: ignore[arg-type]
        owner = ForwardedCalls(to_acceptor, lambda: {PATH: route})  # type: ignore[arg-type]
        for number in [*range(7), *range(7)]:
            if number == 0:
                # In a turn of its own each: the second time the owner knows some of the heads.
                await asyncio.sleep(0)
            plain = shared[str(number % 6)]
            link.submit(HotRequest(connection, link.route, plain, b"%d" % number, f"id-{number}"))
        await asyncio.sleep(0)
        for message, bodies in to_owner.sent:
            owner.receive(message, b"".join(bodies))
        for request in route.requests:
            assert request.plain.wire.headers["x-more"] == str(int(request.body) % 6)
            headers = (("x-own", request.request_id),)
            owner.answer(request, (200, "", headers, b""), b"ok")
        await asyncio.sleep(0)
        for answers, bodies in to_acceptor.sent:
            link.take_answers(answers, b"".join(bodies))

    asyncio.run(main())
    assert connection.statuses == [status] * 14
    assert len(route.requests) == (14 if status == 200 else 0)
