"""The batching policy: arrivals, clock and measured cost → which requests go to which worker, when.

Pure: a function of what is waiting, what is running and what calls have cost so far. Three rules.

Work-conserving. A worker with nothing to do takes what is waiting, at once: a batch forms by itself
while the worker is busy, so waiting for company only adds latency.

Pulled just in time. The next batch is handed over shortly before the running one is predicted to
end (the lead covers the way to the worker and back), so that the worker never idles, yet the batch
holds everything that arrived meanwhile. Handing it over earlier would split batches in two: that
costs throughput on models with a high fixed cost. A model that is faster than the lead always has
its next batch waiting.

A batch that is full cannot grow: it is handed over
as soon as the worker has none waiting. At most one message waits at a worker.

Gathered where the CPU is shared. With one CPU for front and workers nothing runs while the front
reads, and the front reads nothing while a call computes: a next batch that already waits at the
worker only splits the batches, and what an idle worker is given at once leaves behind what lies in
the sockets. So there a short call is not handed over before the one ahead of it has ended, and the
front first reads on while that brings requests (`Gathering`): reading them is work that has to be
done in any case. On the iris benchmark this takes batches from 25 requests to 61 of 64.

Rows count. `max_rows` bounds rows, not requests; a request is never split from its answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# A batch is never handed over earlier than this before the running one is predicted to end.
_MOST_LEAD_S = 0.002
_LEAST_LEAD_S = 0.000_1
# So long may the front read on before it hands over what it has.
_LONGEST_GATHERING_S = 0.005
# Nothing is handed over before the end of a call that is longer than this.
_LONGEST_PREFETCHED_S = 0.25
# Handed over a lead before the end of a call that is shorter than this many, a batch is half of it.
_SHORT_IN_LEADS = 2.0
# A message of calls that are not joined holds about this much work.
_MESSAGE_S = 0.004
_MOST_PER_MESSAGE = 128


class Lead:
    """How long before the end of a call the next batch should be handed over."""

    __slots__ = ("_overhead_s",)

    def __init__(self) -> None:
        self._overhead_s = 0.0005

    def observe(self, overhead_s: float) -> None:
        """Learn from one batch: from handing it over to its answer, less the call itself."""
        self._overhead_s += 0.05 * (max(0.0, overhead_s) - self._overhead_s)

    @property
    def seconds(self) -> float:
        """Return the lead, within its bounds."""
        return min(_MOST_LEAD_S, max(_LEAST_LEAD_S, 1.5 * self._overhead_s))


@dataclass(slots=True)
class WorkerLoad:
    """What the policy knows of one worker.

    Attributes:
        threads: messages that it runs side by side.
        in_flight: messages handed over and not answered.
        free_at_s: when the first of them is predicted to end; for an idle one, since when it is.
    """

    threads: int = 1
    in_flight: int = 0
    free_at_s: float = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether a thread has nothing to do."""
        return self.in_flight < self.threads


@dataclass(frozen=True, slots=True)
class HandOver:
    """Send the next batch to the worker at `worker`."""

    worker: int


@dataclass(frozen=True, slots=True)
class Look:
    """Nothing to do before `at_s`; infinite when only an event can change that."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits to be handed over.

    Attributes:
        full: it makes a full batch: waiting longer cannot make it larger.
        call_s: what a call of it is predicted to cost; None while nothing is known.
        grows: a larger message costs the worker less for each request.
    """

    full: bool = False
    call_s: float | None = None
    grows: bool = True


class Gathering:
    """Whether the front reads on before it hands anything over.

    Asked once in each turn of the loop that follows an event, and begun anew for the next one.
    """

    __slots__ = ("_began_s", "_seen")

    def __init__(self) -> None:
        self._began_s: float | None = None
        self._seen = 0

    def goes_on(self, waiting: int, *, now_s: float) -> bool:
        """Whether there may be more: the last turn brought some, and the first came just now."""
        if self._began_s is None:
            self._began_s = now_s
        elif waiting <= self._seen or now_s - self._began_s > _LONGEST_GATHERING_S:
            self._began_s = None
            self._seen = 0
            return False
        self._seen = waiting
        return True


def fill(rows: Iterable[int], max_rows: int) -> tuple[int, int]:
    """Return how many of the waiting requests make the next batch, and their rows.

    A request with more rows than the bound goes alone.
    """
    requests = total = 0
    for count in rows:
        if requests and total + count > max_rows:
            break
        requests += 1
        total += count
        if total >= max_rows:
            break
    return requests, total


def decide(
    waiting: Waiting,
    workers: Sequence[WorkerLoad],
    *,
    now_s: float,
    lead_s: float,
    shared_cpu: bool = False,
) -> HandOver | Look:
    """Say what to do with the next batch now: hand it over, or when to look again."""
    if not workers:
        return Look(math.inf)
    index = 0 if len(workers) == 1 else _least_busy(workers)
    load = workers[index]
    if load.is_idle:
        return HandOver(index)
    # Behind a call that is long, or of unknown length, another worker may well be free first; and
    # what would be gained by being there already is little.
    if (
        load.in_flight > load.threads
        or waiting.call_s is None
        or waiting.call_s > _LONGEST_PREFETCHED_S
    ):
        return Look(math.inf)
    if waiting.full or not (waiting.grows or shared_cpu):
        return HandOver(index)
    if shared_cpu and waiting.call_s < _SHORT_IN_LEADS * lead_s:
        return Look(math.inf)
    due_s = load.free_at_s - lead_s
    return HandOver(index) if now_s >= due_s else Look(due_s)


def _least_busy(workers: Sequence[WorkerLoad]) -> int:
    return min(range(len(workers)), key=lambda at: _busyness(workers[at]))


def _busyness(load: WorkerLoad) -> tuple[int, float]:
    return max(load.in_flight - load.threads + 1, 0), load.free_at_s


def message_size(waiting: int, idle_threads: int, call_s: float | None) -> int:
    """Return how many requests of an api that does not batch go in one message.

    As many as a worker runs in a moment, so that the way there is paid once for all of them; one
    while their cost is unknown; and no more than its share when several threads are idle.
    """
    if call_s is None:
        return 1
    share = -(-waiting // max(1, idle_threads))
    return max(1, min(share, _MOST_PER_MESSAGE, int(_MESSAGE_S / max(call_s, 1e-9))))


def predicted_wait_s(
    queued_requests: int, request_s: float, workers: Sequence[WorkerLoad]
) -> float:
    """Predict how long a request that joins the queue now waits until its call begins.

    Args:
        queued_requests: those ahead of it.
        request_s: what each adds when batches are full.
        workers: all that serve the queue side by side.
    """
    threads = sum(load.threads for load in workers)
    return queued_requests * request_s / threads if threads else math.inf
