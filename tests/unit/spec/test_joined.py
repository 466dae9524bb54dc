"""Steps of many callers in one call: who joins, who leaves, who fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable
from contextvars import ContextVar
from typing import Any

import pytest

import dosirak
from dosirak.errors import InvalidService, ResultError
from dosirak.spec.joined import lend_threads

whose: ContextVar[str] = ContextVar("whose", default="nobody")


class Engine:
    def __init__(self) -> None:
        self.steps: list[list[Any]] = []
        self.seen: list[str] = []
        self.threads: list[str] = []

    @dosirak.joined(max_batch_size=3)
    def step(self, values: list[int]) -> list[Any]:
        """Add one."""
        self.steps.append(values)
        self.seen.append(whose.get())
        self.threads.append(threading.current_thread().name)
        if 13 in values:
            raise ValueError("13")
        if 14 in values:
            raise StopIteration
        return [KeyError("7") if value == 7 else value + 1 for value in values]

    @dosirak.joined(idempotent=False)
    async def once(self, values: list[int]) -> list[int]:
        self.steps.append(values)
        if 13 in values:
            raise ValueError("13")
        return values[:-1] if 5 in values else values

    @dosirak.joined
    def plus_two(self, values: list[int]) -> list[int]:
        self.steps.append(values)
        return [value + 2 for value in values]

    async def count(self, start: int, length: int) -> AsyncIterator[int]:
        value = start
        for _ in range(length):
            value = await self.step(value)
            yield value


async def collected(items: AsyncIterator[int]) -> list[int]:
    return [item async for item in items]


def together(*awaitables: Awaitable[Any]) -> list[Any]:
    async def main() -> list[Any]:
        async with asyncio.timeout(20):
            return await asyncio.gather(*awaitables, return_exceptions=True)

    return asyncio.run(main())


def test_streams_of_different_length_share_their_steps():
    engine = Engine()
    counts = [engine.count(start, length) for start, length in ((0, 2), (100, 5), (200, 3))]
    assert together(*map(collected, counts)) == [
        [1, 2],
        [101, 102, 103, 104, 105],
        [201, 202, 203],
    ]
    assert [len(values) for values in engine.steps] == [3, 3, 2, 1, 1]


def test_it_can_be_written_without_parentheses():
    engine = Engine()
    assert together(engine.plus_two(1), engine.plus_two(2)) == [3, 4]
    assert engine.steps == [[1, 2]]


def test_no_more_than_the_bound_take_part_and_the_next_in_line_follows_one_that_ends():
    engine = Engine()
    counts = [engine.count(100 * number, 2 + number) for number in range(5)]
    together(*map(collected, counts))
    sets = [{value // 100 for value in values} for values in engine.steps]
    assert sets[:3] == [{0, 1, 2}, {0, 1, 2}, {1, 2, 3}]
    assert max(map(len, sets)) == 3
    # Who has a place keeps it to its end.
    for number in range(5):
        steps = [at for at, members in enumerate(sets) if number in members]
        assert steps == list(range(steps[0], steps[0] + 2 + number))


def test_one_that_comes_while_others_run_joins_the_next_step():
    engine = Engine()

    async def late() -> list[int]:
        while len(engine.steps) < 2:  # noqa: ASYNC110 - a thread appends to it
            await asyncio.sleep(0)
        return await collected(engine.count(500, 2))

    assert together(collected(engine.count(0, 400)), late())[1] == [501, 502]
    assert 2 in map(len, engine.steps)


def test_one_that_fails_or_is_cancelled_leaves_and_the_rest_go_on():
    engine = Engine()

    async def cancelled() -> None:
        task = asyncio.create_task(collected(engine.count(1000, 10**9)))
        while not engine.steps:  # noqa: ASYNC110 - a thread appends to it
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    outcomes = together(collected(engine.count(11, 5)), collected(engine.count(5, 5)), cancelled())
    assert isinstance(outcomes[0], ValueError)
    assert isinstance(outcomes[1], KeyError)
    assert outcomes[2] is None
    assert together(collected(engine.count(20, 2)), collected(engine.count(14, 1)))[0] == [21, 22]


def test_a_method_with_effects_is_called_once_and_its_error_is_everybodys():
    engine = Engine()
    assert [type(one) for one in together(engine.once(13), engine.once(1))] == [ValueError] * 2
    assert [type(one) for one in together(engine.once(5), engine.once(1))] == [ResultError] * 2
    assert together(engine.once(3), engine.once(4)) == [3, 4]
    assert engine.steps == [[13, 1], [5, 1], [3, 4]]


def test_a_step_is_nobodys_own():
    engine = Engine()

    async def call(name: str) -> int:
        whose.set(name)
        return await engine.step(1)

    assert together(call("a"), call("b")) == [2, 2]
    assert engine.seen == ["nobody"]


def test_it_runs_on_the_threads_that_are_lent():
    from dosirak.serving.handler_threads import HandlerThreads

    engine, threads = Engine(), HandlerThreads(1, "lent")
    lend_threads(engine, threads)
    assert together(engine.step(1)) == [2]
    assert engine.threads == ["lent_0"]
    threads.shutdown()


def test_a_size_of_nothing_is_refused():
    with pytest.raises(InvalidService, match="max_batch_size"):
        dosirak.joined(max_batch_size=0)
