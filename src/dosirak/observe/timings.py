"""Where the time of one call went."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class CallTimings:
    """Filled in by the dataplane while a call runs; seconds.

    Attributes:
        queue_s: waiting for a thread of the worker.
        compute_s: decoding, the handler and encoding (until the first item, for a stream).
    """

    queue_s: float = 0.0
    compute_s: float = 0.0
