"""Frames: whatever the cuts, the same messages; whatever the bytes, no harm."""

from __future__ import annotations

import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.serving.messages import (
    BrokenFrame,
    Call,
    Chunk,
    Described,
    Dropped,
    FrameReader,
    Hung,
    Ready,
    encode_frame,
    to_front_decoder,
    to_worker_decoder,
)

CALL = Call(7, "predict", "application/json", "*/*", {"a": "b"}, "q=1", "POST", "r", 1.5)


def _frame(message, body=b""):
    return b"".join(bytes(part) for part in encode_frame(message, body))


@given(bodies=st.lists(st.binary(max_size=300), min_size=1, max_size=6), cut=st.integers(1, 64))
def test_messages_survive_any_cut(bodies, cut):
    data = b"".join(_frame(Chunk(number), body) for number, body in enumerate(bodies))
    reader = FrameReader(max_body_bytes=1000)
    frames = [
        (to_front_decoder.decode(header), body)
        for start in range(0, len(data), cut)
        for header, body in reader.feed(data[start : start + cut])
    ]
    assert frames == [(Chunk(number), body) for number, body in enumerate(bodies)]


def test_a_request_arrives_as_it_was_sent():
    ((header, body),) = FrameReader(1000).feed(_frame(CALL, b"body"))
    assert to_worker_decoder.decode(header) == CALL
    assert body == b"body"


@pytest.mark.parametrize(
    "data", [b"\xff" * 8, b"\x00\x00\x00\x01\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n"]
)
def test_impossible_lengths_are_broken(data):
    with pytest.raises(BrokenFrame):
        list(FrameReader(1000).feed(data))


@pytest.mark.parametrize("message", [Ready(), Dropped(1), Hung("api")])
def test_a_worker_accepts_only_what_a_front_says(message):
    with pytest.raises(msgspec.DecodeError):
        to_worker_decoder.decode(msgspec.msgpack.encode(message))


def test_a_pickle_is_no_message():
    with pytest.raises(msgspec.DecodeError):
        to_worker_decoder.decode(pickle.dumps({"a": 1}))


def test_descriptions_cross_the_channel():
    from dosirak.serving.calls import ApiDescription, ServiceDescription

    service = ServiceDescription(
        "demo", (ApiDescription("a", "/a", "api", ("POST",), True, None),), {"apis": []}
    )
    ((header, _),) = FrameReader(1000).feed(_frame(Described(service)))
    assert to_front_decoder.decode(header) == Described(service)
