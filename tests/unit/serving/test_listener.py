"""Where a socket may be opened, and what is said when it may not."""

from __future__ import annotations

import os
import socket

import pytest

from dosirak.errors import InvalidConfiguration
from dosirak.serving.listener import (
    check_admin_token,
    check_exposure,
    holder_of,
    ignore_new_connections,
    is_loopback,
    open_listener,
    url_of,
    waiting_connections,
)
from dosirak.serving.serve import serve


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_is_known(host):
    assert is_loopback(host)
    check_exposure(host, None)


def test_the_admin_token_is_nobody_elses():
    check_admin_token("of-the-house", None)
    check_admin_token("of-the-house", "of-the-guests")
    with pytest.raises(InvalidConfiguration, match="token of the service"):
        check_admin_token("of-the-house", "of-the-house")
    with pytest.raises(InvalidConfiguration, match="cannot be used"):
        check_admin_token("short", None)


def test_a_server_whose_tokens_are_one_does_not_start():
    with pytest.raises(InvalidConfiguration, match="token of the service"):
        serve("nothing.py", port=0, token="of-the-house", admin_token="of-the-house")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_anything_else_needs_a_token(host):
    with pytest.raises(InvalidConfiguration, match="token"):
        check_exposure(host, None)
    check_exposure(host, "long-enough")


@pytest.mark.parametrize("host", ["127.0.0.1:80", "nosuchhost.invalid", "http://127.0.0.1"])
def test_what_is_no_address_does_not_need_a_token_but_one(host):
    with pytest.raises(InvalidConfiguration, match="not an address") as caught:
        check_exposure(host, None)
    assert "--host" in str(caught.value.remedy)


@pytest.mark.parametrize("token", ["", "short", "with\nbreak", "한국어한국어한국어"])
def test_a_token_that_cannot_be_sent_or_is_guessed_is_refused(token):
    with pytest.raises(InvalidConfiguration):
        check_exposure("127.0.0.1", token)


def test_a_free_port_is_found_and_a_taken_one_names_its_holder():
    with open_listener("127.0.0.1", 0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        assert url_of(listener) == f"http://127.0.0.1:{port}"
        assert holder_of(port) == os.getpid()
        with pytest.raises(InvalidConfiguration, match=f"process {os.getpid()}"):
            open_listener("127.0.0.1", port)


@pytest.mark.parametrize(("host", "port"), [("no such host", 1), ("127.0.0.1", 70_000)])
def test_an_address_that_is_none_is_said(host, port):
    with pytest.raises(InvalidConfiguration):
        open_listener(host, port)


def test_connections_that_began_are_kept_and_no_more_begin():
    with open_listener("127.0.0.1", 0) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()) as begun:
            assert waiting_connections(listener) == 1
            ignore_new_connections(listener)
            with pytest.raises(TimeoutError):
                socket.create_connection(listener.getsockname(), timeout=0.3)
            accepted, _ = listener.accept()
            with accepted:
                begun.sendall(b"x")
                accepted.setblocking(True)
                assert accepted.recv(1) == b"x"
            assert waiting_connections(listener) == 0
