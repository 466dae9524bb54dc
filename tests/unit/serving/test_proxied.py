"""What is believed of a proxy, and of nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.serving.proxied import believe, forwarded_client, prefix_of


def _believed(kind: str = "http", **headers: str) -> dict[str, Any]:
    scope: dict[str, Any] = {"type": kind, "client": None, "scheme": "http"}
    believe(scope, {f"x-forwarded-{name}": value for name, value in headers.items()})
    return scope


@pytest.mark.parametrize(
    ("said", "client"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("10.0.0.1, 203.0.113.9", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("", ""),
        ("unknown", ""),
        ("203.0.113.9,", ""),
    ],
)
def test_the_client_is_whom_the_proxy_itself_was_called_by(said: str, client: str) -> None:
    assert forwarded_client({"x-forwarded-for": said}) == client


@pytest.mark.parametrize("prefix", ["/a", "/my-first-bento", "/a/b.c~d_1/"])
def test_a_prefix_is_taken_up(prefix: str) -> None:
    assert prefix_of(_believed(prefix=prefix)) == prefix.rstrip("/")


@pytest.mark.parametrize(
    "prefix",
    ["", "/", "a", "//a", "/a//b", "/../a", "/a/..", '/"><script>', "/a b", "/ü", "/a, /b"],
)
def test_what_is_no_path_is_not(prefix: str) -> None:
    assert prefix_of(_believed(prefix=prefix)) == ""


@given(st.text(max_size=40))
def test_no_prefix_breaks_out_of_an_attribute(prefix: str) -> None:
    assert not set(prefix_of(_believed(prefix=prefix))) & set("\"'<> \r\n&")


def test_the_scheme_is_that_of_the_caller() -> None:
    assert _believed(proto="https")["scheme"] == "https"
    assert _believed("websocket", proto="https")["scheme"] == "wss"
    assert _believed(proto="gopher")["scheme"] == "http"
