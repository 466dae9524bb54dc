from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from dosirak.deployment.router.ports import check_free, holder_of, is_free
from dosirak.errors import InvalidConfiguration, Unavailable


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_a_port_that_is_another_processs_is_named_with_it(taken: int) -> None:
    assert not is_free("127.0.0.1", taken)
    with pytest.raises(Unavailable, match=f"process {os.getpid()} "):
        check_free("127.0.0.1", taken, "The router")


def test_a_port_that_nobody_has_is_free(taken: int) -> None:
    assert is_free("127.0.0.2", taken)
    check_free("127.0.0.2", taken, "The router")


def test_an_address_that_is_not_this_machines_is_said() -> None:
    with pytest.raises(InvalidConfiguration, match=r"203\.0\.113\.1"):
        check_free("203.0.113.1", 8800, "The router")


def test_who_listens_nowhere_is_not_named() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert holder_of(bound.getsockname()[1]) == "another process"
