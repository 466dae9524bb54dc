"""What a front and a process that imports a service for it say to each other, before there is work.

    Open ─▶ (import) ─▶ Opened ─▶ Hire + the worker's socket ─▶ Hired │ it becomes the worker itself
                                                                 … ─▶ Ended

Datagrams over a socketpair (SOCK_SEQPACKET), so that each carries its descriptors and none is
half. What a worker is told and answers goes over the socket it is hired with (`messages`).
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from dosirak.serving.messages import Message, Start
from dosirak.serving.worker_shares import ServiceNeeds

# Where nothing is forked the two speak in turns, and a stream does as well.
_KIND = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_STREAM
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_MAX_BYTES = 1024 * 1024
_MOST_DESCRIPTORS = 2


class Open(Message, frozen=True):
    """Front → importer, first: what to import."""

    start: Start


class Opened(Message, frozen=True):
    """Importer → front: the service is imported, or cannot be.

    Attributes:
        needs: what it and those that it depends on ask for; empty when the import failed, which
            the worker that is hired says why.
        unsafe: why the process should not be forked; empty when it may be.
        is_bound: a library was imported that has read from the environment how many threads it may
            use.
    """

    needs: tuple[ServiceNeeds, ...] = ()
    unsafe: str = ""
    is_bound: bool = False


class Hire(Message, frozen=True):
    """Front → importer: a worker is wanted; its end of a socket travels along.

    Attributes:
        variables: set in its environment.
        cpus: where alone it runs; anywhere when empty.
        itself: the importer becomes the worker. Otherwise it forks one, and a second descriptor
            travels along whose other end closes with the front.
    """

    variables: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    cpus: tuple[int, ...] = ()
    itself: bool = True


class Hired(Message, frozen=True):
    """Importer → front: a worker was forked; a descriptor of its process travels along.

    Attributes:
        pid: 0 when the system refused.
    """

    pid: int


class Ended(Message, frozen=True):
    """Importer → front: a worker that was forked has ended, with this code or minus its signal."""

    pid: int
    code: int


FromFront: TypeAlias = Open | Hire
FromImporter: TypeAlias = Opened | Hired | Ended

_encoder = msgspec.msgpack.Encoder()
from_front_decoder = msgspec.msgpack.Decoder(FromFront)
from_importer_decoder = msgspec.msgpack.Decoder(FromImporter)


def open_pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a line between a front and an importer."""
    return socket.socketpair(socket.AF_UNIX, _KIND)


def say(line: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Send one message.

    Raises:
        OSError: the other side is gone.
    """
    socket.send_fds(line, [_encoder.encode(message)], descriptors)


def hear(line: socket.socket) -> tuple[bytes, list[int]]:
    """Receive one message; nothing when the other side is gone.

    Raises:
        BlockingIOError: there is none yet.
    """
    try:
        data, descriptors, _, _ = socket.recv_fds(
            line, _MAX_BYTES, _MOST_DESCRIPTORS, _CLOSE_ON_EXEC
        )
    except ConnectionError:
        return b"", []
    return data, descriptors
