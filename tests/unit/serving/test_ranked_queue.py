"""Turns by urgency: the urgent before the rest, everybody at last, nobody lost."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.serving.messages import RequestHead
from dosirak.serving.pending import PendingCall
from dosirak.serving.ranked_queue import RankedQueue

HEAD = RequestHead("application/json", "", {}, "", "POST")
URGENCIES = st.integers(0, 7)


def call(urgency: int) -> PendingCall:
    return PendingCall(HEAD, b"", "", arrived_s=0.0, deadline_s=None, urgency=urgency)


def taken(queue: RankedQueue) -> list[int]:
    return [queue.popleft().urgency for _ in range(len(queue))]


def test_more_urgent_ones_go_first_whenever_they_come():
    queue = RankedQueue(call(3) for _ in range(5))
    queue.popleft()
    for urgency in (5, 1, 0, 2):
        queue.append(call(urgency))
    assert taken(queue) == [0, 1, 2, 3, 3, 3, 3, 5]


def test_one_class_is_a_plain_queue():
    calls = [call(6) for _ in range(20)]
    queue = RankedQueue(calls)
    assert [queue.popleft() for _ in calls] == calls
    with pytest.raises(IndexError):
        queue.popleft()


def test_a_flood_of_urgent_ones_starves_nobody():
    queue = RankedQueue([call(3), call(4)])
    turns = 0
    while any(waiting.urgency != 0 for waiting in queue):
        queue.append(call(0))
        queue.append(call(0))
        queue.popleft()
        turns += 1
    assert turns < 400


def test_classes_that_always_wait_have_turns_by_their_shares():
    queue = RankedQueue(call(urgency) for urgency in (1, 2, 3) for _ in range(3000))
    turns = Counter(queue.popleft().urgency for _ in range(2100))
    assert turns == {1: 1600, 2: 400, 3: 100}


def test_a_class_that_was_away_has_not_saved_up_turns():
    queue = RankedQueue(call(3) for _ in range(200))
    for _ in range(100):
        queue.popleft()
    for _ in range(12):
        queue.append(call(2))
    assert taken(queue)[:15].count(3) == 3


def test_what_is_put_back_is_the_next():
    queue = RankedQueue([call(0), call(5), call(5)])
    again = call(7)
    queue.popleft()
    queue.append(call(0))
    queue.appendleft(again)
    assert queue[0] is again
    assert queue.popleft() is again
    assert taken(queue) == [0, 5, 5]


def test_whoever_must_be_turned_away_is_the_last_of_the_least_urgent():
    calls = [call(urgency) for urgency in (6, 2, 6, 3)]
    queue = RankedQueue(calls)
    assert queue.last() is calls[2]


@given(st.lists(st.tuples(st.sampled_from("appprl"), URGENCIES), max_size=80), st.integers(0, 999))
def test_the_order_that_is_told_is_the_order_that_comes(steps, seed):
    chance = random.Random(seed)
    queue = RankedQueue()
    inside: list[PendingCall] = []
    for step, urgency in steps:
        if step in "al":
            new = call(urgency)
            inside.append(new)
            (queue.append if step == "a" else queue.appendleft)(new)
        elif step == "p" and inside:
            first = queue[0]
            assert queue.popleft() is first
            inside.remove(first)
        elif step == "r" and inside:
            queue.remove(inside.pop(chance.randrange(len(inside))))
        assert len(queue) == len(inside)
    told = list(queue)
    assert Counter(map(id, told)) == Counter(map(id, inside))
    for urgency in range(8):
        new = call(urgency)
        ahead = queue.ahead_of(urgency)
        queue.append(new)
        assert list(queue).index(new) == ahead
        queue.remove(new)
    told = list(queue)
    assert [queue.popleft() for _ in told] == told
