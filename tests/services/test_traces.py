"""Traces: what a collector is sent, what user code sees, and that nothing waits for either."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("opentelemetry.sdk")
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SERVED = f"{Path(__file__).parent / 'traced.py'}:Traced"
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{CALLER}-01"


class Collector:
    """Takes OTLP over HTTP and remembers the spans."""

    def __init__(self) -> None:
        self.spans: list[dict] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def take(self, message: ExportTraceServiceRequest) -> None:
        for resource in message.resource_spans:
            about = _values(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans += [
                    {
                        "service": about["service.name"],
                        "name": span.name,
                        "kind": span.kind,
                        "trace": span.trace_id.hex(),
                        "id": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "from": span.start_time_unix_nano,
                        "to": span.end_time_unix_nano,
                        "status": span.status.code,
                        "state": span.trace_state,
                        **_values(span.attributes),
                    }
                    for span in scope.spans
                ]

    def named(self, name: str) -> list[dict]:
        return [span for span in self.spans if span["name"] == name]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _values(attributes) -> dict:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.close()


@pytest.fixture
def traced(launch, collector):
    """A server that sends spans at once."""

    def start(**environment: str):
        standard = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        return launch(
            "Traced", served=SERVED, access_log="json", environment={**standard, **environment}
        )

    return start


# The hot path, and the application.
PATHS = [{}, {"Cookie": "a=b"}]


@pytest.mark.parametrize("headers", PATHS, ids=["hot", "application"])
def test_a_request_is_a_span_with_its_wait_and_its_call_in_the_callers_trace(
    traced, collector, until, headers
):
    server = traced()
    began_ns = time.time_ns()
    answer = server.client.post(
        "/told",
        json={},
        headers={"traceparent": PARENT, "tracestate": "a=b", "X-Request-Id": "my-1", **headers},
    )
    ended_ns = time.time_ns()
    until(lambda: len(collector.spans) >= 3)
    (request,) = collector.named("POST /told")
    (queue,) = collector.named("queue")
    (call,) = collector.named("call told")
    assert {span["trace"] for span in collector.spans} == {TRACE}
    assert request["parent"] == CALLER
    assert request["state"] == "a=b"
    assert queue["parent"] == call["parent"] == request["id"]
    # What the worker was told names the call's span.
    assert answer.json() == f"00-{TRACE}-{call['id']}-01"
    slack_ns = 5_000_000
    assert began_ns - slack_ns <= request["from"] == queue["from"] <= queue["to"] == call["from"]
    assert call["from"] <= call["to"] <= request["to"] <= ended_ns + slack_ns
    assert request["kind"] == 2
    assert request["service"] == "traced"
    expected = {
        "http.request.method": "POST",
        "http.route": "/told",
        "url.path": "/told",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "client.address": "127.0.0.1",
        "dosirak.api": "told",
        "dosirak.request_id": "my-1",
    }
    assert expected.items() <= request.items()
    assert "error.type" not in request
    until(lambda: "my-1" in server.log())
    line = next(line for line in server.log().splitlines() if "my-1" in line)
    assert json.loads(line)["trace_id"] == TRACE


@pytest.mark.parametrize("api", ["within", "within_async"])
def test_spans_of_user_code_and_what_it_calls_join_the_trace(traced, collector, until, api):
    server = traced()
    told = server.client.post(f"/{api}", json={}, headers={"traceparent": PARENT}).json()
    until(lambda: len(collector.spans) >= 4)
    (call,) = collector.named(f"call {api}")
    (own,) = collector.named("own")
    assert (own["trace"], own["parent"]) == (TRACE, call["id"])
    assert told["traceparent"] == f"00-{TRACE}-{own['id']}-01"


def test_a_generator_keeps_its_trace_whatever_thread_runs_it(traced, collector, until):
    server = traced()
    answer = server.client.post(
        "/within_stream",
        json={},
        headers={"traceparent": PARENT, "Accept": "application/x-ndjson"},
    )
    until(lambda: bool(collector.named("call within_stream")))
    (call,) = collector.named("call within_stream")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines == [f"00-{TRACE}-{call['id']}-01"] * 2


def test_joined_requests_have_no_current_span_and_one_alone_has(traced):
    server = traced()
    with ThreadPoolExecutor(8) as threads:
        answers = list(
            threads.map(
                lambda number: server.client.post("/joined", json={"values": [number]}).json(),
                range(64),
            )
        )
    assert {answer for (answer,) in map(tuple, answers)} <= {True, False}
    # A span that was current for one caller is never left behind for the next.
    assert server.client.post("/joined", json={"values": [1]}).json() == [True]


@pytest.mark.parametrize("headers", PATHS, ids=["hot", "application"])
def test_an_error_is_said(traced, collector, until, headers):
    server = traced()
    assert server.client.post("/fail", json={}, headers=headers).status_code == 500
    until(lambda: bool(collector.named("POST /fail")))
    (request,) = collector.named("POST /fail")
    assert (request["status"], request["error.type"]) == (2, "500")
    assert request["parent"] == ""


@pytest.mark.parametrize("headers", PATHS, ids=["hot", "application"])
def test_what_is_not_sampled_is_not_sent_but_told(traced, collector, headers):
    server = traced(OTEL_TRACES_SAMPLER="parentbased_always_off")
    told = server.client.post("/told", json={}, headers=headers).json()
    assert told.endswith("-00")
    # The caller decided otherwise.
    parent = {"traceparent": PARENT, **headers}
    assert server.client.post("/told", json={}, headers=parent).json().endswith("-01")
    server.stop()
    assert {span["trace"] for span in collector.spans} == {TRACE}


def test_what_is_waiting_is_sent_at_the_end_and_probes_are_not_traced(traced, collector):
    server = traced(OTEL_BSP_SCHEDULE_DELAY="60000", OTEL_SERVICE_NAME="renamed")
    server.client.get("/livez")
    server.client.post("/within", json={})
    assert server.stop() == 0
    assert len(collector.named("own")) == 1
    requests = collector.named("POST /within")
    assert [span["service"] for span in requests] == ["renamed"]
    assert not collector.named("GET /livez")


def test_a_collector_that_is_gone_costs_no_request(traced):
    server = traced(
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_BSP_MAX_QUEUE_SIZE="64",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="32",
    )
    answers = [server.client.post("/told", json={}).status_code for _ in range(200)]
    assert answers == [200] * 200
    assert server.stop() == 0


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {"OTEL_BSP_MAX_QUEUE_SIZE": "64"},  # Less than are sent at once.
    ],
    ids=str,
)
def test_off_is_off_and_the_callers_context_still_travels(traced, collector, until, environment):
    server = traced(**environment)
    headers = {"traceparent": PARENT, "X-Request-Id": "my-2"}
    assert server.client.post("/told", json={}, headers=headers).json() == PARENT
    assert server.client.post("/told", json={}).json() == ""
    until(lambda: "my-2" in server.log())
    line = next(line for line in server.log().splitlines() if "my-2" in line)
    assert json.loads(line)["trace_id"] == TRACE
    said = "No traces are sent" in server.log()
    assert said == any(word in str(environment) for word in ("zipkin", "grpc", "BSP"))
    server.stop()
    assert collector.spans == []
