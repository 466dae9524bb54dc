"""A client that sends bytes as they are and shows every answer that comes back."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_ID = re.compile(rb"(?i)\r\nx-request-id: *([^\r]+)")


@dataclass(frozen=True)
class RawAnswer:
    """One answer."""

    status: int
    request_id: str
    body: bytes


def exchange(
    port: int, data: bytes, *, silence_s: float = 1.5, most: int = 100
) -> tuple[list[RawAnswer], bool]:
    """Send bytes on one connection; return the answers, and whether the server closed it.

    Reads until the server closes, falls silent, or has answered `most` times.
    """
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=silence_s) as connection:
        closed = _send(connection, data)
        try:
            while piece := connection.recv(65536):
                received += piece
                if most < 100 and len(answers_in(received)) >= most:
                    break
            closed = closed or not piece
        except TimeoutError:
            pass
        except ConnectionError:
            closed = True
    return answers_in(received), closed


def answers_in(received: bytes) -> list[RawAnswer]:
    """Cut what a server sent into answers."""
    answers = list[RawAnswer]()
    while received.startswith(b"HTTP/1.1 ") and b"\r\n\r\n" in received:
        head, _, received = received.partition(b"\r\n\r\n")
        status = int(head[9:12])
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        named = _ID.search(head + b"\r\n")
        if status >= 200:
            name = named[1].decode("latin-1") if named else ""
            answers.append(RawAnswer(status, name, received[:size]))
        received = received[size:]
    return answers


def _send(connection: socket.socket, data: bytes) -> bool:
    try:
        connection.sendall(data)
    except (TimeoutError, ConnectionError):
        return True  # It stopped reading: its answer may be here all the same.
    return False
