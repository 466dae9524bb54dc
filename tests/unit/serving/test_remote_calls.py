"""A dependency at an address: what becomes of calls when that server is not as it should be."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import dosirak
from dosirak.client.address import Address
from dosirak.errors import InvalidConfiguration, InvalidService, ServiceError
from dosirak.payload.wire import WireRequest
from dosirak.serving.composition import compose
from dosirak.serving.places import placed_by, variable_of
from dosirak.serving.remote_calls import RemoteCalls
from dosirak.spec.context import Context
from dosirak.spec.dependencies import own_workers_below, placed, services_below


@dosirak.service
class Deep:
    @dosirak.api
    def one(self) -> int:
        return 1


@dosirak.service(name="the-other")
class Other:
    deep = dosirak.depends(Deep, workers=1)

    @dosirak.api
    def double(self, value: int) -> int:
        return 2 * value

    @dosirak.api(idempotent=False)
    def once(self, value: int) -> int:
        return value

    @dosirak.task
    def work(self, value: int) -> int:
        return value

    @dosirak.api
    def count(self) -> Iterator[int]:
        yield 1


@dosirak.service
class Caller:
    other = dosirak.depends(Other)

    @dosirak.api
    def double(self, value: int) -> int:
        return self.other.double(value)

    @dosirak.api
    def once(self, value: int) -> int:
        return self.other.once(value)

    @dosirak.api
    def work(self, value: int) -> int:
        return self.other.work(value)

    @dosirak.api
    def count(self) -> list[int]:
        return list(self.other.count())


class Server:
    """Answers with what it is given: (status, body) or (status, body, headers) one by one."""

    def __init__(self) -> None:
        self.answers: list[tuple[Any, ...]] = []
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {k.lower(): v for k, v in self.headers.items()}
                server.asked.append((f"{self.command} {self.path}", headers, body))
                status, answer, *more = server.answers.pop(0)
                self.send_response(status)
                for name, value in (more[0] if more else {}).items():
                    self.send_header(name, value)
                if not more:
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(answer)))
                else:
                    self.send_header("connection", "close")
                self.end_headers()
                self.wfile.write(answer)

            do_POST = do_GET = _answer

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    opened = Server()
    yield opened
    opened.close()


def _call(url: str, api: str, context: Context | None = None, **arguments: int) -> dict[str, Any]:
    """Call the caller, whose dependency is at an address; return status and body."""

    async def run() -> dict[str, Any]:
        dataplane = compose(placed_by(Caller.spec, {"DOSIRAK_DEPENDS_THE_OTHER": url}), {})
        await dataplane.start()
        try:
            body = json.dumps(arguments).encode()
            request = WireRequest(body, "application/json")
            answer = await dataplane.call(api, request, context or Context())
        finally:
            await dataplane.stop()
        return {"status": answer.status, "body": json.loads(answer.body)}

    return asyncio.run(run())


def _problem(code: str) -> bytes:
    return json.dumps({"error": "It is so.", "code": code, "remedy": "Live with it."}).encode()


def test_a_call_takes_along_what_belongs_to_it(server, monkeypatch):
    monkeypatch.setenv("DOSIRAK_DEPENDS_THE_OTHER_TOKEN", "of-the-other")
    server.answers = [(200, b"8")]
    headers = {"traceparent": "00-1", "authorization": "Bearer of-the-caller", "x-own": "1"}
    found = _call(server.url, "double", Context("r-1", headers), value=4)
    assert found == {"status": 200, "body": 8}
    ((line, sent, body),) = server.asked
    assert (line, json.loads(body)) == ("POST /double", {"value": 4})
    assert (sent["x-request-id"], sent["traceparent"]) == ("r-1", "00-1")
    assert sent["authorization"] == "Bearer of-the-other"
    assert "x-own" not in sent
    assert float(sent["x-request-timeout"]) <= 60


def test_an_idempotent_call_is_repeated_and_another_is_not(server):
    server.answers = [(503, _problem("unavailable"), {"retry-after": "0"}), (200, b"2")]
    assert _call(server.url, "double", value=1)["body"] == 2
    server.answers = [(503, _problem("unavailable")), (200, b"1")]
    assert _call(server.url, "once", value=1)["status"] == 503
    assert len(server.asked) == 3


def test_nobody_there_is_503_without_the_address(caplog):
    found = _call("http://127.0.0.1:1", "once", value=1)
    assert (found["status"], found["body"]["code"]) == (503, "unavailable")
    assert "'the-other'" in found["body"]["error"]
    assert found["body"]["remedy"]
    assert "127.0.0.1" not in str(found)
    assert "127.0.0.1:1/once" in caplog.text


@pytest.mark.parametrize(
    ("status", "code", "seen"),
    [
        (401, "unauthorized", "service_error"),
        (421, "misdirected_request", "service_error"),
        (404, "api_not_found", "service_error"),
        (500, "service_error", "service_error"),
        (502, "worker_lost", "service_error"),
        (418, "tea", "service_error"),
        (409, "conflict", "conflict"),
        (400, "invalid_input", "invalid_input"),
        (429, "overloaded", "overloaded"),
    ],
)
def test_errors_are_seen_as_the_callers_business_only_where_they_are(server, status, code, seen):
    server.answers = [(status, _problem(code))]
    found = _call(server.url, "once", value=1)
    assert found["body"]["code"] == seen
    assert "127.0.0.1" not in str(found)


@pytest.mark.parametrize("remedy", ["Write it in words.", ""])
def test_an_error_for_callers_arrives_as_it_was_raised(server, remedy):
    fields = [{"field": "value", "reason": "is bad"}]
    said = {"error": "bad text", "code": "invalid_input", "remedy": remedy, "fields": fields}
    server.answers = [(400, json.dumps(said).encode())]
    found = _call(server.url, "double", value=1)
    assert found["status"] == 400
    assert found["body"]["error"] == "bad text"
    assert found["body"].get("remedy", "") == remedy
    assert found["body"]["fields"] == fields


@pytest.mark.parametrize("answer", [b"not json", b'"text"'])
def test_an_answer_that_is_none_is_the_services_fault(server, answer):
    server.answers = [(200, answer)]
    found = _call(server.url, "double", value=1)
    assert (found["status"], found["body"]["code"]) == (500, "service_error")


def test_a_task_is_submitted_and_asked_for_until_it_has_ended(server):
    server.answers = [(200, b'{"task_id": "t-1"}'), (202, b"{}"), (202, b"{}"), (200, b"5")]
    assert _call(server.url, "work", value=5) == {"status": 200, "body": 5}
    lines = [line for line, _, _ in server.asked]
    assert lines == ["POST /work/submit", *["GET /work/get?task_id=t-1"] * 3]


def test_half_a_stream_is_an_error(server):
    kind = {"content-type": "text/event-stream"}
    server.answers = [(200, b"data: 1\n\ndata: 2\n\nevent: end\ndata:\n\n", kind)]
    assert _call(server.url, "count") == {"status": 200, "body": [1, 2]}
    server.answers = [(200, b"data: 1\n\n", kind)]
    assert _call(server.url, "count")["status"] >= 500
    server.answers = [(200, b"data: 1\n\n", {**kind, "content-length": "5000"})]
    found = _call(server.url, "count")
    assert (found["status"], found["body"]["code"]) == (503, "unavailable")


@pytest.mark.parametrize(
    ("kind", "body"),
    [("application/json", b""), ("text/html", b"<h1>Hello</h1>"), ("", b"data: 1\n\n")],
)
def test_what_answers_with_no_stream_is_named(server, kind, body, caplog):
    server.answers = [(200, body, {"content-type": kind} if kind else {"x-more": "1"})]
    found = _call(server.url, "count")
    assert (found["status"], found["body"]["code"]) == (500, "service_error")
    assert server.url not in str(found["body"])
    assert f"the-other at {server.url}" in caplog.text


def test_an_answer_that_inflates_without_end_is_not_kept(server):
    body = gzip.compress(b" " * 100_000)
    kind = {"content-type": "application/json", "content-encoding": "gzip"}

    async def call(most_bytes: int) -> Any:
        calls = RemoteCalls(
            Other.spec,
            Address.parse(server.url),
            timeout_s=30.0,
            loop=asyncio.get_running_loop(),
            max_answer_bytes=most_bytes,
        )
        server.answers = [(200, body, kind)]
        try:
            request = WireRequest(b"{}", "application/json", "*/*", {}, method="POST")
            return await calls.call("the-other", "double", request, Context("id"))
        finally:
            await calls.close()

    assert len(asyncio.run(call(100_000)).body) == 100_000
    with pytest.raises(ServiceError, match="the-other"):
        asyncio.run(call(99_999))


def test_what_another_server_serves_is_not_run_here():
    elsewhere = placed(Caller.spec, {"the-other": "http://other:1"})
    assert [one.name for one in services_below(elsewhere)] == ["deep", "the-other"]
    assert services_below(elsewhere, elsewhere=False) == ()
    assert own_workers_below(elsewhere) == {}
    assert own_workers_below(Caller.spec) == {"deep": 1}
    here = placed(elsewhere, {"the-other": ""})
    assert [one.name for one in services_below(here, elsewhere=False)] == ["deep", "the-other"]


def test_the_code_names_an_address_and_the_environment_another():
    @dosirak.service
    class Far:
        other = dosirak.depends(Other, url="http://other:3000")

        @dosirak.api
        def double(self, value: int) -> int:
            return self.other.double(value)

    def url(environment: dict[str, str]) -> str:
        return placed_by(Far.spec, environment).dependencies[0].url

    assert url({}) == "http://other:3000"
    assert url({variable_of("the-other"): "https://there"}) == "https://there"
    assert url({variable_of("the-other"): ""}) == ""
    # By hand and in tests there are no servers: it runs in the one process.
    assert Far().double(4) == 8


@pytest.mark.parametrize("url", ["ftp://a", "a:1", "http://", "http://a b", "http://u:p@[", "\x00"])
def test_what_is_no_address_is_refused_and_not_repeated(url):
    with pytest.raises(InvalidConfiguration) as caught:
        placed_by(Caller.spec, {variable_of("the-other"): url})
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize("options", [{"url": "nowhere"}, {"url": "http://u:p@a"}, {"url": ""}])
def test_an_address_in_the_code_is_checked(options):
    with pytest.raises(InvalidService):
        dosirak.depends(Other, **options)


def test_workers_and_an_address_exclude_each_other():
    with pytest.raises(InvalidService, match="workers and with a url"):
        dosirak.depends(Other, workers=1, url="http://a")
