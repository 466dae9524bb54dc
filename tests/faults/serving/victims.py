"""Small services that do everything to their workers that a bad model or input can do."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dosirak
from dosirak.errors import InvalidInput

POISON = 666_000_000
RAISES = 13


def _note(name: str, text: str) -> None:
    # One write of one line: lines of several processes do not mix.
    with (Path(os.environ["VICTIM_NOTES"]) / name).open("ab", buffering=0) as file:
        file.write(f"{text}\n".encode())


class _Noted:
    """Says that its worker has started."""

    def __init__(self) -> None:
        _note(f"worker-{os.getpid()}", "started")


@dosirak.service(resources=dosirak.Resources(threads=1))
class Doubling(_Noted):
    """Doubles numbers in batches, and dies of some."""

    @dosirak.api(batchable=True, max_batch_size=32)
    def double(self, values: list[int]) -> list[int]:
        """Double; some milliseconds for a call, whatever its size."""
        time.sleep(0.003)
        if RAISES in values:
            raise InvalidInput("13 is refused.", remedy="Choose another number.")
        if max(values) >= POISON:
            ctypes.string_at(0)
        return [2 * value for value in values]

    @dosirak.api(idempotent=False)
    def count(self, value: int) -> int:
        """Have an effect."""
        _note("counted", str(value))
        time.sleep(0.003)
        return 2 * value


@dosirak.service(resources=dosirak.Resources(threads=1))
class Steady(_Noted):
    """Takes twenty milliseconds for each call, one at a time."""

    @dosirak.api
    def work(self, value: int) -> int:
        """Work."""
        time.sleep(0.02)
        return 2 * value

    @dosirak.api
    def slowly(self, value: int, seconds: float) -> int:
        """Say that it ran, and take the time asked for."""
        _note("ran", str(value))
        time.sleep(seconds)
        return 2 * value


@dosirak.service(resources=dosirak.Resources(threads=8))
class Shared(_Noted):
    """Steady work for several at a time."""

    @dosirak.api
    def work(self, value: int) -> int:
        """Work."""
        time.sleep(0.04)
        return 2 * value


@dosirak.service(resources=dosirak.Resources(threads=1))
class Recording(_Noted):
    """Writes down everything that it is asked."""

    @dosirak.api
    def record(self, value: int, context: dosirak.Context) -> int:
        """Write down."""
        _note("recorded", f"{context.request_id} {value}")
        return value

    @dosirak.api
    def echo(self, value: int) -> int:
        """Return the value."""
        return value

    @dosirak.api(batchable=True)
    def mean(self, rows: list[list[float]]) -> list[float]:
        """Take lists of numbers, which can be wrong in many ways."""
        return [sum(row) / max(1, len(row)) for row in rows]

    @dosirak.api
    def count(self, upto: int) -> Iterator[int]:
        """Stream."""
        for number in range(upto):
            time.sleep(0.01)
            yield number


@dosirak.service(resources=dosirak.Resources(threads=1))
class Hanging(_Noted):
    """Hangs when asked to."""

    @dosirak.api
    def work(self, value: int) -> int:
        """Work."""
        time.sleep(0.002)
        return 2 * value

    @dosirak.api(timeout_s=1.0)
    def spin(self) -> int:
        """Run for ever in Python."""
        while True:
            pass

    @dosirak.api(timeout_s=1.0)
    def hold(self) -> bool:
        """Run for years in C, holding the interpreter's lock."""
        return re.match(r"(a+)+$", "a" * 64 + "b") is not None


@dosirak.service(resources=dosirak.Resources(threads=1))
class Greedy(_Noted):
    """Has little memory, and asks for more."""

    def __init__(self) -> None:
        super().__init__()
        limit = 3 * 2**30
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    @dosirak.api
    def work(self, value: int) -> int:
        """Work."""
        return 2 * value

    @dosirak.api
    def hog(self, gibibytes: int) -> int:
        """Take memory."""
        return len(bytearray(gibibytes * 2**30))

    @dosirak.api
    def killed_by_the_kernel(self) -> int:
        """End as the kernel ends a process when there is no memory left."""
        os.kill(os.getpid(), 9)
        return 0


@dosirak.service(resources=dosirak.Resources(threads=1))
class Numbers(_Noted):
    """Answers with numbers that JSON has no word for."""

    @dosirak.api(batchable=True)
    def odd(self, values: list[float]) -> list[float]:
        """Return a value that is not a number, or endless, where it is asked for."""
        named = {1.0: float("nan"), 2.0: float("inf"), 3.0: float("-inf"), 4.0: 5e-324}
        return [named.get(value, value) for value in values]


@dosirak.service(resources=dosirak.Resources(threads=1))
class Forking(_Noted):
    """Has threads and locks of its own while workers start."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        threading.Thread(target=self._keep_busy, daemon=True).start()

    def _keep_busy(self) -> None:
        while True:
            with self._lock:
                time.sleep(0.001)

    @dosirak.api
    def work(self, value: int) -> int:
        """Work under a lock that is often held."""
        with self._lock:
            return 2 * value


@dosirak.service(resources=dosirak.Resources(threads=1))
class Leaking(_Noted):
    """Keeps what it should let go."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[object] = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    @dosirak.api
    def memory(self, value: int, mebibytes: int) -> int:
        """Keep memory."""
        # Not zeros: those would be one page, many times.
        self._kept.append(bytearray(os.urandom(2**12)) * (mebibytes * 2**8))
        return 2 * value

    @dosirak.api
    def files(self, value: int) -> int:
        """Keep a file open."""
        self._kept.append(Path(os.devnull).open("rb"))  # noqa: SIM115 - that is the fault
        return 2 * value

    @dosirak.api
    def thread(self, value: int) -> int:
        """Keep a thread."""
        thread = threading.Thread(target=threading.Event().wait, daemon=True)
        thread.start()
        self._kept.append(thread)
        return 2 * value
