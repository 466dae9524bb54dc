"""Tiny services that behave, and that misbehave in every way we promise to contain."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import dosirak
from dosirak.errors import InvalidInput


def _mark(marker: str, text: str) -> None:
    Path(marker).write_text(text)


@dosirak.service(resources=dosirak.Resources(threads=4))
class Behaving:
    """Behaves."""

    @dosirak.on_start
    def remember(self, context: dosirak.Context) -> None:
        context.state["started"] = os.getpid()

    @dosirak.api
    def started(self, context: dosirak.Context) -> int:
        """Return the process in which the start hook ran."""
        return context.state["started"]

    @dosirak.on_stop
    def say_goodbye(self) -> None:
        marker = os.environ.get("GOODBYE")
        if marker:
            Path(marker).write_text("stopped")

    @dosirak.api
    def echo(self, value: int) -> int:
        """Return the value."""
        return value

    @dosirak.api
    def wait(self, seconds: float) -> float:
        """Wait on a thread."""
        time.sleep(seconds)
        return seconds

    @dosirak.api
    async def wait_on_loop(self, seconds: float, marker: str = "") -> float:
        """Wait on the loop; write a marker when the wait was over, another when cancelled."""
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            _mark(marker, "cancelled")
            raise
        return seconds

    @dosirak.api
    def pid(self) -> int:
        """Return the worker's process id."""
        return os.getpid()

    @dosirak.api
    def refuse(self, value: int) -> int:
        """Refuse every value."""
        raise InvalidInput(f"{value} is refused.", remedy="Give up.")


@dosirak.service(resources=dosirak.Resources(threads=2))
class Misbehaving:
    """Misbehaves."""

    @dosirak.api
    def echo(self, value: int) -> int:
        return value

    @dosirak.api
    def boom(self) -> int:
        raise ValueError("a secret of the server")

    @dosirak.api
    def leave(self) -> int:
        raise SystemExit(3)

    @dosirak.api
    def crash(self) -> int:
        os._exit(9)

    @dosirak.api
    def crash_once(self, marker: str) -> int:
        if not Path(marker).exists():
            Path(marker).write_text("crashed")
            os._exit(9)
        return os.getpid()

    @dosirak.api(idempotent=False)
    def crash_once_with_effect(self, marker: str) -> int:
        return self.crash_once(marker)

    @dosirak.api
    def slowly(self, seconds: float, marker: str) -> int:
        with Path(marker).open("a") as file:
            file.write("x")
        time.sleep(seconds)
        return os.getpid()

    @dosirak.api(timeout_s=0.5)
    def hang(self) -> int:
        time.sleep(3600)
        return 0

    @dosirak.api(timeout_s=0.5)
    def hang_holding_the_lock(self) -> bool:
        return re.match(r"(a+)+$", "a" * 64 + "b") is not None

    @dosirak.api
    def crash_on(self, value: int) -> int:
        if value == 666:
            os._exit(9)
        return value

    @dosirak.api
    async def crash_on_loop(self, value: int) -> int:
        if value == 666:
            os._exit(9)
        return value

    @dosirak.api
    def hoard(self, mebibytes: int) -> int:
        self.hoarded = [*getattr(self, "hoarded", []), os.urandom(mebibytes * 2**20)]
        return os.getpid()

    @dosirak.api
    def wrong(self) -> int:
        return "not a number"  # type: ignore[return-value]


@dosirak.service(resources=dosirak.Resources(threads=2))
class Streaming:
    """Streams."""

    @dosirak.api
    def count(self, upto: int, pause_s: float = 0.0) -> Iterator[int]:
        for number in range(upto):
            time.sleep(pause_s)
            yield number

    @dosirak.api
    async def count_on_loop(self, upto: int, marker: str = "") -> AsyncIterator[int]:
        try:
            for number in range(upto):
                await asyncio.sleep(0.01)
                yield number
        finally:
            if marker:
                _mark(marker, "closed")

    @dosirak.api
    def breaks(self, after: int) -> Iterator[int]:
        yield from range(after)
        raise ValueError("a secret of the server")

    @dosirak.api
    def breaks_raw(self, after: int) -> Iterator[bytes]:
        for _ in range(after):
            yield b"piece"
        raise ValueError("a secret of the server")

    @dosirak.api
    def misfits(self, after: int) -> Iterator[int]:
        yield from range(after)
        yield "no number"  # type: ignore[misc]

    @dosirak.api
    def refuses(self, value: int) -> Iterator[int]:
        if value < 0:
            raise InvalidInput("The value is negative.")
        yield value

    @dosirak.api
    def dies(self, after: int) -> Iterator[int]:
        yield from range(after)
        time.sleep(0.2)
        os._exit(9)

    @dosirak.api
    def dies_raw(self, after: int) -> Iterator[bytes]:
        yield b"x" * after
        time.sleep(0.2)
        os._exit(9)


@dosirak.service
class Working:
    """Works on tasks."""

    @dosirak.task
    def work(self, seconds: float, marker: str = "") -> str:
        if marker:
            with Path(marker).open("a") as file:
                file.write("x")
        time.sleep(seconds)
        return "done"

    @dosirak.task
    def fail(self) -> str:
        raise InvalidInput("It cannot be done.")

    @dosirak.task
    def crash(self, marker: str) -> str:
        with Path(marker).open("a") as file:
            file.write("x")
        os._exit(9)


@dosirak.service
class Unstartable:
    """Cannot start."""

    def __init__(self) -> None:
        raise RuntimeError("no such device")

    @dosirak.api
    def echo(self, value: int) -> int:
        return value


@dosirak.service
class WithoutItsModel:
    """Needs what nobody has saved."""

    model = dosirak.model("nobody-saved-this")

    @dosirak.api
    def echo(self, value: int) -> int:
        return value


@dosirak.service
class BadHook:
    """Cannot start either."""

    @dosirak.on_start
    def check(self) -> None:
        raise RuntimeError("the licence has expired")

    @dosirak.api
    def echo(self, value: int) -> int:
        return value


@dosirak.service
class DiesAtStart:
    """Ends its process while it starts."""

    def __init__(self) -> None:
        os._exit(4)

    @dosirak.api
    def echo(self, value: int) -> int:
        return value


@dosirak.service(service_level=dosirak.ServiceLevel(p95_ms=200))
class Promised:
    """Promises more than it can do for many."""

    @dosirak.api
    def slowly(self, value: int) -> int:
        """Return the value after a moment."""
        time.sleep(0.05)
        return value


@dosirak.service(resources=dosirak.Resources(threads=1))
class Batching:
    """Joins requests."""

    @dosirak.api(batchable=True, max_batch_size=8)
    def double(self, values: list[int]) -> list[int]:
        """Double every value; refuse a batch with a 13 in it, and leave after a 666."""
        if 13 in values:
            raise InvalidInput("13 is refused.", remedy="Choose another number.")
        if 666 in values:
            os._exit(9)
        return [2 * value for value in values]

    @dosirak.api(batchable=True, max_batch_size=64)
    def slowly(self, values: list[int]) -> list[list[int]]:
        """Say with each value how many rows its call had, after a moment."""
        time.sleep(0.02)
        return [[value, len(values)] for value in values]

    @dosirak.api(batchable=True, max_batch_size=64, concurrency=2)
    async def later(self, values: list[int]) -> list[list[int]]:
        """Say with each value how many rows its call had, after a moment on the loop."""
        await asyncio.sleep(0.02)
        if 13 in values:
            raise InvalidInput("13 is refused.", remedy="Choose another number.")
        return [[value, len(values)] for value in values]

    @dosirak.api(batchable=True, max_batch_size=8)
    def held(self, values: list[int], gate: str) -> list[list[int]]:
        """Say with each value how many rows its call had, once the gate is there."""
        Path(f"{gate}.begun").touch()
        while not Path(gate).exists():
            time.sleep(0.005)
        return [[value, len(values)] for value in values]

    @dosirak.api(batchable=True)
    def misfit(self, values: list[int]) -> list[int]:
        """Return no row for each row, which is wrong for a batch."""
        return [sum(values)]

    @dosirak.api(batchable=True)
    def whose(self, values: list[int], context: dosirak.Context) -> list[str]:
        """Say whose request it is."""
        context.response_headers["x-count"] = str(len(values))
        return [context.request_id for _ in values]

    @dosirak.api
    def echo(self, value: int) -> int:
        """Return the value."""
        return value


@dosirak.service
class Continuous:
    """Streams whose steps are joined."""

    @dosirak.joined(max_batch_size=3)
    def step(self, states: list[tuple[str, int]]) -> list[int | ValueError]:
        """Count up for each; note who was together."""
        time.sleep(0.005)
        with Path(os.environ["STEPS"]).open("a") as file:
            file.write(f"{' '.join(name for name, _ in states)}\n")
        return [ValueError() if at == -13 else at + 1 for _, at in states]

    @dosirak.api
    async def count(self, name: str, upto: int, start: int = 0) -> AsyncIterator[int]:
        """Count in steps."""
        at = start
        while at < upto:
            at = await self.step((name, at))
            yield at

    @dosirak.api
    def pid(self) -> int:
        """Return the worker's."""
        return os.getpid()
