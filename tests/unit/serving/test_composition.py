"""A service with what it depends on, served in one process."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

import dosirak
from dosirak.errors import DosirakError, InvalidInput, ServiceError
from dosirak.payload.wire import WireRequest
from dosirak.serving.composition import compose
from dosirak.spec.context import Context

ORDER: list[str] = []


@dosirak.service
class Lowest:
    @dosirak.on_start
    def begin(self, context: dosirak.Context) -> None:
        context.state["ready"] = True
        ORDER.append("lowest starts")

    @dosirak.on_stop
    async def end(self) -> None:
        ORDER.append("lowest stops")

    @dosirak.api
    def tell(self, context: dosirak.Context) -> list[str]:
        return [context.request_id, str(context.state["ready"]), context.headers["traceparent"]]

    @dosirak.api
    def refuse(self, value: int) -> int:
        raise InvalidInput(f"{value} is refused.", remedy="Give up.")


@dosirak.service
class Middle:
    lowest = dosirak.depends(Lowest)

    @dosirak.on_start
    def begin(self) -> None:
        ORDER.append("middle starts")

    @dosirak.on_stop
    def end(self) -> None:
        # What it depends on still answers.
        with pytest.raises(InvalidInput):
            self.lowest.refuse(1)
        ORDER.append("middle stops")

    @dosirak.api
    async def tell(self) -> list[str]:
        return await self.lowest.to_async.tell()


@dosirak.service
class Top:
    middle = dosirak.depends(Middle, workers=2)  # no servers here: in this process, too
    lowest = dosirak.depends(Lowest)

    @dosirak.on_start
    def begin(self) -> None:
        ORDER.append("top starts")

    @dosirak.api
    def tell(self) -> list[str]:
        return self.middle.tell()

    @dosirak.api
    async def tell_both(self) -> list[list[str]]:
        return await asyncio.gather(self.middle.to_async.tell(), self.lowest.to_async.tell())

    @dosirak.api
    async def blocks(self) -> list[str]:
        return self.middle.tell()

    @dosirak.api
    def refuse(self, value: int) -> int:
        return self.lowest.refuse(value)

    @dosirak.api(batchable=True, max_batch_size=8)
    def lengths(self, words: list[str]) -> list[int]:
        self.middle.tell()
        return [len(word) for word in words]


@pytest.mark.timeout(60)
def test_two_levels_start_below_first_answer_and_stop_above_first() -> None:
    ORDER.clear()
    headers = {"traceparent": "00-12345678901234567890123456789012-1234567890123456-01"}
    with Top.test_client() as client:
        assert ORDER == ["lowest starts", "middle starts", "top starts"]
        client._session.headers.update({**headers, "x-request-id": "r-1"})
        expected = ["r-1", "True", headers["traceparent"]]
        assert client.tell() == expected
        assert client.tell_both() == [expected, expected]
        assert client.lengths(words=["a", "bb"]) == [1, 2]
        with pytest.raises(InvalidInput, match="7 is refused"):
            client.refuse(value=7)
        # On the loop it would wait for itself; the author is told, the caller is not.
        with pytest.raises(ServiceError, match="'blocks' failed"):
            client.blocks()
    assert ORDER[3:] == ["middle stops", "lowest stops"]


def test_a_dependency_that_does_not_start_is_said_and_the_others_are_stopped() -> None:
    @dosirak.service
    class Broken:
        lowest = dosirak.depends(Lowest)

        def __init__(self) -> None:
            raise OSError("no disk")

        @dosirak.api
        def one(self) -> int:
            return os.getpid()

    @dosirak.service
    class Needing:
        broken = dosirak.depends(Broken)

        @dosirak.api
        def one(self) -> int:
            return self.broken.one()

    ORDER.clear()
    with pytest.raises(DosirakError, match="'broken' raised OSError"), Needing.test_client():
        pass
    assert ORDER == ["lowest starts", "lowest stops"]


def test_a_dependency_that_hangs_for_an_async_caller_is_reported() -> None:
    @dosirak.service
    class Slow:
        @dosirak.api
        def block(self) -> int:
            time.sleep(0.6)
            return 1

    @dosirak.service
    class Waiting:
        slow = dosirak.depends(Slow)

        @dosirak.api
        async def ask(self) -> int:
            return await self.slow.to_async.block()

    async def run(allowed_s: float) -> tuple[int, list[str]]:
        hung: list[str] = []
        dataplane = compose(
            Waiting.spec, {}, on_hang=hung.append, hang_grace_s=0.1, timeout_s=allowed_s
        )
        await dataplane.start()
        try:
            context = Context(deadline_s=time.monotonic() + allowed_s)
            answer = await dataplane.call("ask", WireRequest(b"{}", "application/json"), context)
            await asyncio.sleep(0.4)
        finally:
            await dataplane.stop()
        return answer.status, hung

    assert asyncio.run(run(0.1)) == (504, ["block"])
    assert asyncio.run(run(30.0)) == (200, [])
