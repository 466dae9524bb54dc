"""Where the time of calls goes: one set of histograms for each place where calls are answered.

dosirak_queue_duration_seconds{api}                        the served service
dosirak_dependency_queue_duration_seconds{service, api}    those below it with their own workers
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client.registry import Collector

from dosirak.observe.counts import Counts
from dosirak.observe.durations import Histograms
from dosirak.observe.timings import CallTimings

# Half a millisecond to a minute: tiny models to large language models.
SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0,
)  # fmt: skip
_COUNTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


class Stages:
    """The stages of calls.

    Args:
        prefix: what the metrics' names begin with.
        labels: their labels.
        register: makes each known to a registry.
    """

    def __init__(
        self, prefix: str, labels: tuple[str, ...], register: Callable[[Collector], None]
    ) -> None:
        def histogram(name: str, documentation: str, bounds: Sequence[float]) -> Histograms:
            made = Histograms(f"{prefix}_{name}", documentation, labels, bounds)
            register(made)
            return made

        self._queue = histogram(
            "queue_duration_seconds",
            "From a request's arrival to a worker beginning with it, or with its message.",
            SECONDS,
        )
        self._decode = histogram(
            "decode_duration_seconds", "Reading the requests of one message.", SECONDS
        )
        self._compute = histogram(
            "compute_duration_seconds", "In the handler, for one message.", SECONDS
        )
        self._encode = histogram(
            "encode_duration_seconds", "Writing the answers of one message.", SECONDS
        )
        self._requests = histogram(
            "batch_requests", "Requests in one message to a worker.", _COUNTS
        )
        self._rows = histogram("batch_rows", "Rows in one message to a worker.", _COUNTS)
        self._handler_calls = Counts(
            f"{prefix}_handler_calls", "Calls of handlers; joined requests are one call.", labels
        )
        register(self._handler_calls)

    def call_timed(self, labels: tuple[str, ...], timings: CallTimings) -> None:
        """Record where the time of a call went that travelled alone."""
        self._queue.observe(labels, timings.queue_s)
        self._observe_work(labels, timings)
        self._handler_calls.add(labels)

    def batch_ran(
        self,
        labels: tuple[str, ...],
        queues_s: Sequence[float],
        rows: int,
        calls: int,
        timings: CallTimings,
    ) -> None:
        """Count one message answered, and where its time went.

        Args:
            labels: of the api of all its requests.
            queues_s: how long each of its requests waited.
            rows: the rows of all.
            calls: how often the handler was called for them.
            timings: of the message.
        """
        self._requests.observe(labels, len(queues_s))
        self._rows.observe(labels, rows)
        self._queue.observe_all(labels, queues_s)
        self._observe_work(labels, timings)
        self._handler_calls.add(labels, calls)

    def _observe_work(self, labels: tuple[str, ...], timings: CallTimings) -> None:
        self._decode.observe(labels, timings.decode_s)
        self._compute.observe(labels, timings.call_s)
        self._encode.observe(labels, timings.encode_s)
