"""What an acceptor forwards: the owner knows of a request all that its head said."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dosirak.errors import Overloaded
from dosirak.serving.forwarded import ForwardedCalls, ForwardedRequest
from dosirak.serving.forwarding import Answers, Forwarded, ForwardedHead, Withdrawn
from dosirak.serving.heads import HeadReader, PlainRequest
from dosirak.serving.hot_protocol import HotRequest
from dosirak.serving.http.options import HttpOptions

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
    """Keeps what is sent to the acceptor."""

    def __init__(self) -> None:
        self.sent: list[tuple[Answers, list[bytes]]] = []

    def send_batch(self, message: Answers, bodies: Any, body_bytes: int) -> None:
        self.sent.append((message, [bytes(body) for body in bodies]))


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
