"""A batch between its message and its calls, on the worker's side. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dosirak.payload.wire import Body, WireRequest, WireResponse
from dosirak.serving.batch_run import BatchedCall, BatchRun
from dosirak.serving.messages import AnswerBatch, AnswerHead, BrokenFrame, CallBatch, cut
from dosirak.spec.context import Context


def calls_of(batch: CallBatch, body: Body, state: dict[str, Any]) -> list[BatchedCall]:
    """Return the calls of a message.

    Args:
        batch: the message.
        body: its body.
        state: what all contexts of the instance share.

    Raises:
        BrokenFrame: its parts do not fit each other.
    """
    head_of = batch.head_of or [0] * len(batch.sizes)
    if not len(head_of) == len(batch.sizes) == len(batch.request_ids) == len(batch.deadlines_s):
        raise BrokenFrame("the columns of a batch differ in length")
    if head_of and not 0 <= min(head_of) <= max(head_of) < len(batch.heads):
        raise BrokenFrame("a batch names a head that it does not have")
    calls: list[BatchedCall] = []
    columns = zip(
        cut(body, batch.sizes), head_of, batch.request_ids, batch.deadlines_s, strict=True
    )
    for index, (part, at, request_id, deadline_s) in enumerate(columns):
        head = batch.heads[at]
        headers = head.headers
        request = WireRequest(
            part, head.content_type, head.accept, headers, head.query, head.method
        )
        context = Context(request_id, headers, state, 200, {}, deadline_s)
        calls.append(BatchedCall(index, request, context))
    return calls


def answers_of(
    batch_id: int, run: BatchRun, answered: Sequence[BatchedCall], *, done: bool
) -> tuple[AnswerBatch, list[Body], int]:
    """Return the message for these answers, their bodies, and the bytes of all."""
    heads: dict[tuple[int, str, tuple[tuple[str, str], ...]], int] = {}
    outcomes = [call.outcome for call in answered if call.outcome is not None]
    head_of = [heads.setdefault(_head_of(outcome), len(heads)) for outcome in outcomes]
    bodies = [outcome.body for outcome in outcomes]
    sizes = [len(body) for body in bodies]
    whole = len(answered) == len(run.calls)
    message = AnswerBatch(
        batch_id,
        [] if whole else [call.index for call in answered],
        [AnswerHead(*head) for head in heads],
        head_of if len(heads) > 1 else [],
        sizes,
        run.rows,
        run.handler_calls,
        run.queue_s,
        run.compute_s,
        done,
        run.began_s,
        *run.spent_s(),
        run.ahead_s,
    )
    return message, bodies, sum(sizes)


def _head_of(outcome: WireResponse) -> tuple[int, str, tuple[tuple[str, str], ...]]:
    return outcome.status, outcome.content_type, outcome.headers
