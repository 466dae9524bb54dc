"""Every retry rule, every kind of failure, against a server that fails on purpose and counts."""

from __future__ import annotations

import gc
import inspect
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from dosirak.client import SyncHTTPClient
from dosirak.client.methods import OWN_NAMES
from dosirak.errors import (
    ApiNotFound,
    Conflict,
    DeadlineExceeded,
    InvalidConfiguration,
    InvalidInput,
    Overloaded,
    RemoteError,
    ServiceError,
    Unauthorized,
    Unavailable,
    UsageError,
)

Scripted = Callable[..., Any]


def call(server: Any, **options: Any) -> Any:
    with SyncHTTPClient(server.url, **options) as client:
        return client.add(a=1, b=2)


def test_an_api_is_a_method_with_the_authors_signature_and_words(
    scripted: Scripted, kit: Any
) -> None:
    with SyncHTTPClient(scripted(kit.reply(b"3.0")).url) as client:
        assert client.add(1, b=2) == 3.0
        assert client.call("add", a=1, b=2) == 3.0
        assert str(inspect.signature(client.add)) == "(a: float, b: float = 1) -> float"
        assert client.add.__doc__ == "Add two numbers."
        assert client.add.__name__ == "add"
        assert "add" in dir(client)
        assert list(client.apis) == ["add"]


def test_the_schema_is_read_once(scripted: Scripted, kit: Any) -> None:
    server = scripted(kit.reply(b"3.0"))
    with SyncHTTPClient(server.url) as client:
        client.add(a=1)
        client.add(a=1)
        client.connect()
    assert [r.path for r in server.received] == ["/schema.json", "/add", "/add"]


def test_nothing_is_asked_before_first_use(scripted: Scripted, kit: Any) -> None:
    server = scripted(kit.reply())
    with SyncHTTPClient(server.url) as client:
        assert "add" not in dir(client)
        assert repr(client) == f"SyncHTTPClient({server.url!r})"
    assert server.received == []


def test_the_token_the_headers_and_the_deadline_travel(scripted: Scripted, kit: Any) -> None:
    server = scripted(kit.reply())
    call(server, token="abc", headers={"X-Team": "blue"}, timeout_s=20)
    headers = server.calls[0].headers
    assert headers["authorization"] == "Bearer abc"
    assert headers["x-team"] == "blue"
    assert 0 < float(headers["x-request-timeout"]) <= 20
    assert json.loads(server.calls[0].body) == {"a": 1, "b": 2}


def test_a_route_is_found_under_the_path_of_the_address(scripted: Scripted, kit: Any) -> None:
    server = scripted(
        kit.reply(json.dumps(kit.SCHEMA).encode()), kit.reply(b"3.0"), everywhere=True
    )
    with SyncHTTPClient(server.url + "/my-service/") as client:
        client.add(a=1)
    assert [r.path for r in server.received] == ["/my-service/schema.json", "/my-service/add"]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_passing_failure_of_an_idempotent_api_is_retried(
    scripted: Scripted, kit: Any, status: int
) -> None:
    server = scripted(kit.reply(b"no", status=status), kit.reply(b"3.0"))
    assert call(server) == 3.0
    assert len(server.calls) == 2


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_passing_failure_of_another_api_is_not_retried(
    scripted: Scripted, kit: Any, status: int
) -> None:
    server = scripted(
        kit.reply(b"no", status=status),
        kit.reply(b"3.0"),
        schema=kit.schema_with(idempotent=False),
    )
    with pytest.raises(RemoteError):
        call(server)
    assert len(server.calls) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 409, 413, 500, 501])
def test_a_lasting_failure_is_not_retried(scripted: Scripted, kit: Any, status: int) -> None:
    server = scripted(kit.reply(b"no", status=status), kit.reply(b"3.0"))
    with pytest.raises(RemoteError) as caught:
        call(server)
    assert caught.value.status == status
    assert len(server.calls) == 1


def test_a_broken_connection_is_retried_only_where_that_does_no_harm(
    scripted: Scripted, kit: Any
) -> None:
    server = scripted(kit.hang_up, kit.reply(b"3.0"))
    assert call(server) == 3.0
    assert len(server.calls) == 2
    careful = scripted(kit.hang_up, kit.reply(b"3.0"), schema=kit.schema_with(idempotent=False))
    with pytest.raises(Unavailable):
        call(careful)
    assert len(careful.calls) == 1


def test_an_answer_cut_short_is_never_taken_for_a_whole_one(scripted: Scripted, kit: Any) -> None:
    cut = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n3.0"
    server = scripted(cut)
    with pytest.raises(Unavailable):
        call(server, retries=1)
    assert len(server.calls) == 2


def test_retries_are_limited_and_can_be_turned_off(scripted: Scripted, kit: Any) -> None:
    for retries in (0, 1, 3):
        server = scripted(kit.fault("unavailable", status=503))
        with pytest.raises(Unavailable, match="It went wrong"):
            call(server, retries=retries)
        assert len(server.calls) == retries + 1


def test_retry_after_is_a_lower_bound_of_the_wait(scripted: Scripted, kit: Any) -> None:
    server = scripted(
        kit.fault("overloaded", status=429, headers={"retry-after": "1"}), kit.reply(b"3.0")
    )
    begun = time.monotonic()
    assert call(server) == 3.0
    assert time.monotonic() - begun >= 1.0


def test_a_wait_past_the_deadline_is_not_begun(scripted: Scripted, kit: Any) -> None:
    server = scripted(
        kit.fault("overloaded", status=429, headers={"retry-after": "3600"}), kit.reply(b"3.0")
    )
    with pytest.raises(Overloaded):
        call(server)
    assert len(server.calls) == 1


def test_nothing_listening_is_unavailable_with_the_address_and_a_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    client = SyncHTTPClient(f"http://joe:secret@127.0.0.1:{port}")
    with pytest.raises(Unavailable) as caught:
        client.connect()
    assert f"http://127.0.0.1:{port}" in str(caught.value)
    assert caught.value.remedy
    assert "secret" not in str(caught.value)
    client.close()


def test_a_refused_connection_is_retried_whatever_the_api(scripted: Scripted, kit: Any) -> None:
    server = scripted(kit.reply(b"3.0"), schema=kit.schema_with(idempotent=False))
    with SyncHTTPClient(server.url, retries=30) as client:
        client.connect()
        server.socket.shutdown(socket.SHUT_RDWR)
        server.socket.close()
        server.acceptor.join()
        with pytest.raises(Unavailable, match="Nothing answers"):
            SyncHTTPClient(server.url, retries=1).connect()
        # The service comes back on the same port while the call is being retried.
        revived = socket.socket()
        revived.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        revived.bind(("127.0.0.1", server.port))

        def revive() -> None:
            time.sleep(0.2)
            revived.listen(8)
            server.socket = revived
            server._accept()

        server.acceptor = threading.Thread(target=revive, daemon=True)
        server.acceptor.start()
        assert client.add(a=1, b=2) == 3.0
    assert len(server.calls) == 1


def test_a_slow_server_ends_in_deadline_exceeded(scripted: Scripted, kit: Any) -> None:
    server = scripted(lambda connection: server.stopping.wait(30))
    with pytest.raises(DeadlineExceeded, match=r"0\.3 s"):
        call(server, timeout_s=0.3)
    assert len(server.calls) == 1


TRICKLES = {
    "the head": b"HTTP/1.1 200 OK\r\nx: ",
    "the body": b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n",
    "chunks": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffff\r\n",
    "an error": b"HTTP/1.1 500 Oh\r\ncontent-length: 1000000\r\n\r\n",
    "a chunk's size": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
}


@pytest.mark.parametrize(
    ("what", "streams"),
    [*((what, False) for what in TRICKLES), ("the head", True), ("a chunk's size", True)],
)
def test_a_server_that_trickles_cannot_keep_its_caller(
    scripted: Scripted, kit: Any, what: str, streams: bool
) -> None:
    """Each byte comes in time; the call ends all the same, and with it the connection."""
    begin = TRICKLES[what]
    given_up = threading.Event()

    def trickle(connection: socket.socket) -> None:
        connection.sendall(begin)
        try:
            while not server.stopping.wait(0.02):
                connection.sendall(b"0" if begin.endswith(b"\r\n\r\n") else b" ")
        except OSError:
            given_up.set()
            raise

    server = scripted(trickle, schema=kit.schema_with(streams=streams))
    with SyncHTTPClient(server.url, timeout_s=0.4, retries=0) as client:
        client.connect()
        with pytest.raises(DeadlineExceeded):
            answer = client.add(a=1)
            if streams:
                next(answer)
        assert given_up.wait(60)
    assert len(server.calls) == 1


def test_a_long_stream_may_take_longer_than_one_call_might(scripted: Scripted, kit: Any) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(stream_of(kit))
        for number in range(8):
            time.sleep(0.1)
            connection.sendall(stream_of(kit, b"data: %d\n\n" % number).partition(HEAD_END)[2])
        connection.sendall(
            stream_of(kit, b"event: end\ndata: {}\n\n").partition(HEAD_END)[2] + LAST
        )

    server = streaming(scripted, kit, drip)
    with SyncHTTPClient(server.url, timeout_s=0.5) as client:
        assert list(client.add(a=1)) == list(range(8))


def test_a_connection_is_used_again_for_the_next_call(scripted: Scripted, kit: Any) -> None:
    def answer_twice(connection: socket.socket) -> None:
        kept = kit.reply().replace(b"connection: close", b"connection: keep-alive")
        connection.sendall(kept)
        connection.recv(65536)
        connection.sendall(kept)
        again.set()

    again = threading.Event()
    server = scripted(answer_twice)
    with SyncHTTPClient(server.url) as client:
        assert [client.add(a=1), client.add(a=1)] == [3.0, 3.0]
    assert again.wait(10)


def test_a_servers_error_keeps_its_class_fields_remedy_and_request_id(
    scripted: Scripted, kit: Any
) -> None:
    fields = [{"field": "a", "reason": "expected a number"}]
    server = scripted(kit.fault("invalid_input", status=400, fields=fields, request_id="r-1"))
    with pytest.raises(InvalidInput) as caught:
        call(server)
    assert caught.value.fields == (("a", "expected a number"),)
    assert caught.value.remedy == "Mend it."
    assert caught.value.request_id == "r-1"
    assert str(caught.value).endswith("[request r-1]")


def test_an_unknown_code_is_a_remote_error_that_keeps_it(scripted: Scripted, kit: Any) -> None:
    server = scripted(kit.fault("out_of_cheese", status=500, request_id="r-2"))
    with pytest.raises(RemoteError) as caught:
        call(server)
    error = caught.value
    assert (error.status, error.remote_code, error.request_id) == (500, "out_of_cheese", "r-2")


def test_a_refused_token_is_unauthorized_already_at_the_schema(
    scripted: Scripted, kit: Any
) -> None:
    server = scripted(kit.fault("unauthorized", status=401), everywhere=True)
    with pytest.raises(Unauthorized):
        call(server)


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b"{}", b"\xff\xfe", b""])
def test_a_server_that_is_not_dosirak_is_named(scripted: Scripted, kit: Any, body: bytes) -> None:
    server = scripted(kit.reply(body, content_type="text/html"), everywhere=True)
    with pytest.raises(RemoteError, match="does not describe a dosirak service"):
        call(server)


def test_a_server_without_a_schema_is_named(scripted: Scripted, kit: Any) -> None:
    server = scripted(kit.reply(b"not found", status=404), everywhere=True)
    with pytest.raises(RemoteError, match="does not describe a dosirak service"):
        call(server)


def test_a_schema_of_a_later_version_asks_for_a_newer_dosirak(scripted: Scripted, kit: Any) -> None:
    server = scripted(kit.reply(), schema={**kit.SCHEMA, "schema_version": 99})
    with pytest.raises(RemoteError, match="99") as caught:
        call(server)
    assert "newer" in caught.value.remedy


@pytest.mark.parametrize(
    "changes",
    [
        {"route": "add"},
        {"route": "@evil.example/add"},
        {"parameters": 3},
        {"returns": None},
        {"parameters": [{"name": "a"}]},
        {"name": None},
    ],
)
def test_a_schema_that_makes_no_sense_is_a_remote_error(
    scripted: Scripted, kit: Any, changes: dict[str, Any]
) -> None:
    with pytest.raises(RemoteError):
        call(scripted(kit.reply(), schema=kit.schema_with(**changes)))


def test_a_redirect_is_not_followed_and_its_goal_is_shown(scripted: Scripted, kit: Any) -> None:
    goal = scripted(kit.reply(b"3.0"), everywhere=True)
    server = scripted(kit.reply(b"", status=307, headers={"location": f"{goal.url}/add"}))
    with pytest.raises(RemoteError, match=goal.url):
        call(server, token="secret")
    assert goal.received == []


@pytest.mark.parametrize("body", [b"<html>", b'"text"', b"", b"\x00\xff", b"[" * 100_000])
def test_a_result_that_breaks_the_schema_is_a_remote_error(
    scripted: Scripted, kit: Any, body: bytes
) -> None:
    with pytest.raises(RemoteError, match="is not what the service's schema promises"):
        call(scripted(kit.reply(body)))


def test_what_is_not_http_is_a_broken_connection(scripted: Scripted, kit: Any) -> None:
    with pytest.raises(Unavailable, match="other than HTTP"):
        call(scripted(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), retries=0)


def test_a_body_in_an_encoding_that_it_is_not_in_is_a_remote_error(
    scripted: Scripted, kit: Any
) -> None:
    server = scripted(kit.reply(b"plain", headers={"content-encoding": "gzip"}))
    with pytest.raises(RemoteError):
        call(server)


def test_a_misspelt_api_is_an_attribute_error_with_a_suggestion(
    scripted: Scripted, kit: Any
) -> None:
    with SyncHTTPClient(scripted(kit.reply()).url) as client:
        with pytest.raises(AttributeError, match="Did you mean 'add'"):
            _ = client.ad
        with pytest.raises(ApiNotFound, match="Did you mean 'add'"):
            client.call("ad")
        assert not hasattr(client, "_private")


def test_an_api_named_like_a_method_of_the_client_gets_a_prefix(
    scripted: Scripted, kit: Any
) -> None:
    server = scripted(kit.reply(b"3.0"), schema=kit.schema_with(name="close"))
    with SyncHTTPClient(server.url) as client:
        assert client.api_close(a=1) == 3.0
        assert client.call("close", a=1) == 3.0


def test_the_reserved_names_are_those_of_the_client() -> None:
    assert {name for name in dir(SyncHTTPClient) if not name.startswith("_")} == OWN_NAMES


def test_readiness_is_waited_for_before_first_use(scripted: Scripted, kit: Any) -> None:
    server = scripted(kit.reply(b"3.0"), ready=[503, 503, 200])
    assert call(server, ready_timeout_s=20) == 3.0
    assert [r.path for r in server.received].count("/readyz") == 3


def test_a_service_that_never_becomes_ready_is_unavailable(scripted: Scripted, kit: Any) -> None:
    server = scripted(kit.reply(), ready=[503])
    with SyncHTTPClient(server.url, ready_timeout_s=0.2) as client:
        assert not client.is_ready()
        with pytest.raises(Unavailable, match=r"not ready within 0\.2 s"):
            client.connect()
    assert server.calls == []


def test_waiting_at_the_wrong_port_says_that_the_connection_was_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        SyncHTTPClient(f"http://127.0.0.1:{port}", ready_timeout_s=0.2) as client,
        pytest.raises(Unavailable, match=r"0\.2 s: the connection was refused") as caught,
    ):
        client.connect()
    assert "port" in caught.value.remedy
    with (
        SyncHTTPClient(f"http://127.0.0.1:{port}", retries=0) as client,
        pytest.raises(Unavailable, match="the connection was refused"),
    ):
        client.connect()


def test_readiness_of_nothing_is_false_and_waiting_for_it_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with SyncHTTPClient(f"http://127.0.0.1:{port}") as client:
        assert not client.is_ready()
        with pytest.raises(Unavailable, match="not ready"):
            client.wait_until_ready(0.2)


@pytest.mark.parametrize(
    "options",
    [
        {"timeout_s": 0},
        {"timeout_s": -1},
        {"timeout_s": float("nan")},
        {"timeout_s": "x"},
        {"timeout_s": True},
        {"timeout_s": 1j},
        {"timeout_s": [1.0]},
        {"timeout_s": 10**400},
        {"ready_timeout_s": 0},
        {"ready_timeout_s": "x"},
        {"retries": -1},
        {"headers": {"x y": "1"}},
        {"headers": {"x": "a\r\nb: c"}},
        {"headers": {"x": "ключ"}},
        {"token": "a b"},
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfiguration):
        SyncHTTPClient("http://127.0.0.1:1", **options)


def test_no_timeout_means_no_deadline(scripted: Scripted, kit: Any) -> None:
    server = scripted(kit.reply(b"3.0"))
    assert call(server, timeout_s=None) == 3.0
    assert "x-request-timeout" not in server.calls[0].headers


def test_a_closed_client_says_so(scripted: Scripted, kit: Any) -> None:
    client = SyncHTTPClient(scripted(kit.reply()).url)
    client.connect()
    client.close()
    client.close()
    with pytest.raises(UsageError, match="closed"):
        client.add(a=1)


def test_a_client_is_shared_between_threads(scripted: Scripted, kit: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    server = scripted(kit.reply(b"3.0"))
    with SyncHTTPClient(server.url) as client, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: client.add(a=n), range(40))) == [3.0] * 40
    assert [r.path for r in server.received].count("/schema.json") == 1


# Streams


def stream_of(kit: Any, *pieces: bytes, content_type: str = "text/event-stream") -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
    return head.encode() + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces)


LAST = b"0\r\n\r\n"
HEAD_END = b"\r\n\r\n"


def streaming(scripted: Scripted, kit: Any, *script: Any, **changes: Any) -> Any:
    return scripted(*script, schema=kit.schema_with(streams=True, **changes))


def test_a_streams_items_arrive_whatever_the_pieces(scripted: Scripted, kit: Any) -> None:
    whole = b": ping\r\n\r\ndata: 1\r\n\r\ndata: 2.5\n\nevent: end\ndata: {}\n\n"
    for size in (1, 2, 3, 7, 1000):
        pieces = [whole[i : i + size] for i in range(0, len(whole), size)]
        server = streaming(scripted, kit, stream_of(kit, *pieces) + LAST)
        with SyncHTTPClient(server.url) as client:
            assert list(client.add(a=1)) == [1.0, 2.5]
        assert "x-request-timeout" not in server.calls[0].headers


def test_a_stream_that_ends_with_an_error_raises_it_after_its_items(
    scripted: Scripted, kit: Any
) -> None:
    error = (
        b'event: error\ndata: {"error": "No.", "code": "service_error", "remedy": "Mend it."}\n\n'
    )
    server = streaming(scripted, kit, stream_of(kit, b"data: 1\n\n", error) + LAST)
    with SyncHTTPClient(server.url) as client:
        items = client.add(a=1)
        assert next(items) == 1.0
        with pytest.raises(ServiceError, match="No") as caught:
            next(items)
    assert caught.value.remedy == "Mend it."


def test_an_error_among_lines_is_raised_too(scripted: Scripted, kit: Any) -> None:
    lines = b'1\n{"$error":{"error": "No.", "code": "service_error"}}\n'
    for content_type in ("application/x-ndjson", "application/jsonl"):
        body = stream_of(kit, lines, content_type=content_type) + LAST
        server = streaming(scripted, kit, body)
        with SyncHTTPClient(server.url) as client:
            items = client.add(a=1)
            assert next(items) == 1.0
            with pytest.raises(ServiceError, match="No"):
                next(items)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param([b"data: 1\n\n", None], id="connection lost between items"),
        pytest.param([b"data: 1\n\n", LAST], id="ended without the end mark"),
        pytest.param([b"data: 1\n\n", b"data: 2", LAST], id="ended within an item"),
    ],
)
def test_a_truncated_stream_is_never_taken_for_a_whole_one(
    scripted: Scripted, kit: Any, answer: list[bytes | None]
) -> None:
    *pieces, last = answer
    body = stream_of(kit, *[p for p in pieces if p]) + (last or b"")
    server = streaming(scripted, kit, body)
    with SyncHTTPClient(server.url) as client:
        items = client.add(a=1)
        assert next(items) == 1.0
        with pytest.raises((Unavailable, RemoteError), match=r"broke|ended before"):
            next(items)
    assert len(server.calls) == 1, "a stream is not repeated once it has begun"


def test_a_stream_is_retried_before_its_first_byte(scripted: Scripted, kit: Any) -> None:
    whole = stream_of(kit, b"data: 1\n\n", b"event: end\ndata: {}\n\n") + LAST
    server = streaming(scripted, kit, kit.hang_up, stream_of(kit), whole)
    with SyncHTTPClient(server.url) as client:
        assert list(client.add(a=1)) == [1.0]
    assert len(server.calls) == 3


def test_a_dropped_stream_closes_its_connection(scripted: Scripted, kit: Any) -> None:
    gone: list[bool] = []

    def endless(connection: socket.socket) -> None:
        connection.sendall(stream_of(kit, b"data: 1\n\n"))
        connection.settimeout(20)
        gone.append(connection.recv(1) == b"")

    server = streaming(scripted, kit, endless)
    with SyncHTTPClient(server.url) as client:
        items = client.add(a=1)
        assert next(items) == 1.0
        del items
        gc.collect()
        for _ in range(1000):
            if gone:
                break
            time.sleep(0.01)
    assert gone == [True]


def test_a_stream_that_stalls_ends_in_deadline_exceeded(scripted: Scripted, kit: Any) -> None:
    def stall(connection: socket.socket) -> None:
        connection.sendall(stream_of(kit, b"data: 1\n\n"))
        server.stopping.wait(30)

    server = streaming(scripted, kit, stall)
    with SyncHTTPClient(server.url, timeout_s=0.4) as client:
        items = client.add(a=1)
        assert next(items) == 1.0
        with pytest.raises(DeadlineExceeded):
            next(items)


def test_an_error_before_a_stream_begins_is_raised_as_for_any_call(
    scripted: Scripted, kit: Any
) -> None:
    server = streaming(scripted, kit, kit.fault("invalid_input", status=400))
    with SyncHTTPClient(server.url) as client, pytest.raises(InvalidInput):
        list(client.add(a=1))


def test_bytes_stream_as_they_are_and_break_loudly(scripted: Scripted, kit: Any) -> None:
    body = stream_of(kit, b"ab", b"c", content_type="application/octet-stream")
    returns = {"type": "string", "contentEncoding": "base64"}
    server = streaming(scripted, kit, body + LAST, body, returns=returns)
    with SyncHTTPClient(server.url) as client:
        assert b"".join(client.add(a=1)) == b"abc"
        with pytest.raises(Unavailable, match="broke"):
            list(client.add(a=1))


# Tasks


def task_server(scripted: Scripted, kit: Any, *script: Any) -> Any:
    return scripted(*script, schema=kit.schema_with(kind="task", idempotent=False))


def state(kit: Any, status: str, *, code: int = 200, task_id: str = "t1") -> bytes:
    return kit.reply(json.dumps({"task_id": task_id, "status": status}).encode(), status=code)


def test_a_task_is_submitted_polled_and_read(scripted: Scripted, kit: Any) -> None:
    server = task_server(
        scripted,
        kit,
        state(kit, "in_progress"),
        state(kit, "in_progress"),
        state(kit, "in_progress", code=202),
        kit.reply(b"3.0"),
    )
    with SyncHTTPClient(server.url) as client:
        task = client.add.submit(a=1, b=2)
        assert (task.id, task.status()) == ("t1", "in_progress")
        assert task.get(wait_timeout_s=20) == 3.0
    assert [(r.method, r.path) for r in server.calls] == [
        ("POST", "/add/submit"),
        ("GET", "/add/status?task_id=t1"),
        ("GET", "/add/get?task_id=t1"),
        ("GET", "/add/get?task_id=t1"),
    ]


def test_a_conflict_is_a_task_still_running_or_how_it_ended(scripted: Scripted, kit: Any) -> None:
    conflict = kit.fault("conflict", status=409)
    server = task_server(
        scripted,
        kit,
        state(kit, "in_progress"),
        conflict,
        state(kit, "in_progress"),
        conflict,
        state(kit, "success"),
        kit.reply(b"3.0"),
        conflict,
        state(kit, "cancelled"),
        conflict,
    )
    with SyncHTTPClient(server.url) as client:
        task = client.add.submit(a=1)
        assert task.get(wait_timeout_s=20) == 3.0
        with pytest.raises(Conflict):
            task.get(wait_timeout_s=20)


def test_calling_a_task_waits_for_its_result(scripted: Scripted, kit: Any) -> None:
    server = task_server(scripted, kit, state(kit, "in_progress"), kit.reply(b"3.0"))
    with SyncHTTPClient(server.url) as client:
        assert client.add(a=1) == 3.0


def test_a_task_still_running_after_the_wait_is_deadline_exceeded(
    scripted: Scripted, kit: Any
) -> None:
    running = state(kit, "in_progress", code=202)
    server = task_server(scripted, kit, state(kit, "in_progress"), running)
    with SyncHTTPClient(server.url) as client:
        task = client.add.submit(a=1)
        with pytest.raises(DeadlineExceeded, match="t1"):
            task.get(wait_timeout_s=0.3)


def test_a_task_is_cancelled_and_retried(scripted: Scripted, kit: Any) -> None:
    server = task_server(
        scripted,
        kit,
        state(kit, "in_progress"),
        state(kit, "cancelled"),
        state(kit, "in_progress", task_id="t2"),
    )
    with SyncHTTPClient(server.url) as client:
        task = client.add.submit(a=1)
        task.cancel()
        assert task.retry().id == "t2"
    assert [(r.method, r.path) for r in server.calls[1:]] == [
        ("PUT", "/add/cancel?task_id=t1"),
        ("POST", "/add/retry?task_id=t1"),
    ]


def test_submitting_is_not_repeated_after_a_broken_connection(scripted: Scripted, kit: Any) -> None:
    server = scripted(
        kit.hang_up, state(kit, "in_progress"), schema=kit.schema_with(kind="task", idempotent=True)
    )
    with SyncHTTPClient(server.url) as client, pytest.raises(Unavailable):
        client.add.submit(a=1)
    assert len(server.calls) == 1


def test_asking_after_a_task_is_repeated(scripted: Scripted, kit: Any) -> None:
    server = task_server(
        scripted, kit, state(kit, "in_progress"), kit.hang_up, kit.hang_up, kit.reply(b"3.0")
    )
    with SyncHTTPClient(server.url) as client:
        assert client.add.submit(a=1).get() == 3.0


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"task_id": 3}', b"<html>"])
def test_a_submission_without_an_id_is_a_remote_error(
    scripted: Scripted, kit: Any, body: bytes
) -> None:
    server = task_server(scripted, kit, kit.reply(body))
    with SyncHTTPClient(server.url) as client, pytest.raises(RemoteError):
        client.add.submit(a=1)


def test_an_api_that_is_no_task_has_no_submit(scripted: Scripted, kit: Any) -> None:
    with SyncHTTPClient(scripted(kit.reply()).url) as client:
        assert not hasattr(client.add, "submit")


def test_a_call_says_how_urgent_it_is_over_the_same_connections(
    scripted: Scripted, kit: Any
) -> None:
    server = scripted(kit.reply(b"3.0"))
    with SyncHTTPClient(server.url, headers={"x-team": "blue"}) as client:
        unlearned = client.at_urgency(6)
        assert [client.add(a=1), client.at_urgency(0).add(a=1), unlearned.add(a=1)] == [3.0] * 3
        for wrong in (-1, 8, 1.0, True, "1"):
            with pytest.raises(InvalidConfiguration, match="urgency"):
                client.at_urgency(wrong)  # type: ignore[arg-type]
    assert [made.headers.get("priority") for made in server.calls] == [None, "u=0", "u=6"]
    assert {made.headers["x-team"] for made in server.calls} == {"blue"}
