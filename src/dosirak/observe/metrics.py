"""The names of every metric, and the registry of one serving process.

Workers keep no metrics: they report the times of each call with its answer, and the front, which
sees every request, counts. So one process is scraped and no files are shared. Labels are bounded:
an api's name or `-`, and an HTTP status; never a path as it arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    generate_latest,
)

from dosirak.observe.durations import Histograms
from dosirak.observe.timings import CallTimings

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
NO_API = "-"

# Half a millisecond to a minute: tiny models to large language models.
_SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0,
)  # fmt: skip
# Each revision is a label: those of a server that is reloaded every minute must not pile up.
_MOST_REVISIONS = 8
_COUNTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


class ServingMetrics:
    """What one front counts."""

    def __init__(self, *, service: str, process: bool = True) -> None:
        self._registry = CollectorRegistry(auto_describe=True)
        if process:
            ProcessCollector(registry=self._registry)
        self._service = Gauge(
            "dosirak_service_info",
            "The service served here.",
            ("service",),
            registry=self._registry,
        )
        self._service.labels(service).set(1)
        self._revision = Gauge(
            "dosirak_revision_info",
            "The revision that new requests meet.",
            ("revision", "target"),
            registry=self._registry,
        )
        self._answered = Counter(
            "dosirak_revision_requests", "Requests answered by each of the last revisions.",
            ("revision",), registry=self._registry,
        )  # fmt: skip
        self._reloads = Counter(
            "dosirak_reloads", "Reloads by how they ended.", ("outcome",), registry=self._registry
        )
        self._revisions: list[str] = []
        self._duration = self._histogram(
            "dosirak_request_duration_seconds",
            "From the request's headers to the end of its answer.",
            ("api", "status"),
        )
        self._queue = self._histogram(
            "dosirak_queue_duration_seconds", "Waiting for a thread of a worker.", ("api",)
        )
        self._compute = self._histogram(
            "dosirak_compute_duration_seconds", "Decoding, the handler and encoding.", ("api",)
        )
        self._batch_requests = self._histogram(
            "dosirak_batch_requests", "Requests in one message to a worker.", ("api",), _COUNTS
        )
        self._batch_rows = self._histogram(
            "dosirak_batch_rows", "Rows in one message to a worker.", ("api",), _COUNTS
        )
        self._in_progress = 0
        Gauge(
            "dosirak_requests_in_progress", "Requests being answered.", registry=self._registry
        ).set_function(lambda: self._in_progress)
        self._errors = Counter(
            "dosirak_errors", "Answers with an error, by its code.", ("code",),
            registry=self._registry,
        )  # fmt: skip
        self._retries = Counter(
            "dosirak_retries", "Calls repeated on another worker.", registry=self._registry
        )
        self._restarts = Counter(
            "dosirak_worker_restarts", "Workers replaced, by reason.", ("reason",),
            registry=self._registry,
        )  # fmt: skip
        self._workers = Gauge(
            "dosirak_workers_ready", "Workers that can take requests.", registry=self._registry
        )
        self._tasks = Counter(
            "dosirak_tasks", "Tasks by what became of them.", ("api", "status"),
            registry=self._registry,
        )  # fmt: skip

    def request_began(self) -> None:
        """Count a request as being answered."""
        self._in_progress += 1

    def request_ended(self, api: str, status: int, duration_s: float) -> None:
        """Count a request as answered."""
        self._in_progress -= 1
        self._duration.observe((api, str(status)), duration_s)

    def requests_ended(self, api: str, status: int, durations_s: Sequence[float]) -> None:
        """Count several requests as answered."""
        self._in_progress -= len(durations_s)
        self._duration.observe_all((api, str(status)), durations_s)

    def call_timed(self, api: str, timings: CallTimings) -> None:
        """Record where a worker spent the time of one call."""
        self._queue.observe((api,), timings.queue_s)
        self._compute.observe((api,), timings.compute_s)

    def batch_ran(
        self, api: str, requests: int, rows: int, timings: CallTimings, *, timed: int
    ) -> None:
        """Count one message answered, and the times of its first `timed` calls."""
        self._batch_requests.observe((api,), requests)
        self._batch_rows.observe((api,), rows)
        if timed:
            self._queue.observe((api,), timings.queue_s, timed)
            self._compute.observe((api,), timings.compute_s, timed)

    def error_answered(self, code: str) -> None:
        """Count an error answered; `code` is one of the fixed codes in `errors`."""
        self._errors.labels(code).inc()

    def call_retried(self) -> None:
        """Count a call repeated on another worker."""
        self._retries.inc()

    def worker_restarted(self, reason: str) -> None:
        """Count a worker replaced; `reason` is one of a fixed few words."""
        self._restarts.labels(reason).inc()

    def workers_ready(self, count: Callable[[], int]) -> None:
        """Set who says how many workers can take requests."""
        self._workers.set_function(count)

    def revision_serves(self, revision: str, target: str, service: str) -> None:
        """Say which revision new requests meet; labels of one long gone are dropped."""
        self._service.clear()
        self._service.labels(service).set(1)
        self._revision.clear()
        self._revision.labels(revision, target).set(1)
        self._revisions = [known for known in self._revisions if known != revision] + [revision]
        while len(self._revisions) > _MOST_REVISIONS:
            self._answered.remove(self._revisions.pop(0))
        self._answered.labels(revision)

    def revision_answered(self, revision: str, count: int) -> None:
        """Count requests answered by a revision."""
        if revision in self._revisions:
            self._answered.labels(revision).inc(count)

    def reload_ended(self, outcome: str) -> None:
        """Count a reload."""
        self._reloads.labels(outcome).inc()

    def task_ended(self, api: str, status: str) -> None:
        """Count a task that reached a final status."""
        self._tasks.labels(api, status).inc()

    def render(self) -> bytes:
        """Return everything in the Prometheus text format."""
        return generate_latest(self._registry)

    def _histogram(
        self,
        name: str,
        documentation: str,
        labels: tuple[str, ...],
        bounds: tuple[float, ...] = _SECONDS,
    ) -> Histograms:
        histograms = Histograms(name, documentation, labels, bounds)
        self._registry.register(histograms)
        return histograms
