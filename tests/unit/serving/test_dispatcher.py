"""The dispatcher with workers that answer, dawdle and die: nothing lost, nothing swapped."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosirak.errors import DeadlineExceeded, DosirakError, Overloaded, Unavailable, WorkerLost
from dosirak.observe.rejections import EXPIRED, NOT_READY, QUEUE_FULL, TOO_LATE, rejection_of
from dosirak.serving.calls import ApiDescription
from dosirak.serving.dispatcher import Dispatcher, DispatchReport
from dosirak.serving.messages import AnswerBatch, AnswerHead, CallBatch, RequestHead, cut
from dosirak.serving.pending import PendingCall

HEAD = RequestHead("application/json", "", {}, "", "POST")
JOINED = ApiDescription("j", "/j", "api", ("POST",), True, None, "joined", 8)
EACH = ApiDescription("e", "/e", "api", ("POST",), True, None, "each")
WITH_EFFECTS = ApiDescription("w", "/w", "api", ("POST",), False, None, "each")


class Call(PendingCall):
    """Remembers what became of it."""

    def __init__(self, number: int, *, deadline_s: float | None = None, urgency: int = 3) -> None:
        super().__init__(
            HEAD,
            b"%d" % number,
            str(number),
            arrived_s=time.monotonic(),
            deadline_s=deadline_s,
            urgency=urgency,
        )
        self.number = number
        self.answers: list[bytes] = []
        self.errors: list[DosirakError] = []

    def answered(self, head, body, batch) -> None:
        self.answers.append(bytes(body))

    def failed(self, error) -> None:
        self.errors.append(error)


class Worker:
    """A worker that answers when it is told to."""

    def __init__(
        self, on_kill: Callable[[Worker], None] | None = None, *, most_heads: int = 1000
    ) -> None:
        self._most_heads = most_heads
        self.held: list[tuple[CallBatch, list[bytes]]] = []
        self.most_held = 0
        self.sizes: list[int] = []
        self.killed = ""
        self._told: list[Callable[[str], None]] = []
        self._on_kill = on_kill

    def send_batch(self, batch, bodies, body_bytes) -> bool:
        if len(batch.heads) > self._most_heads:
            return False
        self.held.append((batch, [bytes(part) for part in cut(b"".join(bodies), batch.sizes)]))
        self.most_held = max(self.most_held, len(self.held))
        self.sizes.append(len(batch.sizes))
        return True

    def withdraw(self, batch_id, index) -> None:
        pass

    def kill(self, reason) -> None:
        self.killed = reason

    def on_end(self, told) -> None:
        self._told.append(told)

    def ended(self, dispatcher: Dispatcher, reason: str) -> None:
        """End, first without a word and then with a reason."""
        dispatcher.remove_worker(self)
        for told in self._told:
            told(reason)

    def answer(self, dispatcher: Dispatcher) -> None:
        batch, bodies = self.held.pop(0)
        message = AnswerBatch(
            batch.batch_id, [], [AnswerHead(200, "", ())], [], [len(body) for body in bodies],
            len(bodies), 1, 0.0, 0.001, True,
        )  # fmt: skip
        dispatcher.take_answers(self, message, b"".join(bodies))


def run(scenario, *, shared_cpu: bool = False) -> None:
    async def main() -> None:
        retried: list[int] = []
        dispatcher = Dispatcher(
            DispatchReport(lambda: retried.append(1), lambda _api, _calls, _batch: None),
            hang_grace_s=0.1,
            timeout_s=0.1,
            shared_cpu=shared_cpu,
        )
        for api in (JOINED, EACH, WITH_EFFECTS):
            dispatcher.add_api(api)
        await scenario(dispatcher)

    asyncio.run(main())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.booleans(), st.booleans())
def test_every_request_is_answered_once_with_its_own_answer_whatever_dies(seed, mixed, shared_cpu):
    chance = random.Random(seed)

    async def scenario(dispatcher: Dispatcher) -> None:
        workers = [Worker(), Worker()]
        for worker in workers:
            dispatcher.add_worker(worker, 1)
        calls: list[Call] = []
        withdrawn: set[int] = set()
        for _ in range(120):
            step = chance.random()
            if step < 0.5:
                for _ in range(chance.randint(1, 12)):
                    urgency = chance.choice((3, 3, 3, 0, 7)) if mixed else 3
                    calls.append(Call(len(calls), urgency=urgency))
                    dispatcher.submit(chance.choice("je"), calls[-1])
            elif step < 0.9:
                worker = chance.choice(workers)
                if worker.held:
                    worker.answer(dispatcher)
            elif step < 0.95 and calls and not calls[-1].done:
                api = "j" if calls[-1] in dispatcher._lanes["j"].queue else "e"
                if calls[-1].worker is not None or calls[-1] in dispatcher._lanes[api].queue:
                    dispatcher.withdraw(api, calls[-1])
                    withdrawn.add(calls[-1].number)
            else:
                at = chance.randrange(len(workers))
                workers[at].ended(dispatcher, chance.choice(("SIGKILL", "SIGSEGV")))
                workers[at] = Worker()
                dispatcher.add_worker(workers[at], 1)
            await asyncio.sleep(0)
        while dispatcher.outstanding:
            for worker in workers:
                if worker.held:
                    worker.answer(dispatcher)
            await asyncio.sleep(0)
        for call in calls:
            if call.number in withdrawn:
                assert call.answers + call.errors == []
            else:
                assert len(call.answers) + len(call.errors) == 1
                assert call.answers in ([], [b"%d" % call.number])
                # Several workers ended on it: the only way to lose an idempotent request.
                assert call.crashes > 1 if call.errors else call.crashes < 3
        assert dispatcher.outstanding == 0
        assert all(worker.most_held <= 2 for worker in workers)

    run(scenario, shared_cpu=shared_cpu)


@pytest.mark.parametrize(("shared_cpu", "sizes"), [(False, [1, 3]), (True, [4])])
def test_on_a_shared_cpu_what_comes_turn_by_turn_travels_together(shared_cpu, sizes):
    async def scenario(dispatcher: Dispatcher) -> None:
        worker = Worker()
        dispatcher.add_worker(worker, 1)
        await asyncio.sleep(0)
        calls = [Call(number) for number in range(4)]
        for call in calls:
            dispatcher.submit("j", call)
            await asyncio.sleep(0)
        taken: list[int] = []
        while dispatcher.outstanding:
            if worker.held:
                taken.append(len(worker.held[0][1]))
                worker.answer(dispatcher)
            await asyncio.sleep(0)
        assert taken == sizes

    run(scenario, shared_cpu=shared_cpu)


def test_requests_of_one_turn_travel_together_in_order_and_within_bounds():
    async def scenario(dispatcher: Dispatcher) -> None:
        worker = Worker()
        dispatcher.add_worker(worker, 1)
        calls = [Call(number) for number in range(30)]
        for call in calls:
            dispatcher.submit("j", call)
        order: list[bytes] = []
        while dispatcher.outstanding:
            await asyncio.sleep(0)
            if worker.held:
                order += worker.held[0][1]
                worker.answer(dispatcher)
        assert order == [b"%d" % number for number in range(30)]
        assert worker.sizes == [8, 8, 8, 6]

    run(scenario)


@pytest.mark.parametrize(("most_heads", "fit"), [(3, True), (0, False)])
def test_calls_whose_heads_are_too_large_for_one_message_go_in_several(most_heads, fit):
    async def scenario(dispatcher: Dispatcher) -> None:
        worker = Worker(most_heads=most_heads)
        dispatcher.add_worker(worker, 1)
        calls = [Call(number) for number in range(7)]
        for call in calls:
            call.head = RequestHead("", "", {"x-number": str(call.number)}, "", "POST")
            dispatcher.submit("j", call)
        order: list[bytes] = []
        async with asyncio.timeout(10):
            while dispatcher.outstanding:
                await asyncio.sleep(0)
                if worker.held:
                    order += worker.held[0][1]
                    worker.answer(dispatcher)
        assert sum(worker.sizes) == (7 if fit else 0)
        assert all(size <= most_heads for size in worker.sizes)
        assert order == [b"%d" % number for number in range(7) if fit]
        errors = [error.code for call in calls for error in call.errors]
        assert errors == ([] if fit else ["head_too_large"] * 7)

    run(scenario)


def test_after_a_crash_each_request_is_tried_alone_with_a_worker_to_itself():
    async def scenario(dispatcher: Dispatcher) -> None:
        doomed, heir = Worker(), Worker()
        dispatcher.add_worker(doomed, 1)
        calls = [Call(number) for number in range(5)]
        for call in calls:
            dispatcher.submit("j", call)
        await asyncio.sleep(0.01)
        dispatcher.remove_worker(doomed)
        dispatcher.add_worker(heir, 1)
        while dispatcher.outstanding:
            await asyncio.sleep(0)
            assert len(heir.held) <= 1
            if heir.held:
                heir.answer(dispatcher)
        assert heir.sizes == [1] * 5
        assert [call.answers for call in calls] == [[b"%d" % number] for number in range(5)]

    run(scenario)


@pytest.mark.parametrize(
    ("reasons", "workers"),
    [
        (["SIGSEGV", "SIGSEGV"], 2),
        (["SIGKILL", "SIGSEGV"], 2),
        (["SIGSEGV", "SIGKILL", "SIGSEGV"], 3),
        (["SIGKILL", "SIGKILL", "SIGKILL"], 3),
    ],
)
def test_a_request_gets_a_third_worker_when_the_second_was_killed(reasons, workers):
    async def scenario(dispatcher: Dispatcher) -> None:
        call = Call(1)
        dispatcher.submit("j", call)
        for number, reason in enumerate(reasons):
            assert call.errors == []
            worker = Worker()
            dispatcher.add_worker(worker, 1)
            await asyncio.sleep(0)
            assert worker.sizes == [1]
            assert number < workers
            worker.ended(dispatcher, reason)
        assert [error.code for error in call.errors] == ["worker_lost"]
        assert dispatcher.outstanding == 0

    run(scenario)


def test_a_request_whose_second_worker_was_killed_can_be_withdrawn_and_told_that_none_comes():
    async def scenario(dispatcher: Dispatcher) -> None:
        calls = [Call(number) for number in range(3)]
        last: list[Worker] = []
        for call in calls:
            dispatcher.submit("j", call)
            for _ in range(2):
                worker = Worker()
                dispatcher.add_worker(worker, 1)
                await asyncio.sleep(0)
                dispatcher.remove_worker(worker)
            last.append(worker)
        dispatcher.withdraw("j", calls[0])
        last[0].ended(dispatcher, "SIGKILL")
        last[1].ended(dispatcher, "SIGKILL")
        dispatcher.fail_waiting(Unavailable("None comes."))
        last[2].ended(dispatcher, "SIGKILL")
        assert [[error.code for error in call.errors] for call in calls] == [
            [], ["unavailable"], ["unavailable"],
        ]  # fmt: skip
        assert dispatcher.outstanding == 0

    run(scenario)


def test_a_request_with_effects_is_never_sent_twice():
    async def scenario(dispatcher: Dispatcher) -> None:
        doomed, heir = Worker(), Worker()
        dispatcher.add_worker(doomed, 1)
        call = Call(1)
        dispatcher.submit("w", call)
        await asyncio.sleep(0.01)
        dispatcher.remove_worker(doomed)
        dispatcher.add_worker(heir, 1)
        await asyncio.sleep(0.01)
        assert [error.code for error in call.errors] == ["worker_lost"]
        assert heir.held == []

    run(scenario)


def test_what_is_withdrawn_while_it_waits_is_never_sent():
    async def scenario(dispatcher: Dispatcher) -> None:
        call = Call(1)
        dispatcher.submit("j", call)
        dispatcher.withdraw("j", call)
        worker = Worker()
        dispatcher.add_worker(worker, 1)
        await asyncio.sleep(0.01)
        assert worker.held == []
        assert dispatcher.outstanding == 0

    run(scenario)


def test_a_request_that_no_worker_takes_fails_at_its_deadline():
    async def scenario(dispatcher: Dispatcher) -> None:
        late = Call(1, deadline_s=time.monotonic() + 0.02)
        dispatcher.submit("j", late)
        async with asyncio.timeout(10):
            while not late.done:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
        assert [error.code for error in late.errors] == ["unavailable"]

    run(scenario)


def test_a_worker_that_stays_silent_long_after_a_deadline_is_killed():
    async def scenario(dispatcher: Dispatcher) -> None:
        worker = Worker()
        dispatcher.add_worker(worker, 1)
        call = Call(1, deadline_s=time.monotonic() + 0.02)
        dispatcher.submit("e", call)
        async with asyncio.timeout(10):
            while not worker.killed:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
        assert [error.code for error in call.errors] == ["deadline_exceeded"]

    run(scenario)


def test_a_request_that_would_wait_too_long_is_refused_at_once():
    async def scenario(dispatcher: Dispatcher) -> None:
        worker = Worker()
        dispatcher.add_worker(worker, 1)
        dispatcher.submit("e", Call(0))
        await asyncio.sleep(0.01)
        worker.answer(dispatcher)
        for number in range(100):
            dispatcher.submit("e", Call(number))
        with pytest.raises(Overloaded):
            dispatcher.submit("e", Call(101, deadline_s=time.monotonic() + 0.01))

    run(scenario)


def test_a_request_at_the_very_edge_of_its_deadline_is_refused_too():
    async def scenario(dispatcher: Dispatcher) -> None:
        worker = Worker()
        dispatcher.add_worker(worker, 1)
        dispatcher.submit("e", Call(0))
        await asyncio.sleep(0.01)
        worker.answer(dispatcher)  # It cost a millisecond.
        for number in range(1, 1001):
            dispatcher.submit("e", Call(number))
        # A second of waiting is predicted: what allows hardly more would as often as not come late.
        with pytest.raises(Overloaded) as refused:
            dispatcher.submit("e", Call(1001, deadline_s=time.monotonic() + 1.1))
        assert rejection_of(refused.value) == TOO_LATE
        dispatcher.submit("e", Call(1001, deadline_s=time.monotonic() + 3.0))

    run(scenario)


@pytest.mark.parametrize(
    ("indexes", "heads", "sizes"), [([5], 1, [1]), ([], 0, [1]), ([], 1, [9]), ([0, 0, 0], 1, [1])]
)
def test_answers_that_do_not_fit_their_calls_end_the_worker(indexes, heads, sizes):
    async def scenario(dispatcher: Dispatcher) -> None:
        worker = Worker()
        dispatcher.add_worker(worker, 1)
        call = Call(1)
        dispatcher.submit("e", call)
        await asyncio.sleep(0.01)
        batch_id = worker.held[0][0].batch_id
        message = AnswerBatch(
            batch_id, indexes, [AnswerHead(200, "", ())] * heads, [], sizes, 1, 1, 0.0, 0.0, True
        )
        dispatcher.take_answers(worker, message, b"x")
        assert worker.killed == "nonsense"
        assert call.answers == []

    run(scenario)


def test_what_ran_past_its_deadline_was_not_refused():
    late = DeadlineExceeded("Late.")
    assert rejection_of(late) == rejection_of(WorkerLost("Gone.")) == ""
    late.rejection = EXPIRED
    assert rejection_of(late) == EXPIRED
    assert rejection_of(Unavailable("No.")) == NOT_READY
    assert rejection_of(Overloaded("Full.")) == QUEUE_FULL


def test_more_urgent_requests_of_an_api_go_first_and_in_their_order():
    async def scenario(dispatcher: Dispatcher) -> None:
        worker = Worker()
        dispatcher.add_worker(worker, 1)
        dispatcher.submit("e", Call(0))
        await asyncio.sleep(0)
        for number, urgency in enumerate((3, 3, 1, 7, 1, 0), 1):
            dispatcher.submit("e", Call(number, urgency=urgency))
        order: list[bytes] = []
        while dispatcher.outstanding:
            order += worker.held[0][1]
            worker.answer(dispatcher)
            await asyncio.sleep(0)
        assert order == [b"0", b"6", b"3", b"5", b"1", b"2", b"4"]
        # Nobody differs any more: the queue is a plain one again.
        assert dispatcher._lanes["e"].ranked is None

    run(scenario)


def test_who_is_turned_away_for_room_is_the_last_of_the_least_urgent():
    async def scenario(dispatcher: Dispatcher) -> None:
        calls = [Call(number, urgency=urgency) for number, urgency in enumerate((3, 6, 6, 5))]
        for call, api in zip(calls, "jeej", strict=True):
            dispatcher.submit(api, call)
        assert not dispatcher.make_room(Call(9, urgency=6))
        assert dispatcher.make_room(Call(9, urgency=0))
        assert [len(call.errors) for call in calls] == [0, 0, 1, 0]
        assert rejection_of(calls[2].errors[0]) == QUEUE_FULL
        for _ in range(2):
            assert dispatcher.make_room(Call(9))
        assert not dispatcher.make_room(Call(9))
        assert dispatcher.make_room(Call(9, urgency=2))
        assert dispatcher.outstanding == 0

    run(scenario)


def test_the_least_urgent_is_told_at_once_when_an_urgent_one_takes_its_time():
    async def scenario(dispatcher: Dispatcher) -> None:
        worker = Worker()
        dispatcher.add_worker(worker, 1)
        dispatcher.submit("e", Call(0))
        await asyncio.sleep(0)
        # A call is known to take a millisecond.
        worker.answer(dispatcher)
        dispatcher.submit("e", Call(1))
        await asyncio.sleep(0)
        now_s = time.monotonic()
        request_s = dispatcher._lanes["e"].request_s
        patient = [Call(number, deadline_s=now_s + 60) for number in range(2, 12)]
        for call in patient:
            dispatcher.submit("e", call)
        # In time behind ten, and too late behind twelve.
        hasty = Call(20, deadline_s=now_s + 5 + 1.25 * 11.5 * request_s, urgency=5)
        hasty.arrived_s = now_s + 5
        dispatcher.submit("e", hasty)
        assert hasty.errors == []
        for number in range(2):
            urgent = Call(30 + number, urgency=1)
            urgent.arrived_s = now_s + 5
            dispatcher.submit("e", urgent)
        assert rejection_of(hasty.errors[0]) == TOO_LATE
        assert not any(call.errors for call in patient)

    run(scenario)


def test_an_urgent_request_is_not_refused_for_what_waits_behind_it():
    async def scenario(dispatcher: Dispatcher) -> None:
        worker = Worker()
        dispatcher.add_worker(worker, 1)
        dispatcher.submit("e", Call(0))
        await asyncio.sleep(0)
        worker.answer(dispatcher)
        for number in range(1, 200):
            dispatcher.submit("e", Call(number))
        request_s = dispatcher._lanes["e"].request_s
        with pytest.raises(Overloaded):
            dispatcher.submit("e", Call(300, deadline_s=time.monotonic() + 20 * request_s))
        urgent = Call(301, deadline_s=time.monotonic() + 20 * request_s, urgency=0)
        urgent.arrived_s = urgent.deadline_s - 20 * request_s
        dispatcher.submit("e", urgent)
        assert dispatcher._lanes["e"].queue[0] is urgent

    run(scenario)


def test_what_must_be_alone_gets_a_worker_however_busy_async_apis_are():
    beside = ApiDescription("a", "/a", "api", ("POST",), True, None, "joined", 1, places=2)

    async def scenario(dispatcher: Dispatcher) -> None:
        dispatcher.add_api(beside)
        doomed, workers = Worker(), [Worker(), Worker()]
        dispatcher.add_worker(doomed, 1)
        suspect = Call(0)
        dispatcher.submit("j", suspect)
        await asyncio.sleep(0)
        dispatcher.retire_worker(doomed)
        for worker in workers:
            dispatcher.add_worker(worker, 1)
        for number in range(1, 9):
            dispatcher.submit("a", Call(number))
        await asyncio.sleep(0)
        dispatcher.remove_worker(doomed)
        # There is always more for the async api, and never a moment in which no worker has any.
        for number in range(10, 100):
            dispatcher.submit("a", Call(number))
            if any(b"0" in bodies for worker in workers for _, bodies in worker.held):
                break
            workers[number % 2].answer(dispatcher)
            await asyncio.sleep(0)
        assert [[b"0"]] in [[bodies for _, bodies in worker.held] for worker in workers]

    run(scenario)


def test_messages_of_an_async_api_take_places_of_their_own():
    beside = ApiDescription("a", "/a", "api", ("POST",), True, None, "joined", 4, places=2)

    async def scenario(dispatcher: Dispatcher) -> None:
        dispatcher.add_api(beside)
        worker = Worker()
        dispatcher.add_worker(worker, 1)
        for number in range(3):
            dispatcher.submit("e", Call(number))
        await asyncio.sleep(0)
        assert worker.sizes == [1]
        for number in range(3, 13):
            dispatcher.submit("a", Call(number))
        await asyncio.sleep(0)
        # The thread's queue does not hold these up; two are full and the rest waits.
        assert worker.sizes == [1, 4, 4]
        worker.held.insert(0, worker.held.pop(1))
        worker.answer(dispatcher)
        assert worker.sizes == [1, 4, 4, 2]
        while worker.held:
            worker.answer(dispatcher)
            await asyncio.sleep(0)
        assert dispatcher.outstanding == 0

    run(scenario)
