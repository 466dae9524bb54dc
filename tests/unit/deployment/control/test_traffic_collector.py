"""What one step of counting reads, and that it bounds what it asks of replicas."""

from __future__ import annotations

import http.server
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dosirak.deployment.control.batch_sizes import (
    BatchSizes,
    ReplicaPlace,
    metrics_of,
    rows_counted,
)
from dosirak.deployment.control.traffic_collector import Onlookers, TrafficCollector
from dosirak.deployment.control.traffic_history import TrafficHistory
from dosirak.deployment.routing import RevisionTraffic, RoutingTable, Upstream
from dosirak.observe.metrics import ServingMetrics
from dosirak.observe.timings import CallTimings


class CountingRouter:
    """Counts ten requests more each time that it is asked."""

    def __init__(self) -> None:
        self.requests = 0

    def ensure_running(self) -> None: ...

    def apply(self, table: RoutingTable) -> int:
        return 1

    def applied_version(self) -> int:
        return 1

    def in_flight(self, replica: str) -> int:
        return 0

    def traffic(self) -> tuple[RevisionTraffic, ...]:
        self.requests += 10
        return (RevisionTraffic("iris", 1, self.requests, 0, 0, {"p50": 1.0}),)

    def stop(self) -> None: ...


class Metrics:
    """A replica's metrics on a Unix socket."""

    def __init__(self, path: Path) -> None:
        self.body = b""
        self.asked = 0
        metrics = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                metrics.asked += 1
                self.send_response(200)
                self.send_header("content-length", str(len(metrics.body)))
                self.end_headers()
                self.wfile.write(metrics.body)

            def log_message(self, *args: object) -> None: ...  # pyright: ignore

            def address_string(self) -> str:
                return "replica"

        self.server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[tuple[Metrics, ReplicaPlace]]:
    path = tmp_path / "replica.sock"
    metrics = Metrics(path)
    yield metrics, ReplicaPlace("a1", "iris", 1, Upstream("a1", socket_path=str(path)))
    metrics.close()


def _rendered(*batches: int) -> bytes:
    metrics = ServingMetrics(service="iris", process=False)
    for rows in batches:
        timings = CallTimings(0.0, 0.0, 0.0, 0.0)
        metrics.stages.batch_ran(("predict",), [0.0] * rows, rows, 1, timings)
    return metrics.render()


def test_rows_and_messages_are_read_from_what_the_engine_renders():
    counted = rows_counted(_rendered(3, 5))
    assert counted is not None
    assert (counted.rows, counted.messages) == (8.0, 2.0)


def test_a_service_that_batches_nothing_has_no_batches():
    assert rows_counted(b"# HELP something\nother_metric 3\n") is None


@pytest.mark.parametrize(
    "line", [b"dosirak_batch_rows_sum{} nonsense\n", b"dosirak_batch_rows_sum"]
)
def test_a_damaged_line_counts_nothing(line: bytes):
    counted = rows_counted(line)
    assert counted is not None
    assert counted.rows == 0.0


def test_the_batches_of_a_revision_are_the_mean_since_the_step_before(
    replica: tuple[Metrics, ReplicaPlace],
):
    metrics, place = replica
    sizes, looked_at = BatchSizes(timeout_s=60), frozenset({"iris"})
    metrics.body = _rendered(2, 2)
    assert sizes.ask([place], looked_at, time.monotonic() + 60) == {}
    metrics.body = _rendered(2, 2, 8, 6)
    assert sizes.ask([place], looked_at, time.monotonic() + 60) == {("iris", 1): 7.0}


def test_a_replica_that_does_not_answer_costs_no_error(tmp_path: Path):
    assert metrics_of(Upstream("gone", socket_path=str(tmp_path / "none.sock")), 1) == b""


def test_only_some_of_many_replicas_are_asked_in_a_step(replica: tuple[Metrics, ReplicaPlace]):
    metrics, place = replica
    places = [
        ReplicaPlace(f"a{number}", f"model-{number}", 1, place.upstream) for number in range(200)
    ]
    sizes = BatchSizes(timeout_s=60)
    sizes.ask(places, frozenset(), time.monotonic() + 60)
    assert metrics.asked == 4
    sizes.ask(places, frozenset({"model-150"}), time.monotonic() + 60)
    assert metrics.asked == 9
    sizes.ask(places, frozenset(), time.monotonic() - 1)
    assert metrics.asked == 9


def test_each_step_of_the_collector_adds_one_point():
    history = TrafficHistory()
    at = 1_800_000_000.0
    places = [ReplicaPlace("a1", "iris", 1)]
    collector = TrafficCollector(
        history, CountingRouter(), lambda: places, Onlookers(), clock=lambda: at
    )
    collector.count()
    at += 2
    collector.count()
    point = history.latest()["iris"]
    assert (point.requests_per_s, point.replicas, history.version) == (5.0, 1.0, 2)


def test_a_step_that_fails_leaves_a_gap_and_the_next_one_goes_on(
    caplog: pytest.LogCaptureFixture,
):
    history, asked = TrafficHistory(), threading.Event()
    failures = [OSError("gone"), OSError("gone")]

    def places() -> list[ReplicaPlace]:
        if failures:
            raise failures.pop()
        asked.set()
        return []

    collector = TrafficCollector(
        history, CountingRouter(), places, Onlookers(), clock=lambda: 1.9999 + len(failures)
    )
    thread = threading.Thread(target=collector.run, daemon=True)
    thread.start()
    assert asked.wait(30)
    collector.stop()
    thread.join(30)
    assert history.version >= 1
    assert caplog.text.count("could not be counted") == 1


def test_onlookers_are_forgotten_once_they_are_gone():
    now = 0.0
    onlookers = Onlookers(clock=lambda: now)
    onlookers.look("iris")
    assert onlookers.names() == {"iris"}
    now = 11.0
    assert onlookers.names() == frozenset()
