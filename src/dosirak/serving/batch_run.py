"""The calls of one message, run on the worker's threads: joined where the api batches.

    decode each ─▶ join what fits, at most max_batch_size rows ─▶ call ─▶ split ─▶ encode each
    decode, call, encode each                            (apis that do not batch)

Nobody can tell from an answer whether it was batched. A request that cannot be read never enters a
batch. When a joined call raises, or does not return a row for each row, its requests are called one
by one, so that one bad row fails alone; a call for one has to return its rows, too; an api that is
not idempotent is not called again, and the error is everybody's. An api whose handler takes the
context is never joined: each caller's context is its own, and there is one call to give it to.

Answers leave when the last call has ended, and every few milliseconds before that. The deadline of
each call is kept here, on the loop: the thread of a call that runs on cannot be taken back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from dosirak.errors import DosirakError, ResultError
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.payload.batching import join, joinable, plain_rows, rows, split
from dosirak.payload.wire import Arguments, WireRequest, WireResponse
from dosirak.serving import handlers
from dosirak.serving.bound_api import BoundApi, Padded
from dosirak.serving.handler_threads import HandlerThreads
from dosirak.serving.lateness import not_in_time
from dosirak.spec.context import Context

# Answers of a batch that takes longer than this leave in parts.
_FLUSH_S = 0.005
_LONGEST_LOOK_S = 0.25

_log = logging.getLogger(f"{ROOT_LOGGER}.serving")


class BatchedCall:
    """One request of a batch, and what became of it.

    Attributes:
        index: its place in the message.
        answered: its answer has been sent, or nobody waits for it.
        rows: what it adds to a batch, once it was read.
        padded: the length bucket that it was filled up to.
    """

    __slots__ = ("answered", "begun", "context", "index", "outcome", "padded", "request", "rows")

    def __init__(self, index: int, request: WireRequest, context: Context) -> None:
        self.index = index
        self.request = request
        self.context = context
        self.outcome: WireResponse | None = None
        self.begun = False
        self.answered = False
        self.rows = 1
        self.padded: Padded | None = None

    def is_due(self, now_s: float) -> bool:
        """Whether its deadline has passed."""
        deadline_s = self.context.deadline_s
        return deadline_s is not None and now_s >= deadline_s


class Joined:
    """The requests of one call of the handler, once they were read.

    Attributes:
        entries: each with its arguments.
        sizes: their rows, and those that fill the call up to an allowed size.
        arguments: of the call for all; None where each is called alone.
        context: of that call.
        error: joining them raised it.
    """

    __slots__ = ("arguments", "context", "entries", "error", "sizes")

    def __init__(self, entries: Sequence[tuple[BatchedCall, Arguments]]) -> None:
        self.entries = entries
        self.sizes: list[int] = []
        self.arguments: Arguments | None = None
        self.context: Context | None = None
        self.error: BaseException | None = None


class Spent:
    """The seconds that one thread spent on the calls of a run."""

    __slots__ = ("call_s", "decode_s", "encode_s")

    def __init__(self) -> None:
        self.decode_s = 0.0
        self.call_s = 0.0
        self.encode_s = 0.0


class BatchSink(Protocol):
    """Where answers go."""

    def __call__(self, run: BatchRun, answered: Sequence[BatchedCall], *, done: bool) -> None:
        """Send the outcomes of these calls; `done` when nothing more will come."""
        ...


class BatchRun:
    """One message being answered; made and told of time on the loop, run on threads."""

    # Set by those runs alone that are read ahead or written behind.
    _groups: list[Joined] | None = None
    _unwritten: Sequence[tuple[Joined, list[Any]]] = ()

    def __init__(
        self,
        bound: BoundApi,
        calls: Sequence[BatchedCall],
        sink: BatchSink,
        *,
        threads: HandlerThreads,
        runners: int,
        on_hang: Callable[[str], None] | None,
        hang_after_s: float,
        side: HandlerThreads | None = None,
    ) -> None:
        self.calls = calls
        self.rows = 0
        self.handler_calls = 0
        self.done = False
        self.began_s = 0.0
        self._bound = bound
        self._sink = sink
        self._threads = threads
        self._side = side
        self._runners = 1 if bound.joins else min(runners, len(calls))
        # One for each thread asked; whoever takes the last before its thread comes ends the run.
        self._tickets = [bound.joins] * self._runners
        self._on_hang = on_hang
        self._hang_after_s = hang_after_s
        self._loop = asyncio.get_running_loop()
        self._waiting: Iterator[BatchedCall] = iter(calls)
        self._finished: list[BatchedCall] = []
        self._sent = 0
        self._timer: asyncio.TimerHandle | None = None
        self._look_s = _FLUSH_S
        self._arrived_s = 0.0
        # One for each thread that runs calls: none waits for another to add up.
        self._spent: list[Spent] = []
        self._ended_s = 0.0

    def start(self) -> None:
        """Begin."""
        self._arrived_s = time.monotonic()
        if self._side is not None and self._threads.are_busy:
            # Beside a call; with a thread free there is nothing to be beside of.
            self._side.run(self._read_ahead)
        else:
            for _ in range(self._runners):
                self._threads.run(self._work)
        self._begin_looking()

    def withdraw(self, index: int) -> None:
        """Nobody waits for this call: it does not begin if it has not begun."""
        if 0 <= index < len(self.calls):
            self.calls[index].answered = True
            self._end_if_needless()

    @property
    def ahead_s(self) -> float:
        """How much sooner the next message is of use than when a thread is free for its call."""
        return self._bound.overlap.ahead_s

    @property
    def queue_s(self) -> float:
        """From the message's arrival to the beginning of its first call."""
        return max(0.0, self.began_s - self._arrived_s) if self.began_s else 0.0

    @property
    def compute_s(self) -> float:
        """From there to the end of the last call."""
        if not self.began_s:
            return 0.0
        return (self._ended_s or time.monotonic()) - self.began_s

    def spent_s(self) -> tuple[float, float, float]:
        """Decoding, in the handler and encoding, of all calls so far."""
        spent = list(self._spent)
        return (
            sum(each.decode_s for each in spent),
            sum(each.call_s for each in spent),
            sum(each.encode_s for each in spent),
        )

    # On a thread.

    def _work(self) -> None:
        try:
            joins = self._tickets.pop()
        except IndexError:
            return
        if joins:
            self._run_joined()
        else:
            self._run_each()

    def _run_each(self) -> None:
        now_s = time.monotonic()
        self.began_s = self.began_s or now_s
        spent = self._spend()
        # Several threads take from one iterator: each call is taken once.
        for call in self._waiting:
            if not call.answered and not call.is_due(now_s):
                call.begun = True
                self.rows += 1
                now_s = self._answer_alone(call, now_s, spent)
            self._finished.append(call)
        self._end_if_all_finished()

    def _run_joined(self) -> None:
        self.began_s = time.monotonic()
        spent = self._spend() if self._groups is None else self._spent[0]
        for group in self._read(spent) if self._groups is None else self._groups:
            self._answer_group(group, spent)
        if self._unwritten and self._side is not None:
            self._side.run(self._write_behind)
        else:
            self._finish_joined(spent)

    def _finish_joined(self, spent: Spent) -> None:
        self._finished += self.calls[len(self._finished) :]
        self._end_if_all_finished()
        self._bound.overlap.note(spent.decode_s, spent.call_s, spent.encode_s)

    def _read_ahead(self) -> None:
        """Read on a thread beside those of the handlers, which run another message meanwhile."""
        began_s, worked_s = time.monotonic(), time.thread_time()
        groups = self._read(self._spend())
        took_s = time.monotonic() - began_s
        self._bound.overlap.note_ahead(took_s, time.thread_time() - worked_s)
        self._groups = groups
        self._threads.run(self._work)

    def _write_behind(self) -> None:
        """Write likewise."""
        spent = self._spent[0]
        for group, results in self._unwritten:
            self._encode_all(group, results, spent)
        self._finish_joined(spent)

    def _read(self, spent: Spent) -> list[Joined]:
        """Decode every request, and join what fits."""
        began_s = time.monotonic()
        readable: list[tuple[BatchedCall, Arguments]] = []
        for call in self.calls:
            if not self._is_over(call):
                call.begun = True
                arguments = self._decode(call)
                if arguments is not None:
                    readable.append((call, arguments))
        bound = self._bound
        groups = [
            self._join(entries)
            for entries in grouped(readable, bound.max_rows, bound.batch_dimension)
        ]
        spent.decode_s = time.monotonic() - began_s
        return groups

    def _join(self, entries: Sequence[tuple[BatchedCall, Arguments]]) -> Joined:
        group = Joined(entries)
        if len(entries) > 1 or self._bound.pads:
            try:
                self._join_into(group)
            except BaseException as error:
                group.error = error
        return group

    def _join_into(self, group: Joined) -> None:
        bound = self._bound
        sizes = [call.rows for call, _ in group.entries]
        joined = join([arguments for _, arguments in group.entries], bound.batch_dimension)
        joined, more = bound.to_allowed_size(joined, sum(sizes))
        group.sizes = [*sizes, more] if more else sizes
        group.context = bound.shared_context([call.context for call, _ in group.entries])
        group.arguments = joined

    def _spend(self) -> Spent:
        spent = Spent()
        self._spent.append(spent)
        return spent

    def _is_over(self, call: BatchedCall) -> bool:
        return call.answered or call.is_due(time.monotonic())

    def _decode(self, call: BatchedCall) -> Arguments | None:
        try:
            bound = self._bound
            arguments = bound.decode(call.request, call.context)
            count = plain_rows(arguments, bound.batch_dimension)
            if count is None:
                bound.check_rows(arguments)
                count = rows(arguments, bound.batch_dimension)
            if bound.pads:
                arguments, call.padded = bound.to_bucket(arguments)
            call.rows = count
            self.rows += count
        except BaseException as error:
            self._refuse(call, error)
            return None
        return arguments

    def _answer_group(self, group: Joined, spent: Spent) -> None:
        if len(group.entries) > 1 and self._answer_joined(group, spent):
            return
        for call, arguments in group.entries:
            now_s = time.monotonic()
            if call.answered or call.is_due(now_s):
                continue
            if self._bound.pads:
                self._answer_joined(self._alone(group, call, arguments), spent)
            else:
                self._call_alone(call, arguments, now_s, spent)

    def _alone(self, group: Joined, call: BatchedCall, arguments: Arguments) -> Joined:
        return group if len(group.entries) == 1 else self._join([(call, arguments)])

    def _answer_joined(self, group: Joined, spent: Spent) -> bool:
        """Call once for all; False when each should be called alone."""
        began_s = time.monotonic()
        results = self._call_joined(group)
        spent.call_s += time.monotonic() - began_s
        if not isinstance(results, list):
            return results
        if self._side is not None:
            self._unwritten = [*self._unwritten, (group, results)]
        else:
            self._encode_all(group, results, spent)
        return True

    def _encode_all(self, group: Joined, results: list[Any], spent: Spent) -> None:
        began_s = time.monotonic()
        for (call, _), part in zip(group.entries, results, strict=False):
            self._encode(call, self._bound.to_own_length(part, call.padded))
        spent.encode_s += time.monotonic() - began_s

    def _call_joined(self, group: Joined) -> list[Any] | bool:
        """Return each one's part of the result, or whether all are answered without."""
        self.handler_calls += 1
        try:
            result = self._bound.invoke(*self._call_of(group))
        except BaseException as error:
            return not self._may_call_each(group.entries, error)
        return self._cut(group, result)

    def _call_of(self, group: Joined) -> tuple[Arguments, Context]:
        if group.arguments is None or group.context is None:
            raise group.error or RuntimeError("a group was not joined")
        return group.arguments, group.context

    def _cut(self, group: Joined, result: Any) -> list[Any] | bool:
        bound = self._bound
        try:
            results = split(result, group.sizes, bound.batch_dimension)
        except BaseException as error:
            bound.note_split(fits=False)
            return not self._may_call_each(group.entries, error)
        bound.note_split(fits=True)
        return results

    def _may_call_each(
        self, group: Sequence[tuple[BatchedCall, Arguments]], error: BaseException
    ) -> bool:
        if self._bound.spec.idempotent and len(group) > 1:
            _log.warning(
                "A call of %s with %d requests joined raised %s; each is called alone.",
                self._bound.spec.name,
                len(group),
                type(error).__name__,
            )
            return True
        for call, _ in group:
            if isinstance(error, ResultError):
                self._refuse(call, error)
            else:
                self._fail(call, error)
        return False

    def _answer_alone(self, call: BatchedCall, began_s: float, spent: Spent) -> float:
        """Read, call and write; return the time when that is done."""
        try:
            arguments = self._bound.decode(call.request, call.context)
        except BaseException as error:
            self._refuse(call, error)
            return time.monotonic()
        now_s = time.monotonic()
        spent.decode_s += now_s - began_s
        return self._call_alone(call, arguments, now_s, spent)

    def _call_alone(
        self, call: BatchedCall, arguments: Arguments, began_s: float, spent: Spent
    ) -> float:
        """Call and write; return the time when that is done."""
        self.handler_calls += 1
        try:
            result = self._bound.invoke(arguments, call.context)
        except BaseException as error:
            self._fail(call, error)
            now_s = time.monotonic()
            spent.call_s += now_s - began_s
            return now_s
        called_s = time.monotonic()
        if not self._bound.counts or self._counts(call, arguments, result):
            self._encode(call, result)
        now_s = time.monotonic()
        spent.call_s += called_s - began_s
        spent.encode_s += now_s - called_s
        return now_s

    def _counts(self, call: BatchedCall, arguments: Arguments, result: Any) -> bool:
        """Whether a lone call's result has as many rows as its request; refuse the call if not."""
        try:
            self._bound.check_count(result, arguments, call.context)
        except BaseException as error:
            self._refuse(call, error)
            return False
        return True

    def _encode(self, call: BatchedCall, result: Any) -> None:
        try:
            call.outcome = self._bound.encode(result, call.request, call.context)
        except BaseException as error:
            self._refuse(call, error)

    def _refuse(self, call: BatchedCall, error: BaseException) -> None:
        """Answer with what reading or writing raised: it is the caller's to know."""
        if isinstance(error, DosirakError):
            call.outcome = self._bound.encode_error(error, call.request, call.context)
        else:
            self._fail(call, error)

    def _fail(self, call: BatchedCall, error: BaseException) -> None:
        """Answer with what user code raised, as far as it is the caller's to know."""
        shown = handlers.caller_error(
            error, api=self._bound.spec.name, request_id=call.context.request_id
        )
        call.outcome = self._bound.encode_error(shown, call.request, call.context)

    def _end_if_all_finished(self) -> None:
        if len(self._finished) >= len(self.calls):
            self._ended_s = time.monotonic()
            self._loop.call_soon_threadsafe(self._finish)

    # On the loop.

    def _begin_looking(self) -> None:
        self._timer = self._loop.call_later(_FLUSH_S, self._look)

    def _finish(self) -> None:
        if self.done:
            return
        self.done = True
        if self._timer is not None:
            self._timer.cancel()
        self._tickets.clear()
        self._send(self._outcomes(final=True))

    def _end_if_needless(self) -> bool:
        """End a run that has not begun and that nobody waits for."""
        if self.began_s or not all(call.answered for call in self.calls):
            return False
        left = 0
        with contextlib.suppress(IndexError):
            while True:
                self._tickets.pop()
                left += 1
        if left < self._runners:
            return False  # A thread has come; it looks at each call, and ends the run.
        self._finish()
        return True

    def _look(self) -> None:
        """Send what is finished, and answer whatever is due."""
        now_s = time.monotonic()
        answered = self._outcomes(final=False)
        for call in self.calls:
            if not call.is_due(now_s):
                continue
            if not call.answered and call.outcome is None:
                call.outcome = self._too_late(call)
                answered.append(call)
            self._report_hang(call, now_s)
        if answered:
            self._send(answered)
        if self._end_if_needless():
            return
        self._look_s = min(_LONGEST_LOOK_S, self._look_s * 2)
        self._timer = self._loop.call_later(self._next_look_s(now_s), self._look)

    def _outcomes(self, *, final: bool) -> list[BatchedCall]:
        """Return what is to be sent: finished and not sent yet; at the end, all the rest."""
        if final:
            ready = [call for call in self.calls if not call.answered]
        else:
            finished = self._finished[self._sent :]
            self._sent += len(finished)
            ready = [call for call in finished if call.outcome and not call.answered]
        for call in ready:
            call.outcome = call.outcome or self._too_late(call)
        return ready

    def _send(self, answered: Sequence[BatchedCall]) -> None:
        for call in answered:
            call.answered = True
        self._sink(self, answered, done=self.done)

    def _too_late(self, call: BatchedCall) -> WireResponse:
        spec = self._bound.spec
        own_s = self._hang_after_s if spec.timeout_s is None else spec.timeout_s
        error = not_in_time(spec.name, call.context.headers, own_s)
        return self._bound.encode_error(error, call.request, call.context)

    def _report_hang(self, call: BatchedCall, now_s: float) -> None:
        # One that was read ahead and waits for its call is not one that hangs.
        if not self.began_s or call.context.deadline_s is None:
            return
        if now_s < self.began_s + self._hang_after_s:
            return
        if call.begun and call not in self._finished:
            on_hang, self._on_hang = self._on_hang, None
            if on_hang is not None:
                on_hang(self._bound.spec.name)

    def _next_look_s(self, now_s: float) -> float:
        moments = [
            moment_s - now_s
            for call in self.calls
            if (deadline_s := call.context.deadline_s) is not None
            for moment_s in (deadline_s, self.began_s + self._hang_after_s)
            if moment_s > now_s
        ]
        return max(0.001, min([self._look_s, *moments]))


def grouped(
    readable: Sequence[tuple[BatchedCall, Arguments]], max_rows: int, batch_dimension: int
) -> list[list[tuple[BatchedCall, Arguments]]]:
    """Cut what was read into calls: of one kind each, at most `max_rows` rows, in order.

    A request with more rows than that is called alone: a request is never split.
    """
    kinds: list[list[tuple[BatchedCall, Arguments]]] = []
    if joinable([arguments for _, arguments in readable], batch_dimension):
        kinds = [list(readable)]
    else:
        for entry in readable:
            _put_with_its_kind(entry, kinds, batch_dimension)
    return [group for kind in kinds for group in _cut_by_rows(kind, max_rows)]


def _put_with_its_kind(
    entry: tuple[BatchedCall, Arguments],
    kinds: list[list[tuple[BatchedCall, Arguments]]],
    batch_dimension: int,
) -> None:
    for kind in kinds:
        if joinable([kind[0][1], entry[1]], batch_dimension):
            kind.append(entry)
            return
    kinds.append([entry])


def _cut_by_rows(
    kind: Sequence[tuple[BatchedCall, Arguments]], max_rows: int
) -> list[list[tuple[BatchedCall, Arguments]]]:
    groups: list[list[tuple[BatchedCall, Arguments]]] = []
    total = 0
    for entry in kind:
        count = entry[0].rows
        if not groups or total + count > max_rows:
            groups.append([])
            total = 0
        groups[-1].append(entry)
        total += count
    return groups
