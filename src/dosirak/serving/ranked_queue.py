"""The queue of one api when its requests differ in urgency: shares by class, FIFO within each.

    u=0 │ u=1 │ … │ u=7 ─▶ the class whose turn is next ─▶ its oldest request

Each class gets four times the turns of the next less urgent one, as long as both wait, and all of
the turns when it waits alone (self-clocked fair queueing: a class's next turn is its stride after
its last). So an urgent request goes before whatever waits in other classes, until its class has had
its share; and none starves, however many are more urgent, because the header is whatever a caller
writes. Shares rather than ages: under an overload that lasts everybody is old, and an urgent
request would wait behind all that is older. Without requests there is no clock, so it is pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Protocol

from dosirak.serving.pending import PendingCall
from dosirak.serving.urgency import LEAST_URGENT, MOST_URGENT

_STRIDES = tuple(4**urgency for urgency in range(MOST_URGENT, LEAST_URGENT + 1))


class CallQueue(Protocol):
    """What a lane needs of its queue; a `deque` is one, for requests that do not differ."""

    def append(self, call: PendingCall, /) -> None:
        """Put a request last."""
        ...

    def appendleft(self, call: PendingCall, /) -> None:
        """Put a request back, before all others of its kind."""
        ...

    def popleft(self) -> PendingCall:
        """Take the next."""
        ...

    def remove(self, call: PendingCall, /) -> None:
        """Take out one that nobody waits for."""
        ...

    def __getitem__(self, index: int, /) -> PendingCall: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[PendingCall]: ...


class RankedQueue:
    """Requests of different urgency.

    Args:
        calls: those that wait already, in their order.
    """

    __slots__ = ("_classes", "_length", "_now", "_turns")

    def __init__(self, calls: Iterable[PendingCall] = ()) -> None:
        self._classes: list[deque[PendingCall]] = [deque() for _ in _STRIDES]
        # When each class's first request is due, on a clock that only turns move.
        self._turns = [0] * len(_STRIDES)
        self._now = 0
        self._length = 0
        for call in calls:
            self.append(call)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> PendingCall:
        if index == 0 and self._length:
            return self._classes[_next(self._turns, self._counts())][0]
        return list(self)[index]

    def __iter__(self) -> Iterator[PendingCall]:
        """Yield them in the order in which they would be taken if no other came."""
        turns, counts = list(self._turns), self._counts()
        at = [0] * len(counts)
        for _ in range(self._length):
            urgency = _next(turns, counts)
            yield self._classes[urgency][at[urgency]]
            at[urgency] += 1
            counts[urgency] -= 1
            turns[urgency] += _STRIDES[urgency]

    def append(self, call: PendingCall) -> None:
        """Put a request behind those of its class."""
        waiting = self._classes[call.urgency]
        if not waiting:
            self._turns[call.urgency] = self._first_turn(call.urgency)
        waiting.append(call)
        self._length += 1

    def appendleft(self, call: PendingCall) -> None:
        """Put a request back that was taken: it is the next of all."""
        self._classes[call.urgency].appendleft(call)
        self._turns[call.urgency] = self._now - 1
        self._length += 1

    def popleft(self) -> PendingCall:
        """Take the next.

        Raises:
            IndexError: there is none.
        """
        if not self._length:
            raise IndexError("the queue is empty")
        urgency = _next(self._turns, self._counts())
        self._now = max(self._now, self._turns[urgency])
        self._turns[urgency] += _STRIDES[urgency]
        self._length -= 1
        return self._classes[urgency].popleft()

    def remove(self, call: PendingCall) -> None:
        """Take out one that nobody waits for.

        Raises:
            ValueError: it does not wait here.
        """
        self._classes[call.urgency].remove(call)
        self._length -= 1

    def calls(self) -> list[PendingCall]:
        """Return all that wait, class by class."""
        return list(chain.from_iterable(self._classes))

    def ahead_of(self, urgency: int) -> int:
        """Return how many of those that wait would go before one more request."""
        own, stride = self._classes[urgency], _STRIDES[urgency]
        first = self._turns[urgency] if own else self._first_turn(urgency)
        due = first + stride * len(own)
        ahead = len(own)
        for other, waiting in enumerate(self._classes):
            if other != urgency and waiting:
                # Of two that are due together the more urgent goes first.
                until = due if other < urgency else due - 1
                ahead += max(
                    0, min(len(waiting), 1 + (until - self._turns[other]) // _STRIDES[other])
                )
        return ahead

    def last(self) -> PendingCall:
        """Return whom to turn away if somebody must be: the last of the least urgent.

        Raises:
            IndexError: there is none.
        """
        return next(waiting for waiting in reversed(self._classes) if waiting)[-1]

    def _first_turn(self, urgency: int) -> int:
        """Return when a class that has not waited is due: no sooner than if it had."""
        return max(self._now, self._turns[urgency] - _STRIDES[urgency]) + _STRIDES[urgency]

    def _counts(self) -> list[int]:
        return [len(waiting) for waiting in self._classes]


def _next(turns: list[int], counts: list[int]) -> int:
    """Return the class that is due first; of several the most urgent."""
    return min((urgency for urgency, count in enumerate(counts) if count), key=turns.__getitem__)
