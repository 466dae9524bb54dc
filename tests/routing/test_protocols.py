"""WebSockets, streams, HTTP/2, gRPC and TLS go through as they are."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    TrailersReceived,
)
from routed import HERE, Replica, Routed, revision, until

from dosirak.deployment.routing import RoutedDeployment, RoutedRevision, Upstream
from dosirak.errors import InvalidConfiguration


def test_a_websocket_outlives_the_revision_that_it_began_with(
    routed: Routed, a: Replica, b: Replica
) -> None:
    routed.put(RoutedDeployment("ws", (revision(1, 100, a),)))
    with socket.create_connection(("127.0.0.1", routed.port), timeout=30) as connection:
        connection.sendall(
            b"GET /ws/raw HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 101 ")
        connection.sendall(b"before")
        assert connection.recv(4096) == b"before"
        routed.put(RoutedDeployment("ws", (revision(1, 0, a), revision(2, 100, b))))
        assert routed.router.in_flight("a") == 1
        connection.sendall(b"after")
        assert connection.recv(4096) == b"after"
    until(lambda: routed.router.in_flight("a") == 0)


def test_a_stream_arrives_piece_by_piece(routed: Routed, a: Replica) -> None:
    routed.put(RoutedDeployment("stream", (revision(1, 100, a),)))
    url = f"http://127.0.0.1:{routed.port}/stream/stream?n=3&ms=300"
    with httpx.stream("GET", url, timeout=30) as answer:
        pieces = [piece for piece in answer.iter_raw() if piece]
    assert pieces == [b"a 0\n", b"a 1\n", b"a 2\n"]


def test_a_large_body_arrives_whole(routed: Routed, a: Replica) -> None:
    routed.put(RoutedDeployment("large", (revision(1, 100, a),)))
    body = bytes(range(48, 58)) * 300_000
    assert routed.ask("/large/x", method="POST", body=body).json["body"].encode() == body


def test_http2_without_tls(routed: Routed, a: Replica) -> None:
    routed.put(RoutedDeployment("h2c", (revision(1, 100, a),)))
    with httpx.Client(http1=False, http2=True, timeout=30) as client:
        answer = client.get(f"http://127.0.0.1:{routed.port}/h2c/x?y=1")
    assert answer.http_version == "HTTP/2"
    assert answer.json()["target"] == "/x?y=1"


def exchanged(
    routed: Routed, head: dict[str, str], body: bytes, *, until_seen: type[object]
) -> list[object]:
    """Send a request in HTTP/2 and return what came back, to an event of a kind."""
    connection = H2Connection(H2Configuration(client_side=True))
    with socket.create_connection(("127.0.0.1", routed.port), timeout=30) as wire:
        connection.initiate_connection()
        wire.sendall(connection.data_to_send())
        events = list[object]()
        while not any(isinstance(event, RemoteSettingsChanged) for event in events):
            events += connection.receive_data(wire.recv(65536))
        connection.send_headers(1, list(head.items()))
        connection.send_data(1, body, end_stream=until_seen is StreamEnded)
        wire.sendall(connection.data_to_send())
        while not any(isinstance(event, until_seen) for event in events):
            events += connection.receive_data(wire.recv(65536))
            wire.sendall(connection.data_to_send())
    return events


def test_a_websocket_over_http2(routed: Routed, a: Replica) -> None:
    routed.put(RoutedDeployment("ws2", (revision(1, 100, a),)))
    head = {
        ":method": "CONNECT", ":protocol": "websocket", ":scheme": "http",
        ":authority": "ws2.localhost", ":path": "/raw", "sec-websocket-version": "13",
    }  # fmt: skip
    events = exchanged(routed, head, b"hello", until_seen=DataReceived)
    [answer] = [dict(e.headers) for e in events if isinstance(e, ResponseReceived)]
    assert answer[b":status"] == b"200"
    assert b"".join(e.data for e in events if isinstance(e, DataReceived)) == b"hello"


@pytest.fixture(scope="module")
def speaker(routed: Routed) -> Iterator[Upstream]:
    """A replica that speaks HTTP/2 alone, as those of gRPC do."""
    path = routed.folder / "grpc.sock"
    process = subprocess.Popen([sys.executable, str(HERE / "grpc_upstream.py"), str(path)])
    until(path.exists)
    yield Upstream("grpc", str(path))
    process.kill()
    process.wait(10)


def test_grpc_goes_through_with_its_trailers(routed: Routed, speaker: Upstream) -> None:
    speaking = RoutedRevision(1, 100, (speaker,), speaks_http2=True)
    routed.put(RoutedDeployment("grpc", (speaking,)))
    head = {
        ":method": "POST", ":scheme": "http", ":authority": "grpc.localhost",
        ":path": "/package.Service/Method", "content-type": "application/grpc", "te": "trailers",
    }  # fmt: skip
    events = exchanged(routed, head, b"\0\0\0\0\5hello", until_seen=StreamEnded)
    assert b"".join(e.data for e in events if isinstance(e, DataReceived)) == b"\0\0\0\0\5hello"
    [answer] = [dict(e.headers) for e in events if isinstance(e, ResponseReceived)]
    [trailers] = [dict(e.headers) for e in events if isinstance(e, TrailersReceived)]
    assert answer[b":status"] == b"200"
    assert answer[b"x-dosirak-revision"] == b"1"
    assert trailers[b"grpc-status"] == b"0"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Routed, Path, trustme.CA]]:
    """A router that speaks TLS, the folder of its certificate, and who vouches for it."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    put_certificate(authority, folder)
    routed = Routed(certificate=folder / "cert.pem", key=folder / "key.pem")
    try:
        routed.router.ensure_running()
        routed.put(RoutedDeployment("safe", (revision(1, 100, routed.replica("s")),)))
        yield routed, folder, authority
    finally:
        routed.close()


def put_certificate(authority: trustme.CA, folder: Path) -> None:
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")


def asked_over_tls(routed: Routed, authority: trustme.CA, *, http2: bool) -> httpx.Response:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with httpx.Client(verify=context, http2=http2, timeout=30) as client:
        return client.get(f"https://localhost:{routed.port}/safe/x")


def test_tls_speaks_both_versions(secured: tuple[Routed, Path, trustme.CA]) -> None:
    routed, _, authority = secured
    for http2, version in ((True, "HTTP/2"), (False, "HTTP/1.1")):
        answer = asked_over_tls(routed, authority, http2=http2)
        assert (answer.status_code, answer.http_version) == (200, version)
        assert answer.json()["headers"]["x-forwarded-proto"] == "https"


def test_a_certificate_is_renewed_while_it_serves(
    secured: tuple[Routed, Path, trustme.CA],
) -> None:
    routed, folder, before = secured
    shutil.copytree(folder, folder / "before")
    after = trustme.CA()
    put_certificate(after, folder)
    shutil.copy(folder / "before" / "key.pem", folder)  # The key is late.
    routed.router.ensure_running()
    assert [str(folder) in trouble for trouble in routed.router.troubles] == [True]
    assert asked_over_tls(routed, before, http2=False).status_code == 200
    put_certificate(after, folder)
    routed.router.ensure_running()
    assert routed.router.troubles == ()

    def renewed() -> bool:
        try:
            return asked_over_tls(routed, after, http2=False).status_code == 200
        except httpx.ConnectError:
            return False

    until(renewed)


def test_a_certificate_that_cannot_be_used_is_named_at_the_start(tmp_path: Path) -> None:
    put_certificate(trustme.CA(), tmp_path)
    (tmp_path / "cert.pem").write_text("nothing")
    routed = Routed(certificate=tmp_path / "cert.pem", key=tmp_path / "key.pem")
    with pytest.raises(InvalidConfiguration, match=r"cert\.pem"):
        routed.router.ensure_running()
    routed.close()


def test_many_callers_of_two_protocols_at_once(routed: Routed, a: Replica, b: Replica) -> None:
    one = RoutedDeployment("both", (revision(1, 50, a), revision(2, 50, b)))
    routed.put(one, replace(one, name="both.2"))
    answers = list[int]()

    def ask(http2: bool) -> None:
        with httpx.Client(http1=not http2, http2=http2, timeout=30) as client:
            for _ in range(20):
                answers.append(client.get(f"http://127.0.0.1:{routed.port}/both/x").status_code)

    threads = [threading.Thread(target=ask, args=(number % 2 == 0,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [200] * 120
