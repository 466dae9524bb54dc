"""A service for every way by which requests come and answers go."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import dosirak
from dosirak.errors import InvalidInput


@dosirak.service(resources=dosirak.Resources(threads=4))
class Transported:
    """Answers."""

    @dosirak.api
    def echo(self, value: int) -> int:
        """Return the value; refuse what is below zero."""
        if value < 0:
            raise InvalidInput("The value is negative.", remedy="Send another.")
        return value

    @dosirak.api(batchable=True, max_batch_size=64)
    def double(self, values: list[int]) -> list[int]:
        return [2 * value for value in values]

    @dosirak.api
    def reversed(self, data: bytes) -> bytes:
        return data[::-1]

    @dosirak.api
    def held(self, gate: str) -> int:
        """Wait for a gate; leave a mark when begun."""
        Path(f"{gate}.begun").touch()
        while not Path(gate).exists():
            time.sleep(0.005)
        return os.getpid()

    @dosirak.api(timeout_s=0.3)
    def late(self) -> int:
        time.sleep(1.5)
        return 1

    @dosirak.api
    def crash(self, marker: str) -> int:
        """End the worker the first time."""
        if not Path(marker).exists():
            Path(marker).touch()
            os._exit(9)
        return os.getpid()

    @dosirak.api
    def whose(self, context: dosirak.Context) -> str:
        return context.request_id

    @dosirak.api
    def count(self, upto: int) -> Iterator[int]:
        yield from range(upto)

    @dosirak.api
    def breaks(self, after: int) -> Iterator[bytes]:
        for _ in range(after):
            yield b"piece"
        raise ValueError("a secret of the server")
