"""The front's middle: requests of every api on one side, workers on the other.

    submit ─▶ lane (queue per api) ─▶ decide ─▶ message ─▶ worker ─▶ answers ─▶ PendingCall

Driven by events: an arrival, an answer, a worker that comes or goes, a timer. Arrivals of one turn
of the loop are looked at together, so that what came together travels together. Whatever is decided
is decided in `batching`.

A request is sent at most once at a time. When its worker ends, an idempotent one goes back to the
head of its queue: alone if the worker may have been running it, and with that worker to itself, so
that one that ends workers takes no other with it. It gets two workers, and a third when the second
was killed, which may have come from outside; anything that is not idempotent gets one. One that
ends workers whenever it comes is refused by the quarantine.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from dosirak.errors import (
    DeadlineExceeded,
    DosirakError,
    Overloaded,
    Unavailable,
    WorkerLost,
)
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.observe.rejections import EXPIRED, TOO_LATE
from dosirak.payload.wire import Body
from dosirak.serving.batching import Gathering, HandOver, Lead, decide, predicted_wait_s
from dosirak.serving.calls import ApiDescription
from dosirak.serving.cost_curve import CostCurve
from dosirak.serving.flights import Flight, Lane, Seat, columns_of
from dosirak.serving.lateness import not_in_time
from dosirak.serving.messages import AnswerBatch, BrokenFrame, cut
from dosirak.serving.pending import BatchWorker, PendingCall, head_too_large
from dosirak.serving.quarantine import Quarantine, input_of
from dosirak.serving.urgency import DEFAULT_URGENCY

# The worker answers at the deadline by itself; the front waits a little longer for that answer.
DEADLINE_SLACK_S = 0.08
# It may wait at this many workers that end, which says nothing against it.
_MOST_SENDS = 20
# Workers that may end while they run a request, the last one killed.
_MOST_CRASHES = 3
_KILLED = signal.SIGKILL.name
_LOOK_AGAIN_S = 0.5
# What is predicted is the mean: of those taken at the very edge half would come too late, having
# waited in vain. Refused at once they can still go elsewhere.
_WAIT_MARGIN = 1.25

_log = logging.getLogger(f"{ROOT_LOGGER}.serving.front")


@dataclass(frozen=True, slots=True)
class DispatchReport:
    """Whom the dispatcher tells what happened.

    Attributes:
        retried: a call goes to another worker.
        batch_answered: a message was answered to its end: the api, its calls, the answers' times.
    """

    retried: Callable[[], None]
    batch_answered: Callable[[ApiDescription, list[PendingCall], AnswerBatch], None]


class Dispatcher:
    """Hands requests to workers.

    Args:
        report: told what happened.
        hang_grace_s: how long a worker may be silent after what a call may take; then it is killed.
        timeout_s: what a call may take whose api says nothing else.
        quarantine: knows the inputs that end workers.
        shared_cpu: this process and the workers have one CPU between them.
    """

    def __init__(
        self,
        report: DispatchReport,
        *,
        hang_grace_s: float,
        timeout_s: float = 60.0,
        quarantine: Quarantine | None = None,
        shared_cpu: bool = False,
    ) -> None:
        self._report = report
        self._shared_cpu = shared_cpu
        self._gathering = Gathering()
        self._hang_grace_s = hang_grace_s
        self._timeout_s = timeout_s
        self._quarantine = quarantine or Quarantine(after=0, ttl_s=0.0)
        self._loop = asyncio.get_running_loop()
        self._ids: Iterator[int] = itertools.count(1)
        self._lanes: dict[str, Lane] = {}
        self._seats: list[Seat] = []
        self._lead = Lead()
        self._pumping = False
        self._look: asyncio.TimerHandle | None = None
        self._look_at_s = math.inf
        self._expiry: asyncio.TimerHandle | None = None
        self._expiry_at_s = math.inf
        self._no_hope: DosirakError | None = None
        self.outstanding = 0

    def add_api(self, api: ApiDescription) -> None:
        """Open the queue of an api."""
        self._lanes[api.name] = Lane(api)

    def teach(self, curves: Mapping[str, CostCurve]) -> None:
        """Begin with what calls of each api were seen to cost before."""
        for api, curve in curves.items():
            if api in self._lanes:
                self._lanes[api].teach(curve)

    def learned(self) -> dict[str, CostCurve]:
        """Return what calls of each api were seen to cost."""
        return {name: lane.cost for name, lane in self._lanes.items() if lane.cost.is_known}

    def add_worker(self, worker: BatchWorker, threads: int) -> None:
        """A worker is ready."""
        self._no_hope = None
        self._seats.append(Seat(worker, threads, time.monotonic()))
        self._soon()

    def remove_worker(self, worker: BatchWorker, *, blame: bool = True) -> None:
        """A worker has ended; nothing more will come from it.

        Args:
            worker: the worker.
            blame: it may have ended because of what it ran.
        """
        seat = next((seat for seat in self._seats if seat.worker is worker), None)
        if seat is None:
            return
        self._seats.remove(seat)
        began = {flight.batch_id for flight in seat.began()}
        if blame and len(began) == 1:
            self._blame(seat.flights[next(iter(began))])
        for flight in reversed(list(seat.flights.values())):
            self._salvage(flight, began=flight.batch_id in began)
        self._soon()

    def retire_worker(self, worker: BatchWorker) -> None:
        """A worker is to go: it finishes what it has and gets no more."""
        for seat in self._seats:
            seat.retired |= seat.worker is worker

    def suspend_worker(self, worker: BatchWorker) -> None:
        """A worker's process is stopped: what may be repeated goes to others."""
        for seat in self._seats:
            if seat.worker is worker:
                seat.suspended = True
                self._take_back(seat)
        self._soon()

    def resume_worker(self, worker: BatchWorker) -> None:
        """A worker's process goes on."""
        for seat in self._seats:
            if seat.worker is worker:
                seat.suspended = False
        self._soon()

    def is_busy(self, worker: BatchWorker) -> bool:
        """Whether a worker has messages that it has not answered to their end."""
        return any(seat.flights for seat in self._seats if seat.worker is worker)

    def submit(self, api: str, call: PendingCall) -> None:
        """Take a request.

        Raises:
            Overloaded: it would wait longer than it may.
            QuarantinedInput: it ended workers before.
        """
        lane = self._lanes[api]
        if self._quarantine.held:
            self._quarantine.check(_input_of(lane, call), call.body)
        if call.urgency != DEFAULT_URGENCY:
            lane.rank()
        self._refuse_if_too_late(lane, call)
        self.outstanding += 1
        lane.queue.append(call)
        if lane.ranked is not None:
            self._turn_away_hopeless(lane, call)
        if call.deadline_s is not None and call.deadline_s < self._expiry_at_s:
            self._expire_at(call.deadline_s)
        self._soon()

    def make_room(self, call: PendingCall) -> bool:
        """Turn away the least urgent request that waits, if it is less urgent than this one."""
        found = [
            (last.urgency, last.arrived_s, lane, last)
            for lane in self._lanes.values()
            if (last := lane.less_urgent_than(call)) is not None
        ]
        if not found:
            return False
        _, _, lane, last = max(found, key=lambda one: one[:2])
        self._turn_away(lane, last, too_many())
        return True

    def withdraw(self, api: str, call: PendingCall) -> None:
        """Nobody waits for a request any more: if it has not begun, it never will."""
        if call.done:
            return
        self._finish(call)
        if call.worker is None:
            self._lanes[api].queue.remove(call)
        else:
            call.worker.withdraw(call.batch_id, call.index)

    def fail_waiting(self, error: DosirakError) -> None:
        """Answer every request that has not been sent with an error: no worker will come."""
        self._no_hope = error
        for lane in self._lanes.values():
            while lane.queue:
                self._fail(lane.queue.popleft(), error)

    def cut_off(self, error: DosirakError) -> None:
        """Answer every request with an error, whether a worker has it or not."""
        self.fail_waiting(error)
        for seat in self._seats:
            for call in [call for flight in seat.flights.values() for call in flight.calls]:
                if not call.done:
                    seat.worker.withdraw(call.batch_id, call.index)
                    self._fail(call, error)

    def take_answers(self, worker: BatchWorker, batch: AnswerBatch, body: Body) -> None:
        """Pass answers on."""
        seat = next((seat for seat in self._seats if seat.worker is worker), None)
        flight = seat.flights.get(batch.batch_id) if seat is not None else None
        if seat is None or flight is None:
            return
        try:
            pairs = _paired(flight.calls, batch, body)
        except BrokenFrame as error:
            _log.error("A worker sent answers that are none (%s) and is killed.", error)
            worker.kill("nonsense")
            return
        now_s = time.monotonic()
        if batch.done:
            self._land(seat, flight, batch, now_s)
        quarantine = self._quarantine
        for call, head, part in pairs:
            if quarantine.held:
                quarantine.clear(_input_of(flight.lane, call), call.body)
            if not call.done:
                self._finish(call)
                call.answered(batch.heads[head], part, batch)
        if batch.done:
            self._report.batch_answered(flight.lane.api, flight.calls, batch)
            self._land_rest(flight)

    def _land(self, seat: Seat, flight: Flight, batch: AnswerBatch, now_s: float) -> None:
        """The worker is free again: give it work before anything else."""
        flight.lane.learn(flight.calls, batch, now_s)
        if len(seat.flights) == 1:
            self._lead.observe(now_s - flight.sent_s - batch.queue_s - batch.compute_s)
        seat.land(flight, now_s)
        if self._shared_cpu:
            self._soon()
        else:
            self._pump()

    def _land_rest(self, flight: Flight) -> None:
        for call in flight.calls:
            if not call.done:
                self._fail(call, _lost(flight.lane.api, "The worker did not answer it."))

    def _refuse_if_too_late(self, lane: Lane, call: PendingCall) -> None:
        if not lane.queue or not self._seats:
            return
        deadline_s = call.deadline_s
        ranked = lane.ranked
        ahead = len(lane.queue) if ranked is None else ranked.ahead_of(call.urgency)
        # At one thread: the most that it can be, its own call included.
        ahead_s = _WAIT_MARGIN * (ahead + 1) * lane.request_s
        if lane.goal is None and (deadline_s is None or call.arrived_s + ahead_s < deadline_s):
            return
        if not self._is_in_time(lane, call, ahead, call.arrived_s):
            raise _would_be_late()

    def _is_in_time(self, lane: Lane, call: PendingCall, ahead: int, now_s: float) -> bool:
        """Predict whether a request is answered in time behind so many others."""
        loads = [seat.load_of(lane) for seat in self._seats]
        wait_s = predicted_wait_s(ahead, lane.request_s, loads)
        answer_s = now_s + _WAIT_MARGIN * wait_s + lane.request_s
        if call.deadline_s is not None and answer_s > call.deadline_s:
            return False
        return lane.has_chance(now_s - call.arrived_s + wait_s)

    def _turn_away_hopeless(self, lane: Lane, call: PendingCall) -> None:
        """Tell the least urgent at once when a more urgent one takes the last of its time."""
        last = lane.less_urgent_than(call)
        if last is None or not self._seats:
            return
        if not self._is_in_time(lane, last, len(lane.queue) - 1, call.arrived_s):
            self._turn_away(lane, last, _would_be_late())

    def _turn_away(self, lane: Lane, call: PendingCall, error: DosirakError) -> None:
        lane.queue.remove(call)
        self._fail(call, error)

    def _soon(self) -> None:
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._gather if self._shared_cpu else self._pump)

    def _gather(self) -> None:
        """Read on while that brings requests, then hand over."""
        waiting = sum(len(lane.queue) for lane in self._lanes.values())
        if self._gathering.goes_on(waiting, now_s=time.monotonic()):
            self._loop.call_soon(self._gather)
        else:
            self._pump()

    def _pump(self) -> None:
        """Hand over whatever should go now."""
        self._pumping = False
        now_s = time.monotonic()
        lanes: Iterable[Lane] = self._lanes.values()
        kept: Seat | None = None
        while (lane := _next_of(lanes)) is not None:
            first = lane.queue[0]
            seats = [seat for seat in self._seats if self._may_take(seat, first, kept)]
            loads = [seat.load_of(lane) for seat in seats]
            step = decide(
                lane.waiting(),
                loads,
                now_s=now_s,
                lead_s=self._lead.seconds + lane.ahead_s,
                shared_cpu=self._shared_cpu,
            )
            if isinstance(step, HandOver):
                self._send(lane, seats[step.worker], now_s)
                continue
            self._look_again(step.at_s, now_s)
            if first.crashes and kept is None:
                # Otherwise those with places of their own might never leave it one to itself.
                kept = self._soonest_empty()
            # Those that take the same places wait behind it; others need not.
            lanes = [other for other in lanes if other is not lane and other.places | lane.places]

    def _may_take(self, seat: Seat, call: PendingCall, kept: Seat | None) -> bool:
        return seat.is_open and seat is not kept and not (call.crashes and seat.flights)

    def _soonest_empty(self) -> Seat | None:
        open_seats = [seat for seat in self._seats if seat.is_open]
        return min(open_seats, key=lambda seat: len(seat.flights), default=None)

    def _send(self, lane: Lane, seat: Seat, now_s: float) -> None:
        idle = sum(seat.load.threads - seat.load.in_flight for seat in self._seats)
        self._send_calls(lane, seat, lane.take(idle), now_s)

    def _send_calls(self, lane: Lane, seat: Seat, calls: list[PendingCall], now_s: float) -> None:
        flight = Flight(next(self._ids), lane, seat, calls, now_s)
        batch, bodies, body_bytes = columns_of(calls, flight.batch_id, lane.api.name)
        for call in calls:
            call.worker = seat.worker
            call.batch_id = flight.batch_id
            call.sends += 1
        seat.quarantined = calls[0].crashes > 0
        seat.take_off(flight, now_s)
        if not seat.worker.send_batch(batch, bodies, body_bytes):
            self._send_fewer(flight, now_s)

    def _send_fewer(self, flight: Flight, now_s: float) -> None:
        """The heads of these calls are too large for one message."""
        lane, seat, calls = flight.lane, flight.seat, flight.calls
        seat.land(flight, now_s)
        for call in calls:
            call.worker = None
            call.sends -= 1
        if len(calls) == 1:
            self._fail(calls[0], head_too_large())
            return
        half = len(calls) // 2
        lane.put_back(calls[half:])
        self._send_calls(lane, seat, calls[:half], now_s)

    def _look_again(self, at_s: float, now_s: float) -> None:
        if at_s == math.inf or (self._look_at_s <= at_s and self._look_at_s > now_s):
            return
        if self._look is not None:
            self._look.cancel()
        self._look_at_s = at_s
        self._look = self._loop.call_later(max(0.0, at_s - now_s), self._look_now)

    def _look_now(self) -> None:
        self._look_at_s = math.inf
        self._pump()

    def _blame(self, flight: Flight) -> None:
        """The worker ran this message and nothing else when it ended."""
        if len(flight.calls) == 1:
            call = flight.calls[0]
            held = _input_of(flight.lane, call)
            name = flight.lane.api.name
            self._quarantine.note_end(name, held, call.body, crashes=call.crashes + 1)

    def _salvage(self, flight: Flight, *, began: bool) -> None:
        """Send again what may be sent again; the rest is lost."""
        lane = flight.lane
        for call in reversed(flight.calls):
            if call.done:
                continue
            call.worker = None
            call.crashes += began
            if not lane.api.idempotent:
                remedy = "The call may have had an effect; it was not repeated."
                self._fail(call, _lost(lane.api, remedy))
            elif call.crashes >= _MOST_CRASHES or call.sends >= _MOST_SENDS:
                self._fail(call, _ended_workers(lane.api, call.crashes))
            elif call.crashes > 1:
                # Whoever withdraws it meanwhile finds it with that worker.
                call.worker = flight.seat.worker
                flight.seat.worker.on_end(partial(self._judge, lane, call))
            else:
                self._report.retried()
                lane.queue.appendleft(call)

    def _judge(self, lane: Lane, call: PendingCall, reason: str) -> None:
        """A second worker ended on a request, and now it is known how.

        What is killed was not ended by what it ran, unless that had taken all the memory.
        """
        if call.done:
            return
        if reason != _KILLED:
            self._fail(call, _ended_workers(lane.api, call.crashes))
        elif self._no_hope is not None:
            self._fail(call, self._no_hope)
        else:
            call.worker = None
            self._report.retried()
            lane.queue.appendleft(call)
            self._soon()

    def _take_back(self, seat: Seat) -> None:
        """Put what a worker has back into the queues; what it answers later is not waited for."""
        now_s = time.monotonic()
        for flight in reversed(list(seat.flights.values())):
            if not flight.lane.api.idempotent:
                continue
            seat.land(flight, now_s)
            for call in reversed(flight.calls):
                if not call.done and call.sends < _MOST_SENDS:
                    seat.worker.withdraw(flight.batch_id, call.index)
                    call.worker = None
                    self._report.retried()
                    flight.lane.queue.appendleft(call)
                elif not call.done:
                    self._fail(call, _lost(flight.lane.api, "Its workers stop again and again."))

    def _finish(self, call: PendingCall) -> None:
        call.done = True
        self.outstanding -= 1

    def _fail(self, call: PendingCall, error: DosirakError) -> None:
        self._finish(call)
        call.failed(error)

    # Deadlines.

    def _expire_at(self, at_s: float) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry_at_s = at_s
        delay_s = max(0.001, at_s - time.monotonic())
        self._expiry = self._loop.call_later(delay_s, self._expire)

    def _expire(self) -> None:
        """Answer what is due, kill workers that are silent, and say when to come back."""
        now_s = time.monotonic()
        moments = [*self._expire_waiting(now_s), *self._expire_sent(now_s)]
        self._expiry_at_s = math.inf
        if moments:
            self._expire_at(max(now_s + 0.001, min(moments)))

    def _expire_waiting(self, now_s: float) -> Iterator[float]:
        for lane in self._lanes.values():
            for call in lane.waiting_calls():
                if call.deadline_s is None:
                    continue
                if call.deadline_s > now_s:
                    yield call.deadline_s
                    continue
                lane.queue.remove(call)
                error = self._too_late(lane.api, call, EXPIRED) if self._seats else _nobody_ready()
                self._fail(call, error)

    def _expire_sent(self, now_s: float) -> Iterator[float]:
        for seat in list(self._seats):
            for flight in list(seat.flights.values()):
                yield from self._expire_flight(flight, now_s)

    def _expire_flight(self, flight: Flight, now_s: float) -> Iterable[float]:
        for call in flight.calls:
            if call.deadline_s is None or call.done:
                continue
            due_s = call.deadline_s + DEADLINE_SLACK_S
            if due_s > now_s:
                yield due_s
            else:
                self._fail(call, self._too_late(flight.lane.api, call))
        if any(call.deadline_s is None for call in flight.calls):
            return
        # Not the deadlines: a caller in a hurry does not make a worker one that hangs.
        silent_s = self._allowed_s(flight.lane.api) + DEADLINE_SLACK_S + self._hang_grace_s
        kill_at_s = max(call.arrived_s for call in flight.calls) + silent_s
        if kill_at_s > now_s:
            yield kill_at_s
        elif flight not in flight.seat.began():
            # It is not this one's calls that keep the worker busy.
            yield now_s + _LOOK_AGAIN_S
        else:
            _log.error("A worker does not react to %s and is killed.", flight.lane.api.name)
            flight.seat.worker.kill("hung")

    def _allowed_s(self, api: ApiDescription) -> float:
        return self._timeout_s if api.timeout_s is None else api.timeout_s

    def _too_late(
        self, api: ApiDescription, call: PendingCall, rejection: str = ""
    ) -> DeadlineExceeded:
        error = not_in_time(api.name, call.head.headers, self._allowed_s(api))
        error.rejection = rejection
        return error


def _next_of(lanes: Iterable[Lane]) -> Lane | None:
    """Return the lane whose first request has waited longest."""
    chosen: Lane | None = None
    for lane in lanes:
        # A loop and no `min`: this is done several times for each message.
        if lane.queue and (chosen is None or lane.queue[0].arrived_s < chosen.queue[0].arrived_s):
            chosen = lane
    return chosen


def _input_of(lane: Lane, call: PendingCall) -> str:
    return input_of(lane.api, call.head.headers, call.head.query)


def _paired(
    calls: list[PendingCall], batch: AnswerBatch, body: Body
) -> list[tuple[PendingCall, int, Body]]:
    """Return each call with its answer.

    Raises:
        BrokenFrame: the answers do not fit the calls.
    """
    parts = cut(body, batch.sizes)
    head_of = batch.head_of or [0] * len(parts)
    named = [calls[index] for index in batch.indexes if 0 <= index < len(calls)]
    chosen = named if batch.indexes else calls
    if not parts and not batch.indexes:
        return []
    if not len(chosen) == len(head_of) == len(parts) or len(named) != len(batch.indexes):
        raise BrokenFrame("the answers of a batch do not fit its calls")
    if not 0 <= min(head_of) <= max(head_of) < len(batch.heads):
        raise BrokenFrame("an answer names a head that it does not have")
    return list(zip(chosen, head_of, parts, strict=True))


def too_many() -> Overloaded:
    """Return the error for a request that finds no place to wait."""
    return Overloaded("Too many requests are waiting.", remedy="Try again in a moment.")


def _would_be_late() -> Overloaded:
    error = Overloaded(
        "The request would wait longer than it may.", remedy="Try again in a moment."
    )
    error.rejection = TOO_LATE
    return error


def _nobody_ready() -> DosirakError:
    return Unavailable("No worker is ready.", remedy="Try again in a moment.")


def _ended_workers(api: ApiDescription, crashes: int) -> DosirakError:
    """Say what is known: workers also end for reasons that are not the call's."""
    if crashes > 1:
        return _lost(api, "Several workers ended on it; check the request.")
    return _lost(api, "The workers that had it ended, perhaps not by it; try again in a moment.")


def _lost(api: ApiDescription, remedy: str) -> DosirakError:
    return WorkerLost(f"The worker ended before {api.name!r} answered.", remedy=remedy)
