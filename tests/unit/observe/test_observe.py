"""Health, request ids, metrics and the access log."""

from __future__ import annotations

import io
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.observe.access_log import AccessRecord, open_access_log
from dosirak.observe.health import WorkerState, judge_health
from dosirak.observe.logs import configure_logging
from dosirak.observe.metrics import ServingMetrics
from dosirak.observe.opentelemetry import _server_attributes
from dosirak.observe.request_ids import request_id_from
from dosirak.observe.timings import CallTimings
from dosirak.observe.traces import TracedRequest

RECORD = AccessRecord("POST", "/a\x1b[31m\n", 200, 1.5, "r", "a", "127.0.0.1", 1, 2)


@pytest.mark.parametrize(
    ("states", "draining", "live", "ready"),
    [
        (["READY", "READY"], False, True, True),
        (["READY", "RESTARTING"], False, True, True),
        (["READY", "GIVEN_UP"], False, True, True),
        (["RESTARTING"], False, True, False),
        (["STARTING", "GIVEN_UP"], False, True, False),
        (["GIVEN_UP", "GIVEN_UP"], False, False, False),
        (["READY"], True, True, False),
        ([], False, True, False),
    ],
)
def test_health_follows_from_the_workers(states, draining, live, ready):
    health = judge_health([WorkerState[state] for state in states], draining=draining)
    assert (health.live, health.ready) == (live, ready)


@given(st.text())
def test_a_request_id_is_always_harmless(candidate):
    request_id = request_id_from(candidate)
    assert 1 <= len(request_id) <= 128
    assert request_id.isascii()
    assert not set(request_id) & set(" \r\n\"<>&'\\")


def test_metrics_are_rendered_with_their_labels():
    metrics = ServingMetrics(service="demo", process=False)
    metrics.request_began()
    metrics.request_ended("predict", 200, 0.01)
    metrics.stages.call_timed(("predict",), CallTimings(0.001, 0.004, 0.001, 0.002, 0.001))
    metrics.worker_restarted("SIGKILL")
    text = metrics.render().decode()
    assert 'dosirak_request_duration_seconds_count{api="predict",status="200"} 1.0' in text
    assert 'dosirak_worker_restarts_total{reason="SIGKILL"} 1.0' in text
    assert "dosirak_requests_in_progress 0.0" in text


def _logged(style: str) -> str:
    output = io.StringIO()
    log = open_access_log(style, output)
    log.start()
    log.write(RECORD)
    log.close()
    return output.getvalue()


def test_a_json_line_holds_every_field():
    record = json.loads(_logged("json"))
    assert record["path"] == RECORD.path
    assert record["time"].endswith("Z")
    assert _logged("json").count("\n") == 1


def test_a_text_line_cannot_be_forged_by_a_path():
    line = _logged("text")
    assert line.count("\n") == 1
    assert "\x1b" not in line


def test_no_log_is_no_log():
    assert open_access_log("off", io.StringIO()) is None


def test_a_log_that_cannot_be_written_stops_nothing():
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError("no space left on device")

    log = open_access_log("json", Full())
    log.start()
    for _ in range(100):
        log.write(RECORD)
    log.close()


def test_a_log_that_is_read_too_slowly_says_so_in_its_own_format() -> None:
    output = io.StringIO()
    log = open_access_log("json", output)
    assert log is not None
    for _ in range(12_000):
        log.write(RECORD)
    log.start()
    log.close()
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    (dropped,) = [line for line in lines if line["event"] == "dropped"]
    assert dropped["dropped_lines"] + len(lines) - 1 == 12_000


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_span_says_whether_the_connection_was_encrypted(scheme: str) -> None:
    values = dict.fromkeys(
        ("method", "path", "route", "api", "request_id", "client"), ""
    ) | dict.fromkeys(
        ("request_bytes", "response_bytes", "arrived_s", "ended_s", "began_s", "call_s"), 0
    )
    request = TracedRequest(status=200, headers={}, scheme=scheme, **values)
    assert _server_attributes(request)["url.scheme"] == scheme


def test_what_opentelemetry_says_of_spans_that_cannot_be_sent_is_json_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    loggers = [logging.getLogger(name) for name in ("dosirak", "opentelemetry")]
    before = [(one, list(one.handlers), one.level, one.propagate) for one in loggers]
    try:
        configure_logging("json")
        name = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
        logging.getLogger(name).warning("Transient error %s, retrying in %ss.", "refused", 1)
        logging.getLogger(name).info("not worth a line")
    finally:
        for one, handlers, level, propagate in before:
            one.handlers[:], one.propagate = handlers, propagate
            one.setLevel(level)
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["logger"]) == ("warning", name)
    assert line["message"] == "Transient error refused, retrying in 1s."
