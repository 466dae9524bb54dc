"""The inference log of a real server: what its workers keep, and what they do not."""

from __future__ import annotations

import json
from pathlib import Path


def _entries(directory: Path) -> list[dict]:
    files = sorted(directory.glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_inputs_and_outputs_are_kept_with_what_they_belong_to(launch, tmp_path, until):
    kept = tmp_path / "kept"
    server = launch("Behaving", workers=2, inference_log={"directory": str(kept)})
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"X-Request-Id": "my-1", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    server.client.post("/echo", json={"value": 7}, headers=headers)
    server.client.post("/echo", json={"value": "x"}, headers={"X-Request-Id": "my-2"})
    server.client.post("/wait_on_loop", json={"seconds": 0.05}, headers={"X-Request-Id": "my-3"})
    counted = 'dosirak_inference_log_total{outcome="written"} 3.0'
    until(lambda: counted in server.client.get("/metrics").text)
    entries = {entry["request_id"]: entry for entry in _entries(kept)}
    first = entries["my-1"]
    assert (first["service"], first["api"], first["status"]) == ("behaving", "echo", 200)
    assert (first["input"], first["output"], first["trace_id"]) == ({"value": 7}, 7, trace)
    assert entries["my-2"]["status"] == 400
    assert entries["my-2"]["output"]["code"] == "invalid_input"
    assert (entries["my-3"]["input"], entries["my-3"]["output"]) == ({"seconds": 0.05}, 0.05)
    assert entries["my-3"]["latency_ms"] >= 50
    assert server.stop() == 0
    assert len(_entries(kept)) == 3


def test_what_was_answered_before_the_end_is_written(launch, tmp_path):
    kept = tmp_path / "kept"
    options = {"directory": str(kept), "redact": ["values"]}
    server = launch("Batching", inference_log=options)
    for number in range(100, 150):
        server.call("double", values=[number])
    assert server.stop() == 0
    entries = _entries(kept)
    assert sorted(entry["output"][0] for entry in entries) == [2 * n for n in range(100, 150)]
    assert {json.dumps(entry["input"]) for entry in entries} == {'{"values": "[redacted]"}'}


def test_a_stream_is_kept_without_its_items(launch, tmp_path):
    kept = tmp_path / "kept"
    server = launch("Streaming", inference_log={"directory": str(kept)})
    assert server.call("count", upto=3).status_code == 200
    assert server.stop() == 0
    (entry,) = _entries(kept)
    assert (entry["input"]["upto"], entry["output"]) == (3, None)


def test_nothing_is_kept_unless_asked_for(launch, tmp_path):
    server = launch("Behaving")
    server.call("echo", value=12345678)
    text = server.client.get("/metrics").text
    assert "dosirak_inference_log_total{" not in text
    assert server.stop() == 0
    assert "12345678" not in server.log()


def test_a_rate_that_cannot_be_is_said_at_once(launch, tmp_path):
    server = launch("Behaving", inference_log={"directory": str(tmp_path / "k"), "rate": 2.0})
    assert server.first["code"] == "invalid_configuration"
