"""The threads of a worker that run handlers, in the order the work comes.

An `Executor` like the standard library's, with one more door: `run` takes work that tells of its
own end, and costs a tenth of `submit`, whose future has a lock and a condition of its own. The
threads do not keep the process: a handler that never returns must not keep a worker from ending.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, TypeVar

ReturnT = TypeVar("ReturnT")
P = ParamSpec("P")


class HandlerThreads(Executor):
    """A fixed number of threads, each started when there is first work for it.

    Args:
        count: how many.
        name: of each, with a number.
    """

    def __init__(self, count: int, name: str = "dosirak-handler") -> None:
        self._count = count
        self._name = name
        self._works = [False] * count
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._ended = False

    def run(self, work: Callable[[], None]) -> None:
        """Run work that raises nothing and reports by itself; call it from one thread only."""
        if len(self._threads) < self._count:
            self._start_thread()
        self._work.put(work)

    @property
    def are_busy(self) -> bool:
        """Whether none would begin at once with work that came now."""
        return all(self._works) or self._work.qsize() > 0

    def submit(
        self, fn: Callable[P, ReturnT], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[ReturnT]:
        """Run a function; the future has its result.

        Raises:
            RuntimeError: the threads were told to end.
        """
        if self._ended:
            raise RuntimeError("the threads have ended")
        future: Future[ReturnT] = Future()

        self.run(partial(_run_into, future, partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads when they have done what they have."""
        self._ended = True
        if cancel_futures:
            with contextlib.suppress(Empty):
                while True:
                    self._work.get_nowait()
        for _ in self._threads:
            self._work.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _start_thread(self) -> None:
        name = f"{self._name}_{len(self._threads)}"
        thread = Thread(target=self._serve, args=(len(self._threads),), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, number: int) -> None:
        work: Any = None
        works = self._works
        while (work := self._work.get()) is not None:
            works[number] = True
            work()
            works[number] = False
            # What was run, and the requests it holds, must not live until the next comes.
            work = None


def _run_into(future: Future[ReturnT], function: Callable[[], ReturnT]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except BaseException as error:
        future.set_exception(error)
    finally:
        # An error holds this frame, and the future holds the error.
        del future, function
