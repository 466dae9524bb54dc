"""The inference log: what is kept of a body, where it goes, and what is dropped."""

from __future__ import annotations

import json
import stat
import threading

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.errors import InvalidConfiguration
from dosirak.observe.inference_log import (
    REDACTED,
    Inference,
    InferenceLog,
    InferenceLogPlan,
    readable,
)

SECRET = "4111-1111"
VALUES = st.recursive(
    st.none() | st.integers(-(2**63), 2**63) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "card", "columns", "data"]), inner, max_size=4)
    ),
    max_leaves=12,
)


def _inference(body: bytes = b'{"x": 1}', answer: bytes | None = b"2") -> Inference:
    return Inference("a", "r", "", 200, 0.001, "application/json", body, "application/json", answer)


def _plan(tmp_path, **values) -> InferenceLogPlan:
    plan = InferenceLogPlan(str(tmp_path / "log"), **values)
    plan.check()
    return plan


def _run(plan, inferences, counted=lambda _written, _dropped: None) -> None:
    log = InferenceLog(plan, "demo", counted)
    log.start()
    for inference in inferences:
        log.take(inference)
    log.close()


def _lines(tmp_path) -> list[dict]:
    files = sorted((tmp_path / "log").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def _shown(body: bytes, content_type: str = "application/json", *redact: str):
    return json.loads(bytes(readable(body, content_type, frozenset(redact))))


@given(VALUES)
def test_a_redacted_field_is_nowhere_in_what_is_kept(value):
    body = {"in": value, "card": SECRET, "deep": [{"card": {"number": SECRET}}]}
    for encoded, kind in (
        (msgspec.json.encode(body), "application/json; charset=utf-8"),
        (msgspec.msgpack.encode(body), "application/msgpack"),
    ):
        shown = _shown(encoded, kind, "card")
        assert SECRET not in json.dumps(shown)
        assert shown["deep"] == [{"card": REDACTED}]


@given(VALUES)
def test_without_redaction_what_is_kept_is_what_was_sent(value):
    assert _shown(msgspec.json.encode(value)) == value


def test_columns_that_are_no_names_hide_nothing_else():
    body = {"columns": [["card"], None, "card"], "data": [[1, 2, SECRET]], "age": 41}
    shown = _shown(msgspec.json.encode(body), "application/json", "card")
    assert shown == {**body, "data": [[1, 2, REDACTED]]}


def test_cells_of_a_table_in_columns_and_rows_are_redacted():
    table = {"columns": ["age", "card"], "data": [[41, SECRET], [42, SECRET]]}
    shown = _shown(msgspec.json.encode({"table": table}), "application/json", "card")
    assert shown["table"]["data"] == [[41, REDACTED], [42, REDACTED]]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (SECRET.encode(), "text/csv"),
        (b'{"card": "' + SECRET.encode(), "application/json"),
        (b"\xff" * 20, "application/msgpack"),
        (b"[" * 100_000, "application/json"),
        (b'"' + b"x" * 2_000_000 + b'"', "application/json"),
        (b"", "application/json"),
    ],
)
def test_what_cannot_be_read_is_not_shown(body, kind):
    assert _shown(body, kind, "card") is None


def test_a_line_says_everything(tmp_path):
    _run(_plan(tmp_path), [_inference(b'{\n "x": 1}')])
    (line,) = _lines(tmp_path)
    assert line.pop("time").endswith("Z")
    assert line == {
        "service": "demo", "api": "a", "request_id": "r", "trace_id": "", "status": 200,
        "latency_ms": 1.0, "input": {"x": 1}, "input_type": "application/json", "input_bytes": 10,
        "output": 2, "output_type": "application/json", "output_bytes": 1,
    }  # fmt: skip
    (file,) = (tmp_path / "log").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_files_are_rotated_by_size_and_nothing_is_lost(tmp_path):
    _run(_plan(tmp_path, max_file_bytes=4096), [_inference(b"%d" % n) for n in range(100)])
    files = list((tmp_path / "log").iterdir())
    assert len(files) > 3
    assert all(file.stat().st_size <= 4096 for file in files)
    assert [line["input"] for line in _lines(tmp_path)] == list(range(100))


def test_parquet_has_the_same_rows_in_files_of_a_bounded_size(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    plan = _plan(tmp_path, format="parquet", max_file_bytes=16384)
    _run(plan, [_inference(b"%d" % n) for n in range(2000)])
    files = sorted((tmp_path / "log").iterdir())
    assert len(files) > 1
    assert all(file.suffix == ".parquet" for file in files)
    rows = [row for file in files for row in parquet.read_table(file).to_pylist()]
    assert [row["input"] for row in rows] == [str(n) for n in range(2000)]
    assert set(rows[0]) == set(InferenceLogColumns)


InferenceLogColumns = [
    "time", "service", "api", "request_id", "trace_id", "status", "latency_ms", "input",
    "input_type", "input_bytes", "output", "output_type", "output_bytes",
]  # fmt: skip


def test_what_is_too_much_is_dropped_and_counted(tmp_path):
    go_on, counts = threading.Event(), []

    def counted(written: int, dropped: int) -> None:
        counts.append((written, dropped))
        go_on.wait(10)

    log = InferenceLog(_plan(tmp_path), "demo", counted)
    log.start()
    large = _inference(b'"' + b"x" * (1024 * 1024 - 2) + b'"')
    for _ in range(200):
        log.take(large)
    go_on.set()
    log.close()
    written, dropped = (sum(column) for column in zip(*counts, strict=True))
    assert written + dropped == 200
    assert dropped > 0
    assert written >= 60
    assert len(_lines(tmp_path)) == written


def test_a_directory_that_vanishes_costs_entries_and_not_the_log(tmp_path):
    plan, counts = _plan(tmp_path), []
    (tmp_path / "log").rmdir()
    _run(plan, [_inference()], lambda *counted: counts.append(counted))
    assert [sum(column) for column in zip(*counts, strict=True)] == [0, 1]


@pytest.mark.parametrize(
    "values", [{"rate": 0.0}, {"rate": 1.5}, {"rate": float("nan")}, {"max_file_bytes": 1}], ids=str
)
def test_a_plan_that_cannot_be_is_refused(tmp_path, values):
    with pytest.raises(InvalidConfiguration):
        _plan(tmp_path, **values)


def test_a_directory_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InvalidConfiguration):
        InferenceLogPlan(str(tmp_path / "file" / "log")).check()


def test_the_rate_is_the_share_that_is_kept(tmp_path):
    log = InferenceLog(_plan(tmp_path, rate=0.25), "demo", lambda _written, _dropped: None)
    kept = sum(log.wants() for _ in range(10_000))
    assert 2000 < kept < 3000
