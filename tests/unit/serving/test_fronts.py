"""Connections that acceptors hand on: one that is lost for lack of a descriptor costs no other."""

from __future__ import annotations

import asyncio
import resource
import socket
from typing import Any

import pytest

from dosirak.serving.fronts import sent_connection
from dosirak.serving.handing_on import HandingOn
from dosirak.serving.messages import BrokenFrame


@pytest.fixture
def adoption():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def no_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def refuse(refused: bool = True) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0 if refused else soft, hard))

    yield refuse
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_connection_that_this_process_cannot_take_is_lost_alone(adoption, no_descriptors):
    ours, theirs = adoption
    one, other = socket.socketpair()
    with one, other:
        for _ in range(2):
            socket.send_fds(theirs, [b"\0"], [one.fileno()])
        no_descriptors()
        assert sent_connection(ours) is None
        no_descriptors(refused=False)
        taken = sent_connection(ours)
        assert taken is not None
        with taken:
            taken.setblocking(True)
            taken.sendall(b"here")
            assert other.recv(10) == b"here"


def test_a_connection_that_was_announced_and_never_sent_is_broken(adoption):
    ours, theirs = adoption
    with pytest.raises(BrokenFrame):
        sent_connection(ours)
    theirs.send(b"\0")
    with pytest.raises(BrokenFrame):
        sent_connection(ours)


class Channel:
    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, message: Any, body: bytes = b"") -> None:
        self.sent.append((message, body))


def test_an_acceptor_without_descriptors_closes_what_it_cannot_hand_on(
    adoption, no_descriptors, caplog
):
    _, theirs = adoption

    async def main() -> tuple[bytes, bytes, int]:
        channel = Channel()
        handing_on = HandingOn(channel, theirs)  # type: ignore[arg-type]
        loop = asyncio.get_running_loop()
        clients: list[socket.socket] = []
        transports: list[Any] = []
        for _ in range(2):
            client, own = socket.socketpair()
            client.setblocking(False)
            clients.append(client)
            transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, own)
            transports.append(transport)
        no_descriptors()
        for transport in transports:
            handing_on.hand_over(transport, b"GET / HTTP/1.1\r\n\r\n")
        heard = [await loop.sock_recv(client, 10) for client in clients]
        no_descriptors(refused=False)
        while handing_on.is_moving:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
        for client in clients:
            client.close()
        return heard[0], heard[1], len(channel.sent)

    assert asyncio.run(main()) == (b"", b"", 0)
    assert caplog.text.count("could not be handed on") == 1
