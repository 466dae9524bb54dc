"""Async handlers in batches: joined, side by side, each caller with its own answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import dosirak
from dosirak.errors import InvalidInput, InvalidService
from dosirak.payload.wire import WireRequest
from dosirak.serving.batch_run import BatchedCall, BatchRun
from dosirak.serving.calls import ApiDescription
from dosirak.serving.dataplane import Dataplane
from dosirak.spec.context import Context


@dosirak.service
class Remote:
    def __init__(self) -> None:
        self.seen: list[int] = []
        self.running = self.most = 0
        self.cancelled = 0
        self.gate = asyncio.Event()

    @dosirak.api(batchable=True, max_batch_size=4, concurrency=2)
    async def double(self, values: list[int]) -> list[int]:
        self.seen.append(len(values))
        if 13 in values:
            raise InvalidInput("13 is refused.")
        if 14 in values:
            raise asyncio.CancelledError
        return [2 * value for value in values]

    @dosirak.api(batchable=True, concurrency=2)
    async def hold(self, values: list[int]) -> list[int]:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return values

    @dosirak.api(batchable=True, max_batch_size=8, allowed_batch_sizes=(8,))
    async def sized(self, values: list[int]) -> list[int]:
        self.seen.append(len(values))
        return values

    @dosirak.api(batchable=True)
    async def short(self, values: list[int]) -> list[int]:
        return values[:-1]

    @dosirak.api(batchable=True)
    async def own(self, values: list[int], context: dosirak.Context) -> list[str]:
        return [context.request_id for _ in values]


class Message:
    """One message, and what came of it."""

    def __init__(self, dataplane: Dataplane, api: str, bodies: Sequence[Any]) -> None:
        calls = [
            BatchedCall(index, WireRequest(json.dumps(body).encode()), Context(f"r{index}"))
            for index, body in enumerate(bodies)
        ]
        self._ended = asyncio.Event()
        self._outcomes: dict[int, tuple[int, Any]] = {}
        self.run = dataplane.run(api, calls, self._sink)

    def _sink(self, _run: BatchRun, answered: Sequence[BatchedCall], *, done: bool) -> None:
        for call in answered:
            assert call.outcome is not None
            self._outcomes[call.index] = call.outcome.status, json.loads(call.outcome.body)
        if done:
            self._ended.set()

    async def outcomes(self) -> list[tuple[int, Any]]:
        async with asyncio.timeout(20):
            await self._ended.wait()
        return [outcome for _, outcome in sorted(self._outcomes.items())]


def on_dataplane(scenario: Callable[[Dataplane, Any], Any]) -> Any:
    async def main() -> Any:
        dataplane = Dataplane(Remote.spec, {})
        await dataplane.start()
        try:
            return await scenario(dataplane, dataplane._instance)
        finally:
            await dataplane.stop()

    return asyncio.run(main())


def rows(*values: int) -> list[dict[str, list[int]]]:
    return [{"values": [value]} for value in values]


def test_they_travel_in_messages_with_places_of_their_own_unless_they_take_a_context():
    described = {api.name: ApiDescription.of(api) for api in Remote.spec.apis}
    assert (described["double"].runs, described["double"].places) == ("joined", 2)
    assert (described["sized"].runs, described["sized"].places) == ("joined", 4)
    assert described["own"].runs == "alone"


@pytest.mark.parametrize("size", [1, 100_000])
def test_requests_are_joined_within_bounds_and_each_has_its_own_answer(size):
    async def scenario(dataplane: Dataplane, instance: Any) -> None:
        bodies = [{"values": [value]} for value in range(6)] + [{"values": [7] * size}]
        outcomes = await Message(dataplane, "double", bodies).outcomes()
        assert outcomes == [(200, [2 * value]) for value in range(6)] + [(200, [14] * size)]
        assert max(instance.seen[:2]) == 4
        await Message(dataplane, "sized", rows(1, 2)).outcomes()
        await Message(dataplane, "sized", rows(1)).outcomes()
        assert instance.seen[-2:] == [8, 8]

    on_dataplane(scenario)


def test_a_lone_call_returns_as_many_rows_as_it_is_given():
    async def scenario(dataplane: Dataplane, _instance: Any) -> None:
        ((status, error),) = await Message(dataplane, "short", rows(1)).outcomes()
        assert (status, error["code"]) == (500, "result_error")

    on_dataplane(scenario)


def test_a_bad_item_fails_alone_whatever_it_raises_or_lacks():
    async def scenario(dataplane: Dataplane, _instance: Any) -> None:
        bodies = [*rows(1, 13, 14), {"values": "x"}, *rows(2)]
        outcomes = await Message(dataplane, "double", bodies).outcomes()
        assert [status for status, _ in outcomes] == [200, 400, 500, 400, 200]
        assert outcomes[1][1]["error"] == "13 is refused."
        assert (outcomes[0][1], outcomes[4][1]) == ([2], [4])

    on_dataplane(scenario)


def test_as_many_are_under_way_as_the_api_says_and_no_more():
    async def scenario(dataplane: Dataplane, instance: Any) -> None:
        messages = [Message(dataplane, "hold", rows(number)) for number in range(5)]
        async with asyncio.timeout(20):
            while instance.running < 2:  # noqa: ASYNC110
                await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert instance.running == 2
        instance.gate.set()
        assert [await one.outcomes() for one in messages] == [[(200, [n])] for n in range(5)]
        assert instance.most == 2

    on_dataplane(scenario)


def test_a_handler_that_nobody_waits_for_is_cancelled_and_its_place_is_free():
    async def scenario(dataplane: Dataplane, instance: Any) -> None:
        messages = [Message(dataplane, "hold", rows(number, number)) for number in range(4)]
        while instance.running < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        messages[0].run.withdraw(0)
        await asyncio.sleep(0)
        assert instance.cancelled == 0
        messages[0].run.withdraw(1)
        messages[3].run.withdraw(0)
        messages[3].run.withdraw(1)
        assert await messages[0].outcomes() == await messages[3].outcomes() == []
        assert instance.cancelled == 1
        instance.gate.set()
        for at in (1, 2):
            assert await messages[at].outcomes() == [(200, [at]), (200, [at])]

    on_dataplane(scenario)


def test_concurrency_is_of_async_handlers_that_batch():
    for batchable, number in ((False, 2), (True, 0)):
        with pytest.raises(InvalidService, match="concurrency"):

            @dosirak.service
            class Wrong:
                @dosirak.api(batchable=batchable, concurrency=number)
                async def call(self, values: list[int]) -> list[int]:
                    return values

    with pytest.raises(InvalidService, match="threads"):

        @dosirak.service
        class Sync:
            @dosirak.api(batchable=True, concurrency=2)
            def call(self, values: list[int]) -> list[int]:
                return values
