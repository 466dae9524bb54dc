"""Heads that differ in their ids alone are judged once, and as every other head is."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.serving.heads import HeadReader, PlainRequest, ProxiedHeadReader, head_reader
from dosirak.serving.http.options import HttpOptions

PATH = b"/classify"
OPTIONS = HttpOptions(allowed_hosts=None, behind_proxy=True)
_LINES = st.lists(
    st.sampled_from(
        [
            "content-length: 3", "content-length: 0", "x-request-timeout: 1.5", "priority: u=1",
            "connection: close", "accept: */*", "x-forwarded-for: 10.0.0.1", "origin: http://x",
            "X-Request-Id: upper", "x-request-id: one", "x-request-id: two", "x-request-id:three",
            "x-request-id: not plain at all", "x-request-id: a\r\n folded", " folded", "x-more: y",
        ]
    ),
    max_size=6,
)  # fmt: skip


def _head(lines: list[str]) -> bytes:
    return "\r\n".join(["POST /classify HTTP/1.1", "host: d", *lines, "", ""]).encode("latin-1")


def _without_id(plain: PlainRequest | None) -> PlainRequest | None:
    """Leave the id out of what a worker is told: it is told of it beside."""
    if plain is None:
        return None
    headers = {k: v for k, v in plain.wire.headers.items() if k != "x-request-id"}
    return dataclasses.replace(plain, wire=msgspec.structs.replace(plain.wire, headers=headers))


@given(_LINES)
def test_the_verdict_is_that_of_every_other_reader(lines: list[str]) -> None:
    head = _head(lines)
    expected = HeadReader([PATH], OPTIONS).read(head)
    found = ProxiedHeadReader([PATH], OPTIONS).read(head)

    # To leave more to the application is allowed, to answer more is not.
    if found is not None:
        assert _without_id(found) == _without_id(expected)
    elif expected is not None:
        assert sum(line.lower().startswith("x-request-id") for line in lines) > 1


def test_ids_are_told_apart_and_the_rest_is_shared() -> None:
    reader = head_reader([PATH], OPTIONS, None)
    one, two = (reader.read(_head([f"x-request-id: {name}", "x-more: y"])) for name in ("a", "b"))

    assert one is not None
    assert two is not None
    assert (one.request_id, two.request_id) == ("a", "b")
    assert one.wire is two.wire


@pytest.mark.parametrize("line", ["x-request-id: a b", "x-request-id: \x01", "x-request-id: "])
def test_an_id_that_cannot_be_used_is_replaced_as_ever(line: str) -> None:
    plain = ProxiedHeadReader([PATH], OPTIONS).read(_head([line]))
    usual = HeadReader([PATH], OPTIONS).read(_head([line]))
    assert plain == usual
