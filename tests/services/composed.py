"""Services that depend on others, in their own worker and in workers of their own."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np

import dosirak
from dosirak.errors import InvalidInput


def _mark(marker: str, text: str) -> None:
    Path(marker).write_text(text)


@dosirak.service
class Base:
    """The lowest of three."""

    @dosirak.api
    def where(self, context: dosirak.Context) -> dict[str, str]:
        return {
            "pid": str(os.getpid()),
            "request_id": context.request_id,
            "traceparent": context.headers.get("traceparent", ""),
            "authorization": context.headers.get("authorization", ""),
        }


@dosirak.service
class Worker:
    """Called by others; every kind of handler."""

    base = dosirak.depends(Base, workers=1)

    def __init__(self) -> None:
        self.sizes: list[int] = []

    @dosirak.api
    def pid(self) -> int:
        return os.getpid()

    @dosirak.api(batchable=True, max_batch_size=64)
    def twice(self, x: np.ndarray) -> np.ndarray:
        self.sizes.append(len(x))
        time.sleep(0.02)
        return x * 2

    @dosirak.api
    def batch_sizes(self) -> list[int]:
        return self.sizes

    @dosirak.api
    async def later(self, seconds: float, marker: str = "") -> float:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            if marker:
                _mark(marker, "cancelled")
            raise
        return seconds

    @dosirak.api
    def block(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    @dosirak.api
    def count(self, upto: int) -> Iterator[int]:
        yield from range(upto)

    @dosirak.api
    async def count_later(self, upto: int, fail: bool = False) -> AsyncIterator[int]:
        for number in range(upto):
            yield number
        if fail:
            raise InvalidInput("No more.", remedy="Stop.")

    @dosirak.api
    def refuse(self, value: int) -> int:
        raise InvalidInput(f"{value} is refused.", remedy="Give up.")

    @dosirak.api
    def fail(self) -> int:
        raise ValueError("inside")

    @dosirak.api
    def die_once(self, marker: str) -> int:
        return self._die(marker)

    @dosirak.api(idempotent=False)
    def die_for_good(self, marker: str) -> int:
        return self._die(marker)

    def _die(self, marker: str) -> int:
        path = Path(marker)
        if not path.exists():
            path.write_text("died")
            os._exit(3)
        return os.getpid()

    @dosirak.api
    def where(self) -> dict[str, str]:
        return self.base.where()


class Calling:
    """The apis of the callers below, wherever `worker` runs."""

    @dosirak.api
    def pids(self) -> list[int]:
        return [os.getpid(), self.worker.pid()]

    @dosirak.api
    def twice(self, x: float) -> float:
        return float(self.worker.twice(np.array([x]))[0])

    @dosirak.api
    async def twice_each(self, xs: list[float]) -> list[float]:
        calls = [self.worker.to_async.twice(np.array([x])) for x in xs]
        return [float(part[0]) for part in await asyncio.gather(*calls)]

    @dosirak.api
    def twice_by_futures(self, xs: list[float]) -> list[float]:
        begun = [self.worker.to_future.twice(np.array([x])) for x in xs]
        return [float(future.result()[0]) for future in begun]

    @dosirak.api
    def batch_sizes(self) -> list[int]:
        return self.worker.batch_sizes()

    @dosirak.api
    async def later(self, seconds: float, marker: str = "") -> float:
        return await self.worker.to_async.later(seconds, marker=marker)

    @dosirak.api
    def later_from_a_thread(self, seconds: float) -> float:
        return self.worker.later(seconds)

    @dosirak.api
    def block(self, seconds: float) -> str:
        try:
            self.worker.block(seconds)
        except dosirak.errors.DosirakError as error:
            return error.code
        return "done"

    @dosirak.api
    def counts(self, upto: int) -> list[int]:
        return [*self.worker.count(upto), *self.worker.count_later(upto)]

    @dosirak.api
    async def pass_on(self, upto: int, fail: bool = False) -> AsyncIterator[int]:
        async for item in self.worker.to_async.count(upto):
            yield item
        async for item in self.worker.to_async.count_later(upto, fail=fail):
            yield item

    @dosirak.api
    def first_of_many(self) -> int:
        return next(iter(self.worker.count(10**9)))

    @dosirak.api
    def refuse(self, value: int) -> int:
        return self.worker.refuse(value)

    @dosirak.api
    def what_fails(self) -> list[str]:
        codes = []
        for call in (self.worker.fail, lambda: self.worker.refuse(1)):
            try:
                call()
            except dosirak.errors.DosirakError as error:
                codes.append(error.code)
        return codes

    @dosirak.api
    def die_once(self, marker: str) -> int:
        return self.worker.die_once(marker)

    @dosirak.api
    def die_for_good(self, marker: str) -> str:
        try:
            self.worker.die_for_good(marker)
        except dosirak.errors.WorkerLost as error:
            return error.code
        return "answered"

    @dosirak.api
    def where(self) -> dict[str, str]:
        return self.worker.where()

    @dosirak.api
    async def blocks_the_loop(self) -> int:
        return self.worker.pid()


@dosirak.service
class Beside(Calling):
    """Its dependency in its own worker, and below that one in workers of its own."""

    worker = dosirak.depends(Worker)


@dosirak.service(resources=dosirak.Resources(threads=2))
class Apart(Calling):
    """Its dependency in one worker of its own."""

    worker = dosirak.depends(Worker, workers=1)


@dosirak.service
class ApartBroken:
    """Its dependency cannot start."""

    @dosirak.service
    class Broken:
        def __init__(self) -> None:
            raise OSError("no disk")

        @dosirak.api
        def one(self) -> int:
            return 1

    broken = dosirak.depends(Broken, workers=1)

    @dosirak.api
    def one(self) -> int:
        return self.broken.one()
