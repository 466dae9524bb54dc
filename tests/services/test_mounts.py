"""Web applications beside the apis: through a real server, and when workers and clients end."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

SOURCE = Path(__file__).parent / "mounted.py"
ADMIN = {"Authorization": "Bearer of-the-house"}


@pytest.fixture(scope="module")
def mounted(launch_shared):
    return launch_shared(f"{SOURCE}:Mounted", workers=2)


def open_socket(server, path: str = "/ui/echo", **options):
    return connect(server.url.replace("http://", "ws://") + path, max_size=None, **options)


def about(server) -> dict:
    return server.client.get("/ui/about/it").json()


def seen(server, what: str) -> bool:
    # Either worker may have seen it.
    return any(what in about(server)["seen"] for _ in range(8))


def test_an_application_sees_its_request_as_mounts_do(mounted):
    answer = mounted.client.get("/ui/about/it?a=1", headers={"x-custom": "yes"})
    told = answer.json()
    assert told["path"] == "/ui/about/it"
    assert told["root_path"] == "/ui"
    assert told["url"].endswith("/ui/about/it")
    assert told["client"] == "127.0.0.1"
    assert told["custom"] == "yes"
    assert told["query"] == "a=1"
    assert told["number"] == 7
    assert told["pid"] in [worker.pid for worker in mounted.workers]
    assert told["seen"][0] == "started"
    assert answer.headers["x-own"] == "yes"
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_bodies_pass_in_both_directions_and_are_larger_than_a_window(mounted):
    assert mounted.client.post("/ui/size", content=b"z" * 3_000_000).text == "3000000"
    assert len(mounted.client.get("/ui/stream?count=30").content) == 3_000_000
    assert mounted.client.get("/ui/nothing").status_code == 404
    assert mounted.call("echo", value=3).json() == 3


def test_wsgi_and_a_method_of_the_service(mounted):
    assert mounted.client.post("/plain/a/b", content=b"123").text == "/plain /a/b 3"
    assert mounted.client.get("/own/x").text == "hello"
    assert mounted.client.get("/uix").status_code == 404


def test_a_slow_or_lost_reader_stops_an_endless_stream(mounted, until):
    for path, end in (
        ("/ui/stream?count=1000000", "stream ended"),
        ("/plain/endless", "wsgi ended"),
    ):
        with mounted.client.stream("GET", path) as answer:
            next(answer.iter_bytes())
        until(lambda end=end: seen(mounted, end))


def test_an_application_that_raises_is_an_error_of_the_service(mounted):
    answer = mounted.client.get("/ui/broken")
    assert answer.status_code == 500


def test_a_websocket_echoes_text_bytes_and_large_messages(mounted, until):
    with open_socket(mounted, subprotocols=["chat"]) as ws:
        assert ws.subprotocol == "chat"
        for message in ("hé", "", b"", b"\x00\xff", b"m" * 3_000_000):
            ws.send(message)
            assert ws.recv(timeout=20) == message
        ws.close(4001)
    until(lambda: seen(mounted, "closed 4001"))


def test_a_client_that_vanishes_ends_its_websocket(mounted, until):
    with open_socket(mounted) as ws:
        ws.socket.shutdown(socket.SHUT_RDWR)
    until(lambda: any(seen(mounted, f"closed {code}") for code in (1005, 1006)))


@pytest.mark.parametrize(("path", "status"), [("/ui/refuse", 403), ("/plain/x", 200)])
def test_a_websocket_that_is_refused(mounted, path, status):
    with pytest.raises(InvalidStatus) as caught:
        open_socket(mounted, path)
    assert caught.value.response.status_code == status


def test_pages_of_other_origins_open_no_websocket(mounted):
    with pytest.raises(InvalidStatus) as caught:
        open_socket(mounted, origin="http://evil.example")
    assert caught.value.response.status_code == 403


def test_an_application_that_fails_closes_its_websocket(mounted):
    with open_socket(mounted) as ws:
        ws.send("fail")
        with pytest.raises(ConnectionClosed) as caught:
            ws.recv(timeout=20)
    assert caught.value.rcvd.code == 1011


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/wrong/kind", 500), ("/wrong/header", 500), ("/wrong/headers", 500), ("/wrong/text", 0),
        ("/wrong/return", 500), ("/wrong/exit", 500), ("/plain/header", 500), ("socket", 1011),
    ],
)  # fmt: skip
def test_an_application_that_breaks_the_rules_fails_alone(mounted, path, status):
    workers = {worker.pid for worker in mounted.workers}
    if path == "socket":
        with open_socket(mounted, "/wrong/x") as ws, pytest.raises(ConnectionClosed) as caught:
            ws.recv(timeout=20)
        assert caught.value.rcvd.code == status
    elif status:
        answer = mounted.client.get(path)
        assert answer.status_code == status
        # The log says what it was, under the name that the caller has.
        assert answer.json()["request_id"] in mounted.log()
    else:
        with pytest.raises(httpx2.RemoteProtocolError):
            mounted.client.get(path)
    assert mounted.call("echo", value=7).json() == 7
    assert {worker.pid for worker in mounted.workers} == workers


@pytest.mark.parametrize(
    "more",
    [b"Cookie: " + b"c" * 9000 + b"\r\n", b"".join(b"X-%d: y\r\n" % at for at in range(150))],
)
def test_a_head_that_the_reader_of_websockets_refuses_is_answered(mounted, more):
    with socket.create_connection(("127.0.0.1", mounted.port), timeout=20) as client:
        client.sendall(
            b"GET /ui/echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" + more + b"\r\n"
        )
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 431 "), answer
    assert b'"code":"head_too_large"' in answer


def test_an_upgrade_elsewhere_is_an_ordinary_request(mounted):
    with pytest.raises(InvalidStatus) as caught, open_socket(mounted, "/livez"):
        pass
    assert caught.value.response.status_code == 200


def test_metrics_and_schema_name_the_mount(mounted):
    mounted.client.get("/ui/about/it")
    assert 'api="/ui"' in mounted.client.get("/metrics").text
    assert {"path": "/plain", "kind": "wsgi"} in mounted.client.get("/schema.json").json()["mounts"]
    openapi = mounted.client.get("/openapi.json").json()
    assert {"path": "/ui", "kind": "asgi"} in openapi["x-dosirak-mounts"]


def test_a_killed_worker_breaks_what_it_had(mounted, until, tmp_path):
    with open_socket(mounted) as ws, open_socket(mounted) as other:
        for one in (ws, other):
            one.send("a")
            one.recv(timeout=20)
        answers: list[int] = []

        markers = [tmp_path / "one", tmp_path / "two"]

        def ask(marker: Path) -> None:
            with httpx2.Client(base_url=mounted.url, timeout=30) as client:
                answers.append(client.get("/ui/hang", params={"marker": str(marker)}).status_code)

        asking = [threading.Thread(target=ask, args=[marker]) for marker in markers]
        for thread in asking:
            thread.start()
        until(lambda: all(marker.exists() for marker in markers))
        for worker in mounted.workers:
            worker.kill()
        for thread in asking:
            thread.join(20)
        assert answers == [502, 502]
        for one in (ws, other):
            with pytest.raises(ConnectionClosed) as caught:
                one.recv(timeout=20)
            assert caught.value.rcvd.code == 1012
    until(lambda: mounted.client.get("/ui/about/it").status_code == 200)


def test_ending_tells_websockets_to_leave_and_runs_the_lifespan(launch, tmp_path):
    goodbye = tmp_path / "goodbye"
    server = launch(f"{SOURCE}:Mounted", workers=1, environment={"GOODBYE": str(goodbye)}, fronts=2)
    ended: list[int] = []
    stopping = threading.Thread(target=lambda: ended.append(server.stop()))
    with contextlib.ExitStack() as stack:
        # Some by the acceptor, which hands them over.
        opened = [stack.enter_context(open_socket(server)) for _ in range(4)]
        assert about(server)["client"] == "127.0.0.1"
        stopping.start()
        for ws in opened:
            with pytest.raises(ConnectionClosed) as caught:
                ws.recv(timeout=20)
            assert caught.value.rcvd.code == 1001
    stopping.join(30)
    assert ended == [0]
    assert goodbye.read_text() == "stopped"


RELOADED = """
import dosirak
from starlette.responses import PlainTextResponse

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": "NUMBER"})
    elif scope["type"] == "http":
        await PlainTextResponse("NUMBER")(scope, receive, send)

@dosirak.mount("/ui", app)
@dosirak.service
class Numbered:
    @dosirak.api
    def echo(self, value: int) -> int:
        return value
"""


def test_a_reload_closes_old_websockets_and_opens_new_ones_with_the_new(launch, tmp_path):
    source = tmp_path / "numbered.py"
    source.write_text(RELOADED.replace("NUMBER", "1"))
    server = launch(
        f"{source}:Numbered",
        workers=1,
        admin_token="of-the-house",
    )
    with open_socket(server, "/ui/a") as ws:
        ws.send("a")
        assert ws.recv(timeout=20) == "1"
        source.write_text(RELOADED.replace("NUMBER", "22"))
        reloaded = server.client.post("/admin/reload", headers=ADMIN)
        assert reloaded.json()["outcome"] == "swapped"
        with pytest.raises(ConnectionClosed) as caught:
            ws.recv(timeout=20)
        assert caught.value.rcvd.code == 1001
    with open_socket(server, "/ui") as ws:
        ws.send("a")
        assert ws.recv(timeout=20) == "22"
    assert server.client.get("/ui").text == "22"
