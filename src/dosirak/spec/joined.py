"""Continuous batches: a method whose callers are joined at each call, and come and go between.

    stream 1 ── await self.step(state) ─┐                     ┌─▶ its result, next item …
    stream 2 ── await self.step(state) ─┼─▶ step([…, …, …]) ──┼─▶ its result, next item …
    stream 3 ── await self.step(state) ─┘   (a thread)        └─▶ its result, and it ends

A caller is a task: a stream, or any other async handler. Its first call takes one of
`max_batch_size` places, which it keeps until it ends; who finds none waits in line. So the set
changes only between calls, and an engine's memory is bounded by it. The next call begins when all
who took part in the last are back, have left, or are kept by something else; nobody waits for
company by the clock.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, Generic, Self, TypeVar, overload

from dosirak.errors import ResultError
from dosirak.spec.options import flag, whole

InT = TypeVar("InT")
OutT = TypeVar("OutT")

# Turns of the loop that those who had a result are given to come back with the next value.
_TURNS = 4


@overload
def joined(function: Callable[[Any, list[InT]], Any], /) -> JoinedMethod[InT, Any]: ...
@overload
def joined(
    *, max_batch_size: int = 32, idempotent: bool = True
) -> Callable[[Callable[[Any, list[InT]], Any]], JoinedMethod[InT, Any]]: ...
def joined(
    function: Callable[[Any, list[InT]], Any] | None = None,
    /,
    *,
    max_batch_size: int = 32,
    idempotent: bool = True,
) -> Any:
    """Make a method that takes and returns a list one that async code calls with a single item.

    Its callers at one time are joined into one call; sync methods run on the worker's threads. An
    exception in the place of a result is raised at that caller alone.

    Args:
        max_batch_size: most callers at a time; more wait until one has ended.
        idempotent: when a call for several raises, it may be made again for each of them alone, so
            that one bad item fails alone; otherwise the error is everybody's.

    Raises:
        InvalidService: an option cannot be used (the author's fault).
    """
    most = whole(max_batch_size, "max_batch_size", "a joined method", least=1)
    again = flag(idempotent, "idempotent", "a joined method")

    def record(function: Callable[[Any, list[InT]], Any]) -> JoinedMethod[InT, Any]:
        return JoinedMethod(function, most, idempotent=again)

    return record if function is None else record(function)


class JoinedMethod(Generic[InT, OutT]):
    """What `@joined` makes of a method; on an instance it is a `Joiner`."""

    def __init__(
        self, function: Callable[[Any, list[InT]], Any], most: int, *, idempotent: bool
    ) -> None:
        self.__doc__ = function.__doc__
        self._function = function
        self._most = most
        self._idempotent = idempotent
        self._name = function.__name__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Joiner[InT, OutT]: ...
    def __get__(
        self, instance: object | None, owner: type | None = None
    ) -> Self | Joiner[InT, OutT]:
        if instance is None:
            return self
        joiner = Joiner[InT, OutT](
            partial(self._function, instance), self._name, self._most, idempotent=self._idempotent
        )
        # It hides this descriptor from now on: one for each instance.
        instance.__dict__[self._name] = joiner
        return joiner


class _Turn(Generic[InT, OutT]):
    """One caller's value, and where its result goes."""

    __slots__ = ("answer", "caller", "value")

    def __init__(
        self, value: InT, caller: asyncio.Task[Any] | None, answer: asyncio.Future[OutT]
    ) -> None:
        self.value = value
        self.caller = caller
        self.answer = answer


class _Raised:
    """The error that stands for a result."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Joiner(Generic[InT, OutT]):
    """A joined method of one instance: `await self.step(value)`.

    Args:
        function: takes the values of all, returns a result for each.
        name: of the method.
        most: callers at a time.
        idempotent: a call that raised may be made again for each alone.
    """

    def __init__(
        self, function: Callable[[list[InT]], Any], name: str, most: int, *, idempotent: bool
    ) -> None:
        self._function = function
        self._name = name
        self._most = most
        self._idempotent = idempotent
        # Of an instance that no worker runs: the loop's own threads.
        self._threads: Executor | None = None
        self._forget(None)

    def _forget(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._callers: set[asyncio.Task[Any] | None] = set()
        self._in_line: deque[_Turn[InT, OutT]] = deque()
        self._ready: list[_Turn[InT, OutT]] = []
        self._last: frozenset[asyncio.Task[Any] | None] = frozenset()
        self._turns_left = 0
        self._step: asyncio.Task[None] | None = None
        self._looking = False

    def run_on(self, threads: Executor) -> None:
        """Run the method there from now on."""
        self._threads = threads

    async def __call__(self, value: InT) -> OutT:
        """Take part in the next call; return this caller's result.

        Raises:
            ResultError: the method did not return a result for each value (the service's fault).
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._forget(loop)
        turn = _Turn[InT, OutT](value, asyncio.current_task(), loop.create_future())
        self._in_line.append(turn) if self._must_wait(turn.caller) else self._admit(turn)
        self._soon()
        return await turn.answer

    def _must_wait(self, caller: asyncio.Task[Any] | None) -> bool:
        return caller not in self._callers and len(self._callers) >= self._most

    def _admit(self, turn: _Turn[InT, OutT]) -> None:
        if turn.caller is not None and turn.caller not in self._callers:
            self._callers.add(turn.caller)
            turn.caller.add_done_callback(self._leave)
        self._ready.append(turn)

    def _leave(self, caller: asyncio.Task[Any]) -> None:
        if caller not in self._callers:
            return
        self._callers.discard(caller)
        while self._in_line and len(self._callers) < self._most:
            turn = self._in_line.popleft()
            if not turn.answer.done():  # Who was cancelled while waiting takes no place.
                self._admit(turn)
        self._soon()

    def _soon(self) -> None:
        if self._loop is not None and not self._looking and self._step is None:
            self._looking = True
            # Those who call in the same turn of the loop are joined.
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._looking = False
        self._ready = [turn for turn in self._ready if not turn.answer.done()]
        if self._loop is None or self._step is not None or not self._ready:
            return
        back = {turn.caller for turn in self._ready}
        if self._turns_left and any(one in self._callers for one in self._last - back):
            self._turns_left -= 1
            self._soon()
            return
        turns, self._ready = self._ready[: self._most], self._ready[self._most :]
        # It belongs to no caller: what one has in its context is not for the others.
        self._step = self._loop.create_task(self._run(turns), context=contextvars.Context())

    async def _run(self, turns: Sequence[_Turn[InT, OutT]]) -> None:
        try:
            results = await self._results([turn.value for turn in turns])
        except asyncio.CancelledError:
            results = [_Raised(asyncio.CancelledError())] * len(turns)
        self._step = None
        self._last = frozenset(turn.caller for turn in turns)
        self._turns_left = _TURNS
        for turn, result in zip(turns, results, strict=True):
            _deliver(turn.answer, result)
        self._soon()

    async def _results(self, values: list[InT]) -> list[Any]:
        """Return a result for each value, or what was raised in its place."""
        try:
            results = list(await self._called(values))
            if len(results) != len(values):
                raise ResultError(
                    f"The joined method {self._name!r} returned {len(results)} results for"
                    f" {len(values)} values.",
                    remedy="Return exactly one for each, in order.",
                )
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if len(values) > 1 and self._idempotent:
                return [(await self._results([value]))[0] for value in values]
            return [_Raised(error)] * len(values)
        return [_Raised(one) if isinstance(one, BaseException) else one for one in results]

    async def _called(self, values: list[InT]) -> Iterable[OutT]:
        if inspect.iscoroutinefunction(self._function):
            return await self._function(values)

        def carry() -> Any:
            # `StopIteration` and `SystemExit` cannot cross a future.
            try:
                return self._function(values)
            except BaseException as error:
                return _Raised(error)

        result = await asyncio.get_running_loop().run_in_executor(self._threads, carry)
        if isinstance(result, _Raised):
            raise result.error
        return result


def _deliver(answer: asyncio.Future[Any], result: Any) -> None:
    if answer.done():
        return
    if not isinstance(result, _Raised):
        answer.set_result(result)
        return
    error = result.error
    if isinstance(error, StopIteration):
        error = RuntimeError("a joined method raised StopIteration")
    answer.set_exception(error)


def lend_threads(instance: object, threads: Executor) -> None:
    """Let the joined methods of an instance run on these threads."""
    for kind in type(instance).__mro__:
        for name, value in vars(kind).items():
            if isinstance(value, JoinedMethod):
                getattr(instance, name).run_on(threads)
