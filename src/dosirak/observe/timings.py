"""Where the time of one call, or of one message of calls, went."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class CallTimings:
    """Filled in by the dataplane while a call runs; seconds.

    Attributes:
        queue_s: waiting for a thread of the worker.
        compute_s: decoding, the handler and encoding (until the first item, for a stream).
        decode_s: reading the request; of all requests of a message, added up.
        call_s: in the handler, likewise.
        encode_s: writing the answer, likewise.
        began_s: when `compute_s` began, on the clock of `time.monotonic()`; 0 when it did not.
        shared: they are those of a message, and counted with it.
    """

    queue_s: float = 0.0
    compute_s: float = 0.0
    decode_s: float = 0.0
    call_s: float = 0.0
    encode_s: float = 0.0
    began_s: float = 0.0
    shared: bool = False
