from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.client.address import Address
from dosirak.errors import InvalidConfiguration


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("http://127.0.0.1:3000/", "http://127.0.0.1:3000"),
        ("HTTPS://Example.COM/my-service/", "https://example.com/my-service"),
        ("http://[::1]:3000/x", "http://[::1]:3000/x"),
        ("http://host/a b".replace(" ", "%20"), "http://host/a%20b"),
    ],
)
def test_an_address_is_kept_without_its_trailing_slash(url: str, base: str) -> None:
    assert Address.parse(url).base == base


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:3000",
        "localhost:3000",
        "ftp://host",
        "file:///etc/passwd",
        "http://",
        "http://:3000",
        "http://host:port",
        "http://host:99999",
        "http://host/?q=1",
        "http://host/#x",
        "http://ho st",
        "http://host\r\nx: y",
        "http://[::1",
    ],
)
def test_what_is_no_address_of_a_service_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        Address.parse(url)
    assert "http://127.0.0.1:3000" in caught.value.remedy


def test_user_and_password_become_basic_authorization_and_leave_the_address() -> None:
    address = Address.parse("http://jo%40e:s%3Acret@host:81/x")
    assert address.base == "http://host:81/x"
    scheme, _, credential = address.authorization.partition(" ")
    assert (scheme, base64.b64decode(credential)) == ("Basic", b"jo@e:s:cret")
    assert "s:cret" not in repr(address)


def test_a_token_becomes_bearer_authorization() -> None:
    assert Address.parse("http://host", "abc").authorization == "Bearer abc"


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "ключ"])
def test_a_token_that_no_header_can_carry_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        Address.parse("http://host", token)
    assert not token or token not in str(caught.value)


def test_a_user_name_and_a_token_together_are_refused() -> None:
    with pytest.raises(InvalidConfiguration):
        Address.parse("http://joe:secret@host", "abc")


@given(st.text())
def test_no_route_leads_to_another_host(route: str) -> None:
    assert Address.parse("http://host").at("/" + route).startswith("http://host/")


@given(st.text())
def test_any_text_is_an_address_or_a_clear_error(url: str) -> None:
    with contextlib.suppress(InvalidConfiguration):
        Address.parse("http://" + url)
