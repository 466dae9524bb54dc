"""What a mounted application may say: ASGI's rules, and nothing that would break a frame."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.serving.mount_answers import MountAnswer, WrongMessage
from dosirak.serving.mount_messages import MountEvent
from dosirak.serving.mount_stream import MountStream

START = {"type": "http.response.start", "status": 200}
ACCEPT = {"type": "websocket.accept"}
BODY = {"type": "http.response.body", "body": b"x"}


def say(*events: dict[str, Any], is_socket: bool = False) -> list[dict[str, Any]]:
    answer = MountAnswer(is_socket=is_socket)
    return [answer.checked(event) for event in events]


@pytest.mark.parametrize(
    "events",
    [
        [{"type": "http.response.foo"}],
        [{}],
        [BODY],
        [START, START],
        [START, BODY, BODY],
        [START, BODY, {"type": "http.response.trailers"}],
        [START, {**BODY, "body": "text"}],
        *([{**START, "status": status}] for status in (99, 100, 101, 1000, "200", None)),
        *(
            [{**START, "headers": [header]}]
            for header in (
                (b"a", b"b\r\nc: d"), (b"a b", b"c"), (b"a\n", b"b"), (b"", b"b"), ("a", "b"),
                (3, 4), (b"a", b"\x00"), (b"content-length", b"-1"), (b"a", b"y" * 300_000),
            )
        ),
        [{**START, "headers": [(b"content-length", b"3"), (b"Content-Length", b"4")]}],
    ],
    ids=str,
)  # fmt: skip
def test_what_breaks_the_rules_is_raised_in_the_application(events: list[dict[str, Any]]) -> None:
    with pytest.raises(WrongMessage):
        say(*events)


@pytest.mark.parametrize(
    "events",
    [
        [{"type": "websocket.send", "text": "a"}],
        [START],
        [ACCEPT, ACCEPT],
        [{**ACCEPT, "headers": [(b"a\r\nb", b"c")]}],
        [{**ACCEPT, "subprotocol": "a\r\nb: c"}],
        *(
            [ACCEPT, {"type": "websocket.send", **message}]
            for message in ({}, {"bytes": 5}, {"text": b"a"}, {"text": "\ud800"},
                            {"text": "a", "bytes": b"a"})
        ),
        *(
            [ACCEPT, {"type": "websocket.close", **close}]
            for close in ({"code": 99_999}, {"code": 1005}, {"code": "1000"}, {"reason": "r" * 200})
        ),
        [ACCEPT, {"type": "websocket.close"}, {"type": "websocket.send", "text": "a"}],
    ],
    ids=str,
)  # fmt: skip
def test_so_is_what_breaks_those_of_websockets(events: list[dict[str, Any]]) -> None:
    with pytest.raises(WrongMessage):
        say(*events, is_socket=True)


def test_what_keeps_them_leaves_as_it_was_said() -> None:
    start, piece, end = say(
        {**START, "headers": [(b"X-A", bytearray(b"b")), (b"Transfer-Encoding", b"chunked")]},
        {**BODY, "body": memoryview(b"ab"), "more_body": True},
        {"type": "http.response.body"},
    )
    # Who writes the answer says how it is framed.
    assert start["headers"] == [(b"x-a", b"b")]
    assert (piece["body"], piece["more_body"]) == (b"ab", True)
    assert (end["body"], end["more_body"]) == (b"", False)
    accept, text, data, close = say(
        ACCEPT,
        {"type": "websocket.send", "text": "é", "bytes": None},
        {"type": "websocket.send", "bytes": b""},
        {"type": "websocket.close", "code": 4001, "reason": "enough"},
        is_socket=True,
    )
    assert accept["subprotocol"] is None
    assert (text["text"], data["bytes"]) == ("é", b"")
    assert (close["code"], close["reason"]) == (4001, "enough")


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.binary(max_size=5),
    st.lists(st.tuples(st.binary(max_size=5), st.binary(max_size=5)), max_size=2),
)  # fmt: skip
KINDS = [
    "http.response.start", "http.response.body", "websocket.accept", "websocket.send",
    "websocket.close", "websocket.http.response.start", "websocket.http.response.body", "other",
]  # fmt: skip
FIELDS = [
    "status",
    "headers",
    "body",
    "more_body",
    "subprotocol",
    "text",
    "bytes",
    "code",
    "reason",
]
EVENTS = st.builds(
    lambda kind, more: {"type": kind, **more},
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4),
)


@given(st.lists(EVENTS, max_size=4), st.booleans())
def test_whatever_is_said_the_front_can_read_what_leaves(
    events: list[dict[str, Any]], is_socket: bool
) -> None:
    async def run() -> None:
        sent: list[tuple[MountEvent, Any]] = []
        stream = MountStream(1, lambda message, body: sent.append((message, body)))
        answer = MountAnswer(is_socket=is_socket)
        for event in events:
            try:
                await stream.put(answer.checked(event))
            except (WrongMessage, ValueError, TypeError):
                break
        for message, body in sent:
            assert isinstance(body, bytes)
            assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=MountEvent)

    asyncio.run(run())
