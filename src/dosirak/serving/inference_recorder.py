"""From a worker's calls to its inference log: which are kept, and what of them.

Bodies are handed over as they travelled. A sampled one is copied where it is a part of a message,
so that it does not keep all of the message in memory.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from dosirak.observe.inference_log import Inference, InferenceLog
from dosirak.observe.traces import TRACEPARENT, trace_id_of
from dosirak.payload.wire import Body, WireResponse, WireStream
from dosirak.serving.batch_run import BatchedCall
from dosirak.serving.messages import Call


class InferenceRecorder:
    """Picks the sample; its log is started with it.

    Attributes:
        log: where entries go.
    """

    def __init__(self, log: InferenceLog) -> None:
        self.log = log
        log.start()

    def take_batch(self, api: str, answered: Sequence[BatchedCall], arrived_s: float) -> None:
        """Keep a sample of the requests of a message that were answered."""
        for call in answered:
            outcome = call.outcome
            if outcome is None or not self.log.wants():
                continue
            request = call.request
            self.log.take(
                Inference(
                    api=api,
                    request_id=call.context.request_id,
                    trace_id=trace_id_of(request.headers.get(TRACEPARENT, "")),
                    status=outcome.status,
                    latency_s=time.monotonic() - arrived_s,
                    request_type=request.content_type,
                    request=bytes(request.body),
                    answer_type=outcome.content_type,
                    answer=bytes(outcome.body),
                )
            )

    def take(
        self, call: Call, body: Body, answer: WireResponse | WireStream, arrived_s: float
    ) -> None:
        """Keep a call that travelled alone, if it is one of the sample."""
        if not self.log.wants():
            return
        self.log.take(
            Inference(
                api=call.api,
                request_id=call.request_id,
                trace_id=trace_id_of(call.headers.get(TRACEPARENT, "")),
                status=answer.status,
                latency_s=time.monotonic() - arrived_s,
                request_type=call.content_type,
                request=bytes(body),
                answer_type=answer.content_type,
                answer=bytes(answer.body) if isinstance(answer, WireResponse) else None,
            )
        )
