"""The calls of one message for an async handler: awaited on the worker's loop, joined like others.

    read, join ─▶ a place (the api's `concurrency`) ─▶ await the handler ─▶ split, write

Several messages are under way at a time; the next one is read while they wait. Large bodies are
read and written on a thread beside the loop. When nobody waits any more for anything of a message,
the handler is cancelled: unlike a thread it can be.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from dosirak.payload.wire import Arguments
from dosirak.serving.batch_run import BatchedCall, BatchRun, Joined, Spent

ReturnT = TypeVar("ReturnT")
P = ParamSpec("P")

# Reading and writing more than this would hold up what else is on the loop.
_LARGE_BYTES = 64 * 1024


class AsyncBatchRun(BatchRun):
    """One message being answered; all of it on the loop."""

    _task: asyncio.Task[None] | None = None
    _is_large = False

    def start(self) -> None:
        """Begin."""
        self._arrived_s = time.monotonic()
        self._is_large = sum(len(call.request.body) for call in self.calls) > _LARGE_BYTES
        self._task = self._loop.create_task(self._run())
        self._begin_looking()

    async def _run(self) -> None:
        spent = self._spend()
        try:
            groups = await self._beside(self._read, spent)
            async with self._bound.places:
                self.began_s = time.monotonic()
                for group in groups:
                    await self._await_group(group, spent)
                self._ended_s = time.monotonic()
            for group, results in self._unwritten:
                await self._beside(self._encode_all, group, results, spent)
        finally:
            self._finished += self.calls[len(self._finished) :]
            self._finish()

    async def _beside(
        self, function: Callable[P, ReturnT], *args: P.args, **kwargs: P.kwargs
    ) -> ReturnT:
        if self._is_large:
            return await asyncio.to_thread(function, *args, **kwargs)
        return function(*args, **kwargs)

    async def _await_group(self, group: Joined, spent: Spent) -> None:
        if not self._bound.joins:
            await self._await_each(group, spent)
        elif len(group.entries) > 1 or self._bound.pads:
            if not await self._await_joined(group, spent):
                await self._await_each(group, spent)
        else:
            await self._await_each(group, spent)

    async def _await_each(self, group: Joined, spent: Spent) -> None:
        for call, arguments in group.entries:
            if call.answered or call.is_due(time.monotonic()):
                continue
            if self._bound.pads:
                await self._await_joined(self._join([(call, arguments)]), spent)
            else:
                await self._await_alone(call, arguments, spent)

    async def _await_joined(self, group: Joined, spent: Spent) -> bool:
        """Call once for all; False when each should be called alone."""
        began_s = time.monotonic()
        self.handler_calls += 1
        try:
            result = await self._bound.invoke_async(*self._call_of(group))
        except BaseException as error:
            self._go_if_cancelled(error)
            return not self._may_call_each(group.entries, error)
        finally:
            spent.call_s += time.monotonic() - began_s
        results = self._cut(group, result)
        if not isinstance(results, list):
            return results
        self._unwritten = [*self._unwritten, (group, results)]
        return True

    async def _await_alone(self, call: BatchedCall, arguments: Arguments, spent: Spent) -> None:
        began_s = time.monotonic()
        self.handler_calls += 1
        try:
            result: Any = await self._bound.invoke_async(arguments, call.context)
        except BaseException as error:
            self._go_if_cancelled(error)
            self._fail(call, error)
            return
        finally:
            spent.call_s += time.monotonic() - began_s
        if not self._bound.counts or self._counts(call, arguments, result):
            self._unwritten = [*self._unwritten, (Joined([(call, arguments)]), [result])]

    def _go_if_cancelled(self, error: BaseException) -> None:
        """User code may raise `CancelledError` too; that is an error like any other."""
        cancelled = self._task is not None and self._task.cancelling() > 0
        if cancelled and isinstance(error, asyncio.CancelledError):
            raise error

    def _end_if_needless(self) -> bool:
        """Cancel the handler when nobody waits for anything of this message."""
        if self._task is not None and not self.done and all(call.answered for call in self.calls):
            self._task.cancel()
        return self.done
