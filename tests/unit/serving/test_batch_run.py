"""One message of calls on a real dataplane: as if each had been alone."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dosirak
from dosirak.errors import InvalidInput, ResultError
from dosirak.payload.batching import rows
from dosirak.payload.wire import Arguments, WireRequest, WireResponse
from dosirak.serving.batch_run import BatchedCall, BatchRun, grouped
from dosirak.serving.dataplane import Dataplane
from dosirak.spec.context import Context


@dosirak.service(resources=dosirak.Resources(threads=2))
class Demo:
    def __init__(self) -> None:
        self.seen: list[int] = []
        self.gate = threading.Event()

    @dosirak.api(batchable=True, max_batch_size=4)
    def joined(self, values: list[int]) -> list[str]:
        self.seen.append(len(values))
        if 13 in values:
            raise InvalidInput("13 is refused.")
        if 14 in values:
            raise RuntimeError("a secret")
        return [f"<{value}>" for value in values]

    @dosirak.api(batchable=True, max_batch_size=4, idempotent=False)
    def once(self, values: list[int]) -> list[int]:
        self.seen.append(len(values))
        if 13 in values:
            raise InvalidInput("13 is refused.")
        return values

    @dosirak.api(batchable=True)
    def arrays(self, rows: np.ndarray) -> np.ndarray:
        return rows.sum(axis=1)

    @dosirak.api(batchable=True)
    def misfit(self, values: list[int]) -> list[int]:
        self.seen.append(len(values))
        return [sum(values)]

    @dosirak.api(batchable=True)
    def scalar(self, values: np.ndarray) -> np.ndarray:
        return values.sum()

    @dosirak.api(batchable=True)
    def labelled(self, values: np.ndarray, labels: list[str] | None = None) -> np.ndarray:
        return values

    @dosirak.api(batchable=True)
    def contextual(self, values: list[int], context: dosirak.Context) -> list[int]:
        return values

    @dosirak.api(batchable=True, max_batch_size=8, allowed_batch_sizes=(4, 8))
    def sized(self, values: list[int]) -> list[int]:
        self.seen.append(len(values))
        if 13 in values:
            raise InvalidInput("13 is refused.")
        return [value * 2 for value in values]

    @dosirak.api(batchable=True, max_batch_size=8, length_buckets=(4, 8), pad_value=-1)
    def tokens(self, ids: Annotated[np.ndarray, dosirak.DType("int64")]) -> np.ndarray:
        self.seen.append(ids.shape)
        return ids * 2

    @dosirak.api(batchable=True, allowed_batch_sizes=(4, 100), batch_dimension=1)
    def columns(self, x: np.ndarray) -> np.ndarray:
        self.seen.append(x.shape)
        return x

    @dosirak.api
    def plain(self, value: int, seconds: float = 0.0) -> int:
        self.seen.append(value)
        time.sleep(seconds)
        return value


Outcome = tuple[int, Any]


def _messages(
    api: str, *messages: Sequence[Any], within_s: float | None = None
) -> tuple[list[list[Outcome]], list[int], list[tuple[int, bool]]]:
    """Run messages one after the other; return the outcomes, what was seen, and what was sent."""

    async def run() -> Any:
        dataplane = Dataplane(Demo.spec, {})
        await dataplane.start()
        sent: list[tuple[int, bool]] = []
        try:
            outcomes = [await _run(dataplane, api, bodies, sent, within_s) for bodies in messages]
            return outcomes, list(dataplane._instance.seen), sent
        finally:
            await dataplane.stop()

    return asyncio.run(run())


async def _run(
    dataplane: Dataplane,
    api: str,
    bodies: Sequence[Any],
    sent: list[tuple[int, bool]],
    within_s: float | None,
) -> list[Outcome]:
    due_s = None if within_s is None else time.monotonic() + within_s
    calls = [
        BatchedCall(
            index,
            WireRequest(body if isinstance(body, bytes) else json.dumps(body).encode()),
            Context(request_id=f"r{index}", deadline_s=due_s),
        )
        for index, body in enumerate(bodies)
    ]
    ended = asyncio.Event()
    outcomes: dict[int, Outcome] = {}

    def sink(_run: BatchRun, answered: Sequence[BatchedCall], *, done: bool) -> None:
        sent.append((len(answered), done))
        outcomes.update({call.index: _outcome(call.outcome) for call in answered})
        if done:
            ended.set()

    dataplane.run(api, calls, sink)
    async with asyncio.timeout(20):
        await ended.wait()
    return [outcomes[index] for index in range(len(calls))]


def _outcome(response: WireResponse | None) -> Outcome:
    assert response is not None
    return response.status, response.body


def _alone(api: str, body: Any) -> Outcome:
    outcomes, _, _ = _messages(api, [body])
    return outcomes[0][0]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([1, 2, 3, 13, 14]), max_size=6).map(lambda v: {"values": v})
        | st.sampled_from([b"{", b"", b'{"values": ["x"]}']),
        min_size=1,
        max_size=8,
    )
)
def test_every_answer_is_byte_for_byte_as_if_it_had_been_alone(bodies):
    outcomes, _, sent = _messages("joined", bodies)
    for index, (body, outcome) in enumerate(zip(bodies, outcomes[0], strict=True)):
        status, alone = _alone("joined", body)
        assert outcome == (status, bytes(alone).replace(b'"r0"', b'"r%d"' % index))
    assert sum(count for count, _ in sent) == len(bodies)


def test_rows_are_joined_up_to_the_bound_and_a_request_is_never_split():
    bodies = [{"values": [1] * count} for count in (1, 2, 1, 3, 3, 9, 1)]
    outcomes, seen, _ = _messages("joined", bodies)
    assert [status for status, _ in outcomes[0]] == [200] * 7
    assert seen == [4, 3, 3, 9, 1]


def test_what_does_not_fit_together_is_called_apart():
    bodies = [{"rows": [[1.0, 2.0]]}, {"rows": [[1.0, 2.0, 3.0]]}, {"rows": [[3.0, 4.0]]}]
    outcomes, _, _ = _messages("arrays", bodies)
    assert [json.loads(bytes(body)) for _, body in outcomes[0]] == [[3.0], [6.0], [7.0]]


def test_a_call_with_effects_is_not_repeated():
    outcomes, seen, _ = _messages("once", [{"values": [1]}, {"values": [13]}])
    assert [status for status, _ in outcomes[0]] == [400, 400]
    assert seen == [2]


def test_joining_is_given_up_where_results_have_no_rows(caplog):
    messages = [[{"values": [1]}, {"values": [2]}]] * 5
    outcomes, seen, _ = _messages("misfit", *messages)
    assert all(message == [(200, b"[1]"), (200, b"[2]")] for message in outcomes)
    assert seen == [2, 1, 1] * 3 + [1, 1] * 2
    assert "not joined any more" in caplog.text


@pytest.mark.parametrize("count", [0, 2, 3])
def test_a_lone_call_returns_as_many_rows_as_it_is_given(count):
    outcomes, _, _ = _messages("misfit", [{"values": [1] * count}])
    ((status, body),) = outcomes[0]
    assert (status, json.loads(body)["code"]) == (500, "result_error")
    with Demo.test_client() as client, pytest.raises(ResultError, match=f"1 rows for {count}"):
        client.misfit(values=[1] * count)


def test_a_lone_call_is_checked_when_joining_was_given_up():
    messages = [[{"values": [1]}, {"values": [2]}]] * 3
    outcomes, _, _ = _messages("misfit", *messages, [{"values": [1, 2]}])
    assert [status for status, _ in outcomes[-1]] == [500]


@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("scalar", {"values": [1.0]}),
        ("labelled", {"values": [1.0], "labels": ["a", "b"]}),
        ("labelled", {"values": [1.0, 2.0], "labels": None}),
        ("contextual", {"values": [1, 2]}),
    ],
)
def test_what_has_no_rows_to_count_or_options_with_others_goes_on(api, body):
    outcomes, _, _ = _messages(api, [body])
    assert [status for status, _ in outcomes[0]] == [200]


def test_finished_answers_do_not_wait_for_a_slow_one():
    bodies = [{"value": 1}, {"value": 2, "seconds": 0.3}, {"value": 3}]
    outcomes, _, sent = _messages("plain", bodies)
    assert [body for _, body in outcomes[0]] == [b"1", b"2", b"3"]
    assert sent[-1] == (1, True)
    assert sum(count for count, done in sent if not done) == 2


def test_a_call_that_is_late_is_answered_and_one_that_has_not_begun_never_runs():
    bodies = [{"value": number, "seconds": 0.4} for number in range(5)]
    outcomes, seen, _ = _messages("plain", bodies, within_s=0.1)
    assert [status for status, _ in outcomes[0]] == [504] * 5
    assert len(seen) == 2


def test_what_is_withdrawn_before_it_begins_never_runs():
    async def run() -> list[int]:
        dataplane = Dataplane(Demo.spec, {})
        await dataplane.start()
        try:
            calls = [
                BatchedCall(n, WireRequest(b'{"value": %d, "seconds": 0.2}' % n), Context())
                for n in range(4)
            ]
            ended = asyncio.Event()
            run = dataplane.run("plain", calls, lambda *_a, done: ended.set() if done else None)
            for index in (2, 3):
                run.withdraw(index)
            async with asyncio.timeout(20):
                await ended.wait()
            return sorted(dataplane._instance.seen)
        finally:
            await dataplane.stop()

    assert asyncio.run(run()) == [0, 1]


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=30), st.integers(1, 10))
def test_groups_hold_every_request_once_in_order_and_within_bounds(requests, most):
    entries = [
        (
            BatchedCall(index, WireRequest(), Context()),
            Arguments((np.zeros((count, 3 if wide else 2)),)),
        )
        for index, (count, wide) in enumerate(requests)
    ]
    for call, arguments in entries:
        call.rows = rows(arguments)
    groups = grouped(entries, most, 0)
    indexes = [call.index for group in groups for call, _ in group]
    assert sorted(indexes) == list(range(len(requests)))
    for group in groups:
        assert len({arguments.args[0].shape[1] for _, arguments in group}) <= 1
        assert [call.index for call, _ in group] == sorted(call.index for call, _ in group)
        assert len(group) <= 1 or sum(rows(arguments) for _, arguments in group) <= most


@pytest.mark.parametrize("sizes", [[1], [-1, 2], [3]])
def test_sizes_that_do_not_fit_the_body_are_broken(sizes):
    from dosirak.serving.messages import BrokenFrame, cut

    with pytest.raises(BrokenFrame):
        cut(b"ab", sizes)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
@settings(max_examples=15, deadline=None)
def test_a_call_has_one_of_the_allowed_sizes_and_answers_are_as_without(sizes):
    bodies = [{"values": list(range(size))} for size in sizes]
    outcomes, seen, _ = _messages("sized", bodies)
    assert [json.loads(body) for _, body in outcomes[0]] == [
        [2 * n for n in range(size)] for size in sizes
    ]
    assert set(seen) <= {4, 8}


def test_one_that_is_refused_is_refused_alone_at_an_allowed_size():
    outcomes, seen, _ = _messages("sized", [{"values": [1]}, {"values": [13]}, {"values": [2]}])
    assert [status for status, _ in outcomes[0]] == [200, 400, 200]
    assert set(seen) == {4}


def test_requests_of_different_lengths_are_joined_in_a_bucket_and_cut_again():
    bodies = [{"ids": [[1, 2, 3]]}, {"ids": [[4], [5]]}, {"ids": [[1] * 6]}]
    outcomes, seen, _ = _messages("tokens", bodies)
    answers = [json.loads(body) for _, body in outcomes[0]]
    assert answers == [[[2, 4, 6]], [[8], [10]], [[2] * 6]]
    assert sorted(seen) == [(1, 8), (3, 4)]


@pytest.mark.parametrize("value", [7, [1, 2], []])
def test_an_array_without_the_batch_dimension_is_the_callers_fault(value):
    outcomes, seen, _ = _messages("columns", [{"x": [[1, 2], [3, 4]]}, {"x": value}])
    (status, body), (bad_status, bad_body) = outcomes[0]
    assert (status, json.loads(body)) == (200, [[1, 2], [3, 4]])
    problem = json.loads(bad_body)
    assert (bad_status, problem["fields"][0]["field"]) == (400, "x")
    assert seen == [(2, 4)]


def test_what_is_large_is_read_and_written_beside_the_call_that_runs():
    """Each waits for the other to have begun: one after the other they would never end."""
    events: list[str] = []
    read_second, called_second = threading.Event(), threading.Event()

    @dosirak.service(resources=dosirak.Resources(threads=1))
    class Large:
        @dosirak.api(batchable=True)
        def double(self, values: list[int]) -> list[int]:
            events.append(f"call {values[0]}")
            if values[0] == 1:
                assert read_second.wait(20)
            elif values[0] == 2:
                called_second.set()
            events.append(f"called {values[0]}")
            return [2 * value for value in values]

    class Watched:
        """The api's own codec, which tells when it is used."""

        def __init__(self, codec: Any) -> None:
            self._codec = codec

        def __getattr__(self, name: str) -> Any:
            return getattr(self._codec, name)

        def decode(self, request: WireRequest) -> Arguments:
            arguments = self._codec.decode(request)
            if arguments.kwargs["values"][0] == 2:
                read_second.set()
            return arguments

        def encode(self, result: Any, request: WireRequest) -> WireResponse:
            if result[0] == 2:
                assert called_second.wait(20)
            events.append(f"write {result[0]}")
            return self._codec.encode(result, request)

    spec = Large.spec
    api = replace(spec.apis[0], codec=Watched(spec.apis[0].codec))

    async def run() -> None:
        dataplane = Dataplane(replace(spec, apis=(api,)), {})
        await dataplane.start()
        bound = dataplane._bound("double")
        for _ in range(10):
            bound.overlap.note(0.1, 0.1, 0.1)
        sent: list[tuple[int, bool]] = []
        bodies = [[{"values": [value]}, {"values": [value]}] for value in (1, 2)]
        first = asyncio.create_task(_run(dataplane, "double", bodies[0], sent, None))
        async with asyncio.timeout(20):
            while "call 1" not in events:  # noqa: ASYNC110 - a thread appends to it
                await asyncio.sleep(0.001)
        second = asyncio.create_task(_run(dataplane, "double", bodies[1], sent, None))
        answers = await first + await second
        await dataplane.stop()
        assert [json.loads(body) for _, body in answers] == [[2], [2], [4], [4]]

    asyncio.run(run())
    assert events.index("call 2") < events.index("write 2")


def test_what_was_read_ahead_and_waits_past_its_deadline_is_late_and_hangs_nobody():
    hung: list[str] = []

    async def run() -> None:
        dataplane = Dataplane(
            Gated.spec, {}, on_hang=hung.append, hang_grace_s=0.001, timeout_s=0.001
        )
        await dataplane.start()
        gate = dataplane._instance.gate
        for _ in range(10):
            dataplane._bound("hold").overlap.note(0.1, 0.1, 0.1)
        sent: list[tuple[int, bool]] = []
        first = asyncio.create_task(_run(dataplane, "hold", [{"values": [1]}], sent, None))
        async with asyncio.timeout(20):
            while not dataplane._instance.seen:  # noqa: ASYNC110 - a thread appends to it
                await asyncio.sleep(0.001)
        late = [{"values": [2]}, {"values": [3]}]
        answers = await _run(dataplane, "hold", late, sent, 0.05)
        gate.set()
        answers += await first
        assert [status for status, _ in answers] == [504, 504, 200]
        assert dataplane._instance.seen == [[1]]
        await dataplane.stop()

    asyncio.run(run())
    assert hung == []


@dosirak.service(resources=dosirak.Resources(threads=1))
class Gated:
    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.gate = threading.Event()

    @dosirak.api(batchable=True)
    def hold(self, values: list[int]) -> list[int]:
        self.seen.append(values)
        assert self.gate.wait(20)
        return values
