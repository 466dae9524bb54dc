"""A server to call that follows a script, of failures mostly, and counts what it was asked."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

NUMBER = {"type": "number"}
SCHEMA: dict[str, Any] = {
    "schema_version": 1,
    "name": "sums",
    "doc": "Adds.",
    "apis": [
        {
            "name": "add",
            "route": "/add",
            "kind": "api",
            "streams": False,
            "idempotent": True,
            "methods": ["POST"],
            "doc": "Add two numbers.",
            "parameters": [
                {"name": "a", "required": True, "root": False, "schema": NUMBER},
                {"name": "b", "required": False, "default": 1, "root": False, "schema": NUMBER},
            ],
            "returns": NUMBER,
            "request_media_types": ["application/json"],
            "response_media_types": ["application/json"],
        }
    ],
}


def schema_with(**changes: Any) -> dict[str, Any]:
    """The schema with changes to its one api."""
    return {**SCHEMA, "apis": [{**SCHEMA["apis"][0], **changes}]}


@dataclass
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class ScriptedServer:
    """Answers each request with the next entry of its script; the last entry repeats.

    An entry is the raw bytes of a response, or a function that is given the connection. The
    connection is closed after each.
    """

    script: list[bytes | Callable[[socket.socket], None]] = field(default_factory=list)
    schema: dict[str, Any] = field(default_factory=lambda: SCHEMA)
    ready: list[int] = field(default_factory=lambda: [200])
    received: list[Received] = field(default_factory=list)
    everywhere: bool = False
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.threads: list[threading.Thread] = []
        self.acceptor = threading.Thread(target=self._accept, daemon=True)
        self.acceptor.start()

    @property
    def calls(self) -> list[Received]:
        return [r for r in self.received if r.path not in ("/schema.json", "/readyz")]

    def stop(self) -> None:
        self.stopping.set()
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.acceptor.join()
        for thread in self.threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                request = _read_request(connection)
                if request is not None:
                    self.received.append(request)
                    self._answer(connection, request)
            except OSError:
                pass

    def _answer(self, connection: socket.socket, request: Received) -> None:
        if not self.everywhere and request.path == "/readyz":
            status = self.ready.pop(0) if len(self.ready) > 1 else self.ready[0]
            connection.sendall(reply(b"", status=status))
        elif not self.everywhere and request.path == "/schema.json":
            connection.sendall(reply(json.dumps(self.schema).encode()))
        else:
            entry = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            if isinstance(entry, bytes):
                connection.sendall(entry)
            else:
                entry(connection)


def _read_request(connection: socket.socket) -> Received | None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    return Received(method, path, headers, body)


def reply(
    body: bytes = b"3.0",
    *,
    status: int = 200,
    content_type: str = "application/json",
    headers: dict[str, str] | None = None,
) -> bytes:
    """The bytes of a well-formed response."""
    lines = [f"HTTP/1.1 {status} Some Reason", f"content-type: {content_type}"]
    lines += [f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def fault(code: str, *, status: int, **more: Any) -> bytes:
    """An error as a dosirak server writes it; `headers` go to the response."""
    headers = more.pop("headers", None)
    body = {"error": "It went wrong.", "code": code, "remedy": "Mend it.", **more}
    return reply(json.dumps(body).encode(), status=status, headers=headers)


def hang_up(connection: socket.socket) -> None:
    """Close the connection without an answer."""


def trickle(connection: socket.socket) -> None:
    """Answer a byte at a time, for ever."""
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    for _ in range(100000):
        connection.sendall(b" ")
        time.sleep(0.02)


class Kit:
    """What tests of this folder share; a fixture, because test files cannot import each other."""

    SCHEMA = SCHEMA
    NUMBER = NUMBER
    schema_with = staticmethod(schema_with)
    reply = staticmethod(reply)
    fault = staticmethod(fault)
    hang_up = staticmethod(hang_up)
    trickle = staticmethod(trickle)


@pytest.fixture(scope="session")
def kit() -> type[Kit]:
    return Kit


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedServer]]:
    servers: list[ScriptedServer] = []

    def start(*script: Any, **options: Any) -> ScriptedServer:
        servers.append(ScriptedServer(list(script), **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
