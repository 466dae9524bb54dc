"""The names of every metric, and the registry of one serving process.

Workers keep no metrics: they report the times of each call with its answer, and the front, which
sees every request, counts. So one process is scraped and no files are shared. Labels are bounded:
an api's name or `-`, and an HTTP status; never a path as it arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    ProcessCollector,
    generate_latest,
)

from dosirak.errors import DosirakError
from dosirak.observe.counts import Counts
from dosirak.observe.durations import Histograms
from dosirak.observe.error_codes import code_in
from dosirak.observe.rejections import rejection_of
from dosirak.observe.stages import SECONDS, Stages

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
NO_API = "-"

# Each revision is a label: those of a server that is reloaded every minute must not pile up.
_MOST_REVISIONS = 8


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
        self._answered = self._counts(
            "dosirak_revision_requests",
            "Requests answered by each of the last revisions.",
            ("revision",),
        )
        self._reloads = self._counts("dosirak_reloads", "Reloads by how they ended.", ("outcome",))
        self._revisions: list[str] = []
        self._duration = self._histogram(
            "dosirak_request_duration_seconds",
            "From the request's headers to the end of its answer.",
            ("api", "status"),
        )
        self.stages = Stages("dosirak", ("api",), self._registry.register)
        self.dependencies = Stages(
            "dosirak_dependency", ("service", "api"), self._registry.register
        )
        self._rejections = self._counts(
            "dosirak_rejections", "Requests refused without running.", ("api", "reason")
        )
        self._in_progress = 0
        Gauge(
            "dosirak_requests_in_progress", "Requests being answered.", registry=self._registry
        ).set_function(lambda: self._in_progress)
        self._errors = self._counts(
            "dosirak_errors", "Answers with an error, and streams that broke, by code.", ("code",)
        )
        self._retries = self._counts("dosirak_retries", "Calls repeated on another worker.", ())
        self._retries.add((), 0)
        self._restarts = self._counts(
            "dosirak_worker_restarts", "Workers replaced, by reason.", ("reason",)
        )
        self._inferences = self._counts(
            "dosirak_inference_log", "Entries of the inference log.", ("outcome",)
        )
        self._workers = Gauge(
            "dosirak_workers_ready", "Workers that can take requests.", registry=self._registry
        )
        self._tasks = self._counts(
            "dosirak_tasks", "Tasks by what became of them.", ("api", "status")
        )
        self._webhooks = self._counts(
            "dosirak_webhooks", "Attempts to tell of a task's end.", ("outcome",)
        )

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

    def error_answered(self, api: str, error: DosirakError) -> None:
        """Count an error answered by the front, and a rejection if it is one."""
        self.stream_broke(error.code)
        reason = rejection_of(error)
        if reason:
            self._rejections.add((api, reason))

    def stream_broke(self, code: str) -> None:
        """Count an error that ended a stream; `code` is one of the fixed codes in `errors`."""
        self._errors.add((code,))

    def error_passed_on(self, status: int, body: bytes | bytearray | memoryview) -> None:
        """Count an error that a worker answered."""
        self._errors.add((code_in(status, body),))

    def call_retried(self) -> None:
        """Count a call repeated on another worker."""
        self._retries.add(())

    def worker_restarted(self, reason: str) -> None:
        """Count a worker replaced; `reason` is one of a fixed few words."""
        self._restarts.add((reason,))

    def inferences_logged(self, written: int, dropped: int) -> None:
        """Count entries of the inference log."""
        self._inferences.add(("written",), written)
        self._inferences.add(("dropped",), dropped)

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
            self._answered.forget((self._revisions.pop(0),))
        self._answered.add((revision,), 0)

    def revision_answered(self, revision: str, count: int) -> None:
        """Count requests answered by a revision."""
        if revision in self._revisions:
            self._answered.add((revision,), count)

    def reload_ended(self, outcome: str) -> None:
        """Count a reload."""
        self._reloads.add((outcome,))

    def task_ended(self, api: str, status: str) -> None:
        """Count a task that reached a final status."""
        self._tasks.add((api, status))

    def webhook_sent(self, outcome: str) -> None:
        """Count an attempt to tell of a task's end; `outcome` is one of a fixed few words."""
        self._webhooks.add((outcome,))

    def render(self) -> bytes:
        """Return everything in the Prometheus text format."""
        return generate_latest(self._registry)

    def _counts(self, name: str, documentation: str, labels: tuple[str, ...]) -> Counts:
        counts = Counts(name, documentation, labels)
        self._registry.register(counts)
        return counts

    def _histogram(
        self,
        name: str,
        documentation: str,
        labels: tuple[str, ...],
        bounds: tuple[float, ...] = SECONDS,
    ) -> Histograms:
        histograms = Histograms(name, documentation, labels, bounds)
        self._registry.register(histograms)
        return histograms
