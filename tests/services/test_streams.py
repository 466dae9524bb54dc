"""Streams over real processes: in order, with visible errors, cancelled with their caller."""

from __future__ import annotations

import contextlib
import json

import httpx2
import pytest


def _lines(server, api, **arguments):
    with server.client.stream("POST", f"/{api}", json=arguments) as answer:
        return answer.status_code, answer.headers["content-type"], list(answer.iter_lines())


@pytest.mark.parametrize("api", ["count", "count_on_loop"])
def test_items_come_in_order_and_the_end_is_said(launch, api):
    server = launch("Streaming")
    status, content_type, lines = _lines(server, api, upto=40)
    assert status == 200
    assert content_type.startswith("text/event-stream")
    assert [line for line in lines if line.startswith("data:")][:40] == [
        f"data: {number}" for number in range(40)
    ]
    assert "event: end" in lines


def test_items_are_sent_as_they_are_made(launch):
    server = launch("Streaming")
    with server.client.stream("POST", "/count", json={"upto": 1000, "pause_s": 0.05}) as answer:
        first = next(answer.iter_lines())
    assert first == "data: 0"


def test_an_error_on_the_way_is_the_last_event(launch):
    server = launch("Streaming")
    status, _, lines = _lines(server, "breaks", after=3)
    assert status == 200
    assert "event: error" in lines
    assert "event: end" not in lines
    assert not any("secret" in line for line in lines)


def test_an_error_on_the_way_is_the_last_line_and_marked(launch):
    server = launch("Streaming")
    with server.client.stream(
        "POST", "/breaks", json={"after": 2}, headers={"Accept": "application/x-ndjson"}
    ) as answer:
        *items, last = answer.iter_lines()
    assert items == ["0", "1"]
    assert list(json.loads(last)) == ["$error"]
    assert json.loads(last)["$error"]["code"] == "service_error"


@pytest.mark.parametrize(
    ("api", "arguments", "code"),
    [
        ("breaks", {"after": 3}, "service_error"),
        ("breaks_raw", {"after": 3}, "service_error"),
        ("misfits", {"after": 3}, "result_error"),
        ("dies", {"after": 2}, "worker_lost"),
    ],
)
def test_an_error_on_the_way_is_counted_and_logged(launch, until, api, arguments, code):
    server = launch("Streaming", access_log="json")
    with (
        contextlib.suppress(httpx2.RemoteProtocolError),
        server.client.stream("POST", f"/{api}", json=arguments) as answer,
    ):
        list(answer.iter_bytes())
    record = next(line for line in _access_lines(server, until) if line["path"] == f"/{api}")
    assert (record["status"], record["error"]) == (200, code)
    assert f'dosirak_errors_total{{code="{code}"}} 1.0' in server.client.get("/metrics").text
    if code == "result_error":
        assert "Writing the result of misfits raised" in server.log()


def test_a_whole_stream_counts_and_logs_no_error(launch, until):
    server = launch("Streaming", access_log="json")
    _lines(server, "count", upto=3)
    (record,) = _access_lines(server, until)
    assert "error" not in record
    assert "dosirak_errors_total{" not in server.client.get("/metrics").text


def _access_lines(server, until):
    def lines():
        written = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
        return [line for line in written if line.get("event") == "request"]

    until(lines)
    return lines()


def test_an_error_before_the_first_item_is_an_answer(launch):
    server = launch("Streaming")
    answer = server.call("refuses", value=-1)
    assert answer.status_code == 400
    assert answer.json()["error"] == "The value is negative."


def test_half_of_a_raw_stream_is_never_a_whole_one(launch):
    server = launch("Streaming")
    with (
        pytest.raises(httpx2.RemoteProtocolError),
        server.client.stream("POST", "/breaks_raw", json={"after": 3}) as answer,
    ):
        list(answer.iter_bytes())


def test_a_worker_that_dies_is_said_in_its_streams(launch):
    server = launch("Streaming")
    _, _, lines = _lines(server, "dies", after=2)
    assert lines[:4:2] == ["data: 0", "data: 1"]
    assert lines[4] == "event: error"
    said = json.loads(lines[5].removeprefix("data: "))
    assert (said["code"], bool(said["request_id"])) == ("worker_lost", True)
    assert "event: end" not in lines
    headers = {"Accept": "application/x-ndjson"}
    with server.client.stream("POST", "/dies", json={"after": 1}, headers=headers) as answer:
        *items, last = answer.iter_lines()
    assert items == ["0"]
    assert json.loads(last)["$error"]["code"] == "worker_lost"
    # Bytes have no word for it.
    with (
        pytest.raises(httpx2.RemoteProtocolError),
        server.client.stream("POST", "/dies_raw", json={"after": 1}) as answer,
    ):
        list(answer.iter_bytes())
    assert server.call("refuses", value=1).status_code == 200


def test_a_caller_that_leaves_closes_the_generator(launch, tmp_path, until):
    server = launch("Streaming")
    marker = tmp_path / "marker"
    body = {"upto": 100_000, "marker": str(marker)}
    with server.client.stream("POST", "/count_on_loop", json=body) as answer:
        next(answer.iter_lines())
    until(marker.exists)


def test_a_caller_that_does_not_read_stops_the_generator(launch):
    server = launch("Streaming")
    with server.client.stream("POST", "/count", json={"upto": 10_000_000}) as answer:
        next(answer.iter_lines())
        worker = server.workers[0]
        before = worker.memory_info().rss
        assert server.call("refuses", value=1).status_code == 200
        assert worker.memory_info().rss - before < 64 * 1024 * 1024
