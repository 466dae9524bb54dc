"""Hostile HTTP against a real server: nothing unpickles, nothing leaks, nothing falls over."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import pickle
import random
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from dosirak.serving.hiring import Hire, Open, open_pair, say
from dosirak.serving.messages import Start

TARGETS = Path(__file__).parent.parent / "services"
MEBIBYTE = 1024 * 1024
LIMIT = MEBIBYTE


class Server:
    """A server shared by this module's tests; each must leave it answering."""

    def __init__(self, home: Path, **options: object) -> None:
        arguments = {
            "target": f"{TARGETS / 'targets.py'}:Behaving",
            "port": 0,
            "max_body_bytes": LIMIT,
            **options,
        }
        self.process = subprocess.Popen(
            [sys.executable, str(TARGETS / "launch.py"), json.dumps(arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "DOSIRAK_HOME": str(home)},
            text=True,
        )
        self.url = json.loads(self.process.stdout.readline())["url"]
        self.port = int(self.url.rpartition(":")[2])
        self.client = httpx2.Client(base_url=self.url, timeout=30)

    def raw(self, data: bytes, *, wait_s: float = 10.0) -> bytes:
        """Send bytes as they are and read until the server closes or falls silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait_s) as connection:
            received = b""
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while piece := connection.recv(65536):
                    received += piece
            except (TimeoutError, ConnectionError):
                pass
            return received

    def end(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(20)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("home"))
    yield started
    assert started.client.post("/echo", json={"value": 5}).json() == 5
    started.end()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("home"), token="correct-horse")
    yield started
    started.end()


class _Canary:
    """Unpickling it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path(self.marker).write_text, ("unpickled",))


CONTENT_TYPES = [
    "application/vnd.bentoml+pickle",
    "application/x-pickle",
    "application/python-pickle",
    "application/octet-stream",
    "application/json",
    "application/msgpack",
    "application/x-npy",
    "application/vnd.apache.arrow.stream",
    "application/vnd.apache.parquet",
    "multipart/form-data; boundary=x",
    "text/csv",
    "text/plain",
    "image/png",
    "*/*",
    "",
]


def _routes(server: Server) -> list[str]:
    apis = server.client.get("/schema.json").json()["apis"]
    own = ["/", "/livez", "/readyz", "/healthz", "/metrics", "/openapi.json", "/schema.json"]
    return own + [api["route"] for api in apis] + ["/nothing"]


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_no_content_type_unpickles_on_any_route(server, tmp_path, content_type):
    marker = tmp_path / "marker"
    payload = pickle.dumps(_Canary(marker))
    for route in _routes(server):
        for headers in ({}, {"Payload-Container": "pickle", "Args-Number": "1"}):
            answer = server.client.post(
                route, content=payload, headers={"Content-Type": content_type, **headers}
            )
            assert 400 <= answer.status_code < 500, (route, answer.text)
    assert not marker.exists()


def test_every_error_is_json_with_a_code_and_the_request_id(server):
    for answer in (
        server.client.get("/nothing"),
        server.client.get("/echo"),
        server.client.post("/echo", content=b"{"),
        server.client.post("/echo", json={"value": "x"}),
        server.client.post("/echo", content=b"x", headers={"Content-Type": "image/png"}),
    ):
        body = answer.json()
        assert set(body) == {"error", "code", "remedy", "fields", "request_id"}
        assert body["request_id"] == answer.headers["x-request-id"]
        assert "/usr" not in answer.text
        assert "Traceback" not in answer.text


def test_methods_are_answered_as_http_says(server):
    assert server.client.head("/readyz").status_code == 200
    assert server.client.head("/readyz").content == b""
    options = server.client.options("/echo")
    assert (options.status_code, options.headers["allow"]) == (200, "OPTIONS, POST")
    refused = server.client.get("/echo")
    assert (refused.status_code, refused.headers["allow"]) == (405, "OPTIONS, POST")
    assert server.client.delete("/echo").status_code == 405
    assert "/echo" in server.client.get("/nothing").json()["remedy"]


def test_security_headers_are_on_every_answer(server):
    for answer in (server.client.get("/"), server.client.get("/nothing")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
    policy = server.client.get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'self'")
    assert "unsafe" not in policy


def test_a_callers_request_id_is_kept_only_if_it_is_harmless(server):
    kept = server.client.get("/livez", headers={"X-Request-Id": "abc-1.2_3:4"})
    assert kept.headers["x-request-id"] == "abc-1.2_3:4"
    for harmful in ("a b", "x" * 129, '"quoted"', "<b>"):
        answer = server.client.get("/livez", headers={"X-Request-Id": harmful})
        assert len(answer.headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "localhost@evil.example", "x/livez?", "", "[::2]"],
)
def test_other_host_names_are_misdirected(server, host):
    answer = server.client.get("/livez", headers={"Host": host})
    assert answer.status_code == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9", "[::1]:3000"])
def test_loopback_names_are_ours(server, host):
    assert server.client.get("/livez", headers={"Host": host}).status_code == 200


def test_two_host_headers_or_none_are_refused(server):
    for hosts in (b"", b"Host: localhost\r\nHost: evil.example\r\n"):
        answer = server.raw(b"GET /livez HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_unsafe_methods_from_other_origins_are_forbidden(server, headers, method):
    answer = server.client.request(method, "/echo", json={"value": 1}, headers=headers)
    assert answer.status_code == 403


def test_the_services_own_page_may_call_it(server):
    headers = {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}
    assert server.client.post("/echo", json={"value": 1}, headers=headers).json() == 1


def test_a_token_guards_everything_but_probes_and_the_page(guarded):
    public = {"/", "/livez", "/readyz", "/healthz"}
    for route in _with_token(guarded):
        answer = guarded.client.request("GET" if route in public else "POST", route)
        assert (answer.status_code == 401) == (route not in public), route
    for wrong in ("Bearer wrong", "Bearer", "Basic correct-horse", "correct-horse", "Bearer \xe9"):
        answer = guarded.client.get(
            "/schema.json", headers={"Authorization": wrong.encode("latin-1")}
        )
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    right = guarded.client.get("/schema.json", headers={"Authorization": "bearer correct-horse"})
    assert right.status_code == 200


def test_a_wrong_token_is_told_from_none(guarded):
    def said(headers):
        return guarded.client.get("/schema.json", headers=headers).json()["error"]

    assert said({}) == "This needs a token."
    assert said({"Authorization": "Basic correct-horse"}) == "This needs a token."
    assert said({"Authorization": "Bearer wrong"}) == "The token is wrong."


@pytest.mark.parametrize(
    "path",
    ["/livez/../schema.json", "//schema.json", "/%2e/schema.json", "/schema.json;/livez",
     "/SCHEMA.JSON", "http://localhost/schema.json", "/schema.json?/livez"],
)  # fmt: skip
def test_no_spelling_of_a_path_goes_around_the_token(guarded, path):
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    status = guarded.raw(request.encode()).split(b" ")[1]
    assert status in (b"401", b"400", b"404")


def _with_token(server: Server) -> list[str]:
    headers = {"Authorization": "Bearer correct-horse"}
    apis = server.client.get("/schema.json", headers=headers).json()["apis"]
    own = ["/", "/livez", "/readyz", "/healthz", "/metrics", "/openapi.json", "/schema.json"]
    return own + [api["route"] for api in apis] + ["/nothing"]


def test_a_body_that_announces_too_much_is_refused_unread(server):
    head = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    for length in (LIMIT + 1, 10**12, 10**19):
        answer = server.raw(head % length)
        assert answer.split(b" ")[1] in (b"413", b"400")


@pytest.mark.parametrize("zeros", [20, 5_000])
def test_zeros_in_front_of_a_length_change_nothing(server, zeros):
    head = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: %s%d\r\n\r\n"
    for length in (LIMIT + 1, 2**63):
        answer = server.raw(head % (b"0" * zeros, length) + b"x" * 100)
        assert answer.split(b" ")[1] in (b"413", b"400", b"431")


def test_a_chunked_body_is_refused_at_the_limit(server):
    def pieces():
        for _ in range(64):
            yield b"x" * (LIMIT // 16)

    try:
        answer = server.client.post(
            "/echo", content=pieces(), headers={"Content-Type": "application/json"}
        )
    except httpx2.HTTPError:
        return  # It stopped reading while we were writing.
    assert answer.status_code == 413


def test_compressed_bodies_are_read_and_bombs_are_not(server):
    body = json.dumps({"value": 8}).encode()
    headers = {"Content-Type": "application/json"}
    for encoding, packed in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))):
        answer = server.client.post(
            "/echo", content=packed, headers={**headers, "Content-Encoding": encoding}
        )
        assert answer.json() == 8
    bomb = gzip.compress(b" " * (64 * MEBIBYTE))
    for encoding, packed, status in (
        ("gzip", bomb, 413),
        ("gzip", gzip.compress(b"") * 10_000, 400),
        ("gzip", b"not gzip", 400),
        ("gzip", gzip.compress(body)[:-4], 400),
        ("br", body, 415),
        ("zstd", body, 415),
        ("gzip, gzip", body, 415),
    ):
        answer = server.client.post(
            "/echo", content=packed, headers={**headers, "Content-Encoding": encoding}
        )
        assert answer.status_code == status, encoding


def test_broken_http_is_refused_and_never_reaches_a_worker(server):
    line = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for head, body in (
        (b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        (b"Content-Length: +5\r\n", b"{}"),
        (b"Content-Length: 5,5\r\n", b"{}"),
        (b"Content-Length: 2\r\nContent-Length: 3\r\n", b"{}"),
        (b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
        (b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"0x2\r\n{}\r\n0\r\n\r\n"),
        (b"X: " + b"a" * (4 * MEBIBYTE) + b"\r\n", b""),
    ):
        answer = server.raw(line + head + b"\r\n" + body, wait_s=3.0)
        assert not answer.startswith(b"HTTP/1.1 2"), head[:60]
        assert not answer.startswith(b"HTTP/1.1 5"), head[:60]


def test_slow_senders_do_not_slow_others(server):
    head = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
    try:
        for connection in slow:
            connection.sendall(head)
        for value in range(20):
            assert server.client.post("/echo", json={"value": value}).json() == value
    finally:
        for connection in slow:
            connection.close()


def test_a_body_that_trickles_is_given_up(tmp_path):
    # The pace is not an option of `serve`; the reader of bodies is tested for itself.
    import asyncio

    from dosirak.errors import RequestTooSlow
    from dosirak.serving.http.body import read_body
    from dosirak.serving.http.options import HttpOptions

    async def never() -> dict[str, object]:
        await asyncio.sleep(60)
        return {}

    with pytest.raises(RequestTooSlow):
        asyncio.run(read_body(never, {}, HttpOptions(body_grace_s=0.05)))


def test_random_input_is_never_the_servers_fault(server):
    source = random.Random(20261122)
    routes = _routes(server)
    values = [b"", b"{}", b"[]", b"null", b'{"value": 1e999}', b'{"value": "\\ud800"}',
              b"[" * 100_000, b'{"value":' + b"9" * 10_000 + b"}", b"\xff\xfe", b"\xef\xbb\xbf{}",
              b'{"value": NaN}', b'{"value": 1} trailing', b"x" * 1000]  # fmt: skip
    for _ in range(300):
        body = source.choice(values) if source.random() < 0.7 else source.randbytes(200)
        answer = server.client.request(
            source.choice(["GET", "POST", "PUT", "DELETE"]),
            source.choice(routes),
            content=body,
            headers={
                "Content-Type": source.choice(CONTENT_TYPES),
                "Accept": source.choice(["", "*/*", "image/png", "application/json;q=0", ",,;"]),
            },
            params={"task_id": source.randbytes(4).hex()},
        )
        assert answer.status_code < 500, (answer.status_code, answer.text, body[:80])


@pytest.mark.parametrize(
    "garbage",
    [b"\x00" * 64, b"\xff" * 64, b"\x80\x04\x95", os.urandom(256), b"GET / HTTP/1.1\r\n\r\n"],
)
def test_garbage_on_the_line_of_a_process_that_imports_ends_it(garbage, tmp_path):
    marker = tmp_path / "marker"
    ours, theirs = open_pair()
    process = _start_importer(theirs, tmp_path)
    with ours:
        ours.sendall(pickle.dumps(_Canary(marker)) + garbage)
        ours.settimeout(20)
        with contextlib.suppress(ConnectionResetError):  # It closed with our bytes unread.
            assert ours.recv(1) == b""
        assert process.wait(20) == 0
    assert not marker.exists()


def test_garbage_on_a_workers_socket_ends_it(tmp_path):
    marker = tmp_path / "marker"
    line, theirs = open_pair()
    process = _start_importer(theirs, tmp_path)
    ours, end = socket.socketpair()
    start = Start(f"{TARGETS / 'targets.py'}:Behaving", str(tmp_path), "json", 5.0, 5.0)
    with line, ours:
        say(line, Open(start))
        say(line, Hire(), [end.fileno()])
        end.close()
        payload = pickle.dumps(_Canary(marker))
        header = len(payload).to_bytes(4, "big") + (0).to_bytes(4, "big")
        ours.sendall(header + payload)
        ours.settimeout(20)
        with contextlib.suppress(ConnectionResetError):
            assert ours.recv(1) == b""
        assert process.wait(20) == 0
    assert not marker.exists()


def _start_importer(line, home):
    with line:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "dosirak.serving.worker", str(line.fileno())],
            pass_fds=(line.fileno(),),
            env={**os.environ, "DOSIRAK_HOME": str(home)},
        )


def test_a_workers_socket_has_no_path(server):
    parent = psutil.Process(server.process.pid)
    tree = [parent, *parent.children(recursive=True)]
    open_files = [
        str(file.readlink()) for each in tree for file in Path(f"/proc/{each.pid}/fd").iterdir()
    ]
    mine = {name[8:-1] for name in open_files if name.startswith("socket:[")}
    # Number, references, protocol, flags, type, state, inode, and a path if it has one.
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    sockets = [fields for fields in lines if fields[6] in mine]
    assert sockets
    assert [fields[7:] for fields in sockets if fields[7:]] == []


def test_the_token_is_in_no_command_line(guarded):
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"dosirak.serving.worker" in command:
            assert b"correct-horse" not in command


def test_many_clients_that_leave_at_random_leave_nothing_behind(server):
    before = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
    source = random.Random(7)
    head = b"POST /wait HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    body = b'{"seconds": 0.01}'

    def leave() -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            request = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
            connection.sendall(request[: source.randrange(len(request) + 1)])
            time.sleep(source.random() * 0.02)

    callers = [threading.Thread(target=lambda: [leave() for _ in range(20)]) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    deadline = time.monotonic() + 20
    while len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) > before + 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
