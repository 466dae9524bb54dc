"""`/metrics`: every metric, its labels, and what the times and reasons mean."""

from __future__ import annotations

import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "operating.md"
# Name as it is scraped: kind and labels.
METRICS = {
    "dosirak_service_info": ("gauge", {"service"}),
    "dosirak_request_duration_seconds": ("histogram", {"api", "status"}),
    "dosirak_requests_in_progress": ("gauge", set()),
    "dosirak_queue_duration_seconds": ("histogram", {"api"}),
    "dosirak_decode_duration_seconds": ("histogram", {"api"}),
    "dosirak_compute_duration_seconds": ("histogram", {"api"}),
    "dosirak_encode_duration_seconds": ("histogram", {"api"}),
    "dosirak_batch_requests": ("histogram", {"api"}),
    "dosirak_batch_rows": ("histogram", {"api"}),
    "dosirak_handler_calls_total": ("counter", {"api"}),
    "dosirak_dependency_queue_duration_seconds": ("histogram", {"service", "api"}),
    "dosirak_dependency_decode_duration_seconds": ("histogram", {"service", "api"}),
    "dosirak_dependency_compute_duration_seconds": ("histogram", {"service", "api"}),
    "dosirak_dependency_encode_duration_seconds": ("histogram", {"service", "api"}),
    "dosirak_dependency_batch_requests": ("histogram", {"service", "api"}),
    "dosirak_dependency_batch_rows": ("histogram", {"service", "api"}),
    "dosirak_dependency_handler_calls_total": ("counter", {"service", "api"}),
    "dosirak_rejections_total": ("counter", {"api", "reason"}),
    "dosirak_errors_total": ("counter", {"code"}),
    "dosirak_revision_info": ("gauge", {"revision", "target"}),
    "dosirak_revision_requests_total": ("counter", {"revision"}),
    "dosirak_reloads_total": ("counter", {"outcome"}),
    "dosirak_retries_total": ("counter", set()),
    "dosirak_worker_restarts_total": ("counter", {"reason"}),
    "dosirak_inference_log_total": ("counter", {"outcome"}),
    "dosirak_workers_ready": ("gauge", set()),
    "dosirak_tasks_total": ("counter", {"api", "status"}),
    "dosirak_webhooks_total": ("counter", {"outcome"}),
}


def _families(server):
    families = list(text_string_to_metric_families(server.client.get("/metrics").text))
    return {
        family.name + ("_total" if family.type == "counter" else ""): family for family in families
    }


def _value(server, sample: str, **labels: str) -> float:
    for family in _families(server).values():
        for found in family.samples:
            if found.name == sample and found.labels == labels:
                return found.value
    return 0.0


def _documented() -> dict[str, set[str]]:
    rows = re.findall(r"^\| `(dosirak_\w+)` \|(.*?)\|", GUIDE.read_text(), re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def test_every_metric_is_listed_here_and_in_the_guide(launch):
    families = _families(launch("Behaving"))
    kinds = {
        name: family.type
        for name, family in families.items()
        if not name.startswith("process_") and not name.endswith("_created")
    }
    assert kinds == {name: kind for name, (kind, _) in METRICS.items()}
    assert _documented() == {name: labels for name, (_, labels) in METRICS.items()}


def test_labels_are_those_that_are_listed(launch, until):
    server = launch("Behaving", workers=2, max_outstanding=1)
    server.call("echo", value=1)
    # Errors that workers answer: on the hot path, and by the application (a query ends that).
    assert server.call("refuse", value=1).status_code == 400
    assert server.client.post("/refuse?x=1", json={"value": 1}).status_code == 400
    assert _value(server, "dosirak_errors_total", code="invalid_input") == 2.0
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: server.call("wait", seconds=0.5), range(2)))
    server.workers[0].send_signal(signal.SIGKILL)
    restarts = "dosirak_worker_restarts_total"
    until(lambda: _value(server, restarts, reason="SIGKILL") == 1.0)
    for name, family in _families(server).items():
        if name.startswith("dosirak_") and not name.endswith("_created"):
            labels = [set(found.labels) - {"le"} for found in family.samples]
            assert all(found == METRICS[name][1] for found in labels)


def test_times_say_where_a_request_was(launch):
    server = launch("Behaving")
    for api in ("wait", "wait_on_loop"):
        server.call(api, seconds=0.2)
        for stage in ("queue", "decode", "compute", "encode"):
            name = f"dosirak_{stage}_duration_seconds"
            assert _value(server, f"{name}_count", api=api) == 1.0
            took_s = _value(server, f"{name}_sum", api=api)
            assert took_s >= 0.2 if stage == "compute" else 0.0 <= took_s < 0.2


def test_the_queue_is_the_whole_wait_for_a_worker(launch):
    server = launch("Batching")
    with ThreadPoolExecutor(40) as threads:
        list(threads.map(lambda number: server.call("slowly", values=[number]), range(40)))
    queued_s = _value(server, "dosirak_queue_duration_seconds_sum", api="slowly")
    took_s = _value(server, "dosirak_request_duration_seconds_sum", api="slowly", status="200")
    assert 0.0 < queued_s < took_s
    # Of forty that come together most wait while another message runs for a fiftieth of a second.
    assert queued_s > 0.02


def test_rows_requests_and_calls_of_a_batch(launch):
    server = launch("Batching")
    server.call("double", values=[1, 2, 3])
    assert _value(server, "dosirak_batch_requests_sum", api="double") == 1.0
    assert _value(server, "dosirak_batch_rows_sum", api="double") == 3.0
    assert _value(server, "dosirak_handler_calls_total", api="double") == 1.0


def _rejections(server, api: str, reason: str) -> float:
    return _value(server, "dosirak_rejections_total", api=api, reason=reason)


def test_a_full_queue_is_counted_on_both_paths(launch):
    server = launch("Behaving", max_outstanding=1)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(server.call, "wait_on_loop", seconds=2.0)
        while _value(server, "dosirak_requests_in_progress") < 2.0:
            time.sleep(0.01)
        time.sleep(0.05)
        assert server.call("echo", value=1).status_code == 429
        cookie = server.client.post("/echo", json={"value": 1}, headers={"Cookie": "a=b"})
        assert cookie.status_code == 429
        running.result()
    assert _rejections(server, "echo", "queue_full") == 2.0


def test_an_input_that_ends_workers_is_counted_when_it_is_refused(launch):
    server = launch("Batching")
    server.call("double", values=[666])
    deadline = time.monotonic() + 20
    while server.call("double", values=[666]).status_code != 422:
        assert time.monotonic() < deadline
    assert _rejections(server, "double", "quarantined") >= 1.0


def test_no_worker_is_counted(launch, until):
    server = launch("Behaving")
    server.workers[0].send_signal(signal.SIGKILL)
    until(lambda: server.client.get("/readyz").status_code == 503)
    answer = server.client.post("/echo", json={"value": 1}, headers={"X-Request-Timeout": "0.05"})
    assert answer.status_code in (200, 503)
    if answer.status_code == 503:
        assert _rejections(server, "echo", "not_ready") == 1.0
