"""What is remembered of heads, however many and however long they are."""

from __future__ import annotations

import tracemalloc

from dosirak.serving.heads import HeadReader
from dosirak.serving.http.options import HttpOptions

MOST_BYTES = 8 * 2**20


def _head(number: int, *, headers: int) -> bytes:
    more = [f"X-{number:06d}-{at:02d}: {'y' * 40}" for at in range(headers)]
    lines = ["POST /a HTTP/1.1", "Host: localhost", "Content-Length: 4", *more, "", ""]
    return "\r\n".join(lines).encode()


def test_heads_that_never_repeat_take_a_bounded_memory() -> None:
    reader = HeadReader([b"/a"], HttpOptions())
    tracemalloc.start()
    try:
        for number in range(1500):
            assert reader.read(_head(number, headers=32)) is not None
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


def test_a_head_that_repeats_is_read_once() -> None:
    reader = HeadReader([b"/a"], HttpOptions())
    first = reader.read(_head(1, headers=2))
    assert first is not None
    assert reader.read(_head(1, headers=2)) is first
