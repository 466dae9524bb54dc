"""What the dispatcher knows of messages under way and of the workers that have them."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from itertools import islice

from dosirak.payload.wire import Body
from dosirak.serving.batching import Waiting, WorkerLoad, fill, message_size
from dosirak.serving.calls import ApiDescription
from dosirak.serving.cost_curve import CostCurve
from dosirak.serving.latency_goal import LatencyGoal
from dosirak.serving.messages import AnswerBatch, CallBatch, RequestHead
from dosirak.serving.pending import BatchWorker, PendingCall
from dosirak.serving.ranked_queue import CallQueue, RankedQueue

_FORGETTING = 0.98
# The next message of calls that are shorter and not joined is best at the worker already.
_SHORT_CALL_S = 0.005
_VERY_MANY = 2**31


class Flight:
    """One message under way."""

    __slots__ = ("batch_id", "began_s", "calls", "lane", "predicted_s", "seat", "sent_s")

    def __init__(
        self, batch_id: int, lane: Lane, seat: Seat, calls: list[PendingCall], sent_s: float
    ) -> None:
        self.batch_id = batch_id
        self.lane = lane
        self.seat = seat
        self.calls = calls
        self.sent_s = sent_s
        self.began_s: float | None = None
        self.predicted_s = lane.predicted_s(calls)


class Seat:
    """A worker and the messages that it has.

    Attributes:
        quarantined: it runs a request that may have ended another worker; nothing joins it.
        retired: it finishes what it has and gets no more.
        suspended: its process is stopped; it gets no more until it goes on.
    """

    def __init__(self, worker: BatchWorker, threads: int, now_s: float) -> None:
        self.worker = worker
        self.load = WorkerLoad(threads=threads, free_at_s=now_s)
        self.flights: dict[int, Flight] = {}
        # Of the apis that have places of their own.
        self._others: dict[str, WorkerLoad] = {}
        self.quarantined = False
        self.retired = False
        self.suspended = False

    @property
    def is_open(self) -> bool:
        """Whether calls may be sent to it."""
        return not (self.quarantined or self.retired or self.suspended)

    def load_of(self, lane: Lane) -> WorkerLoad:
        """Return what of the worker the messages of an api take."""
        if not lane.places:
            return self.load
        load = self._others.get(lane.api.name)
        if load is None:
            load = WorkerLoad(threads=lane.places, free_at_s=self.load.free_at_s)
            self._others[lane.api.name] = load
        return load

    def began(self) -> list[Flight]:
        """Return the messages that the worker runs, as far as the front can know: the oldest."""
        if not self._others:
            return list(islice(self.flights.values(), self.load.threads))
        lanes = {flight.lane.api.name: flight.lane for flight in self.flights.values()}
        own = [lane for lane in lanes.values() if lane.places]
        shared = [lane for lane in lanes.values() if not lane.places][:1]
        return [flight for lane in (*shared, *own) for flight in self._began_of(lane)]

    def take_off(self, flight: Flight, now_s: float) -> None:
        """Note a message sent."""
        self.flights[flight.batch_id] = flight
        self._reckon(flight.lane, now_s)

    def land(self, flight: Flight, now_s: float) -> None:
        """Note a message answered."""
        self.flights.pop(flight.batch_id, None)
        self.quarantined = False
        self._reckon(flight.lane, now_s)

    def _reckon(self, lane: Lane, now_s: float) -> None:
        load = self.load_of(lane)
        load.in_flight = len(self._side_by_side(lane))
        ends: list[float] = []
        for flight in self._began_of(lane):
            if flight.began_s is None:
                flight.began_s = now_s
            ends.append(flight.began_s + flight.predicted_s)
        load.free_at_s = min(ends, default=now_s)

    def _began_of(self, lane: Lane) -> Iterable[Flight]:
        return islice(self._side_by_side(lane), self.load_of(lane).threads)

    def _side_by_side(self, lane: Lane) -> Collection[Flight]:
        """Return the messages that take the same places as those of an api."""
        if not self._others:
            return self.flights.values()
        own = lane if lane.places else None
        return [
            flight
            for flight in self.flights.values()
            if (flight.lane if flight.lane.places else None) is own
        ]


class Lane:
    """The queue of one api, shared by all workers, and what its calls were seen to cost."""

    def __init__(self, api: ApiDescription) -> None:
        self.api = api
        self.joined = api.runs == "joined"
        # Of its own at each worker; 0 where its messages take the worker's threads.
        self.places = api.places
        # How much sooner its next message is of use than when the present one ends.
        self.ahead_s = 0.0
        self.queue: CallQueue = deque[PendingCall]()
        # The same queue, while requests of different urgency wait in it.
        self.ranked: RankedQueue | None = None
        self.cost = CostCurve()
        self.goal = LatencyGoal(api.p95_s) if api.p95_s is not None else None
        self.most_rows = api.max_batch_rows
        self._call_s: float | None = None
        self._rows = 0.0
        self._requests = 0.0
        self._bytes = 0.0
        self._all_single = True
        # What one more request ahead adds to the wait of the next, at one thread.
        self.request_s = 0.0

    def rank(self) -> None:
        """Look at how urgent requests are from now on: one that differs has come."""
        if self.ranked is None:
            self.queue = self.ranked = RankedQueue(self.queue)

    def waiting_calls(self) -> list[PendingCall]:
        """Return all that wait, in no order."""
        return list(self.queue) if self.ranked is None else self.ranked.calls()

    def less_urgent_than(self, call: PendingCall) -> PendingCall | None:
        """Return whom to turn away before this one, if anybody."""
        if not self.queue:
            return None
        last = self.queue[-1] if self.ranked is None else self.ranked.last()
        return last if last.urgency > call.urgency else None

    def predicted_s(self, calls: Sequence[PendingCall]) -> float:
        """Predict how long a worker runs these."""
        if self.joined:
            return self.cost.predicted_s(sum(map(self.rows_of, calls)))
        return len(calls) * (self._call_s or 0.0)

    def rows_of(self, call: PendingCall) -> int:
        """Estimate a request's rows by its bytes: the front does not read bodies."""
        if self._all_single or not self._bytes:
            return 1
        return max(1, round(len(call.body) * self._rows / self._bytes))

    def teach(self, curve: CostCurve) -> None:
        """Begin with what was learned before."""
        if not self.cost.is_known:
            self.cost = curve.as_beginning()
            self._limit()

    def has_chance(self, wait_s: float) -> bool:
        """Whether a request that waits this long can be answered as promised."""
        if self.goal is None or not self.cost.is_known:
            return True
        call_s = self.cost.predicted_s(self.most_rows) if self.joined else self._call_s or 0.0
        return self.goal.has_chance(wait_s, call_s)

    def _limit(self) -> None:
        if self.goal is not None and self.joined:
            self.most_rows = self.goal.rows(self.cost, self.api.max_batch_rows)

    def learn(self, calls: Sequence[PendingCall], batch: AnswerBatch, now_s: float) -> None:
        """Learn from a message answered to its end."""
        count = len(calls)
        if batch.rows > count:
            self._all_single = False
        self._rows = self._rows * _FORGETTING + batch.rows
        self._requests = self._requests * _FORGETTING + count
        self._bytes = self._bytes * _FORGETTING + sum(len(call.body) for call in calls)
        self.ahead_s = batch.ahead_s
        if batch.rows > 0:
            self.cost.observe(batch.rows, batch.compute_s)
            one_s = batch.compute_s / count
            known_s = self._call_s
            self._call_s = one_s if known_s is None else known_s + 0.1 * (one_s - known_s)
            if self.goal is not None:
                self.goal.observe(now_s - call.arrived_s for call in calls)
            self._limit()
            most = self.most_rows
            full_s = self.cost.predicted_s(most) / most * self._mean_rows()
            self.request_s = full_s if self.joined else self._call_s

    def waiting(self) -> Waiting:
        """Describe the head of the queue to the policy."""
        if not self.joined:
            call_s = self._call_s
            if call_s is None:
                return Waiting()
            waiting = len(self.queue)
            full = waiting >= message_size(_VERY_MANY, 1, call_s)
            return Waiting(full=full, call_s=call_s, grows=call_s >= _SHORT_CALL_S)
        if not self.cost.is_known:
            return Waiting()
        rows = self._mean_rows() * len(self.queue)
        most = self.most_rows
        call_s = self.cost.predicted_s(max(1.0, min(float(most), rows)))
        return Waiting(full=rows >= most, call_s=call_s)

    def take(self, idle_threads: int) -> list[PendingCall]:
        """Take the next message out of the queue.

        A request that may have ended a worker goes alone.
        """
        queue = self.queue
        first = queue.popleft()
        if first.crashes:
            return [first]
        calls = [first]
        for _ in range(self._size(first, idle_threads) - 1):
            if queue[0].crashes:
                break
            calls.append(queue.popleft())
        if self.ranked is not None and not queue:
            self.queue, self.ranked = deque(), None
        return calls

    def put_back(self, calls: Sequence[PendingCall]) -> None:
        """Let calls that were taken wait again, before all others."""
        for call in reversed(calls):
            self.queue.appendleft(call)

    def _size(self, first: PendingCall, idle_threads: int) -> int:
        waiting = len(self.queue) + 1
        if not self.joined:
            return min(waiting, message_size(waiting, idle_threads, self._call_s))
        most = self.most_rows
        if self._all_single:
            return min(waiting, most)
        return fill(self._rows_from(first), most)[0]

    def _rows_from(self, first: PendingCall) -> Iterable[int]:
        yield self.rows_of(first)
        yield from map(self.rows_of, self.queue)

    def _mean_rows(self) -> float:
        return self._rows / self._requests if self._requests else 1.0


def columns_of(
    calls: Sequence[PendingCall], batch_id: int, api: str
) -> tuple[CallBatch, list[Body], int]:
    """Return the message for these calls, their bodies, and the bytes of all."""
    heads: dict[int, int] = {}
    distinct: list[RequestHead] = []
    head_of: list[int] = []
    for index, call in enumerate(calls):
        call.index = index
        # By identity: requests that say the same share their head.
        at = heads.setdefault(id(call.head), len(distinct))
        if at == len(distinct):
            distinct.append(call.head)
        head_of.append(at)
    bodies = [call.body for call in calls]
    sizes = [len(body) for body in bodies]
    batch = CallBatch(
        batch_id,
        api,
        distinct,
        head_of if len(distinct) > 1 else [],
        sizes,
        [call.request_id for call in calls],
        [call.deadline_s for call in calls],
    )
    return batch, bodies, sum(sizes)
