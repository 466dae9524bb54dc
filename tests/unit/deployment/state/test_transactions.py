"""What the state promises in every database: records come back as they were, and nothing half."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from dosirak.deployment.changes import Asked, BundlePin, Change, update
from dosirak.deployment.configuration import StrategyName
from dosirak.deployment.records import (
    Event,
    Presence,
    Replica,
    ReplicaPhase,
    Rollout,
    RolloutPhase,
)
from dosirak.deployment.state.database import PlatformState
from dosirak.deployment.state.transactions import EVENTS_KEPT, KeptAnswer
from dosirak.errors import DeploymentConflict, DeploymentNotFound, RevisionNotFound, UsageError

Created = Callable[..., Change]


def keep(state: PlatformState, *changes: Change) -> None:
    with state.transaction() as transaction:
        for change in changes:
            if change.revision is not None:
                transaction.add_revision(change.revision)
            transaction.put_deployment(change.deployment)
            for event in change.events:
                transaction.add_event(event)


def replica(name: str, deployment: str = "iris", revision: int = 1, **other: Any) -> Replica:
    given: dict[str, Any] = {"phase": ReplicaPhase.READY, "started_at": 1.0, "since_at": 2.0}
    return Replica(name, deployment, revision, **{**given, **other})


def test_a_deployment_comes_back_as_it_was(any_state: PlatformState, created: Created) -> None:
    change = created(
        environment={"A": "ü\u2028\t'\""},
        scaling={"min_replicas": 2, "max_replicas": 9},
        canary={"weight_percent": 5, "header": "x-canary"},
        service_options={"timeout_s": 1.5, "workers": 2, "quiet": True},
        labels={"team": "팀"},
    )
    rollout = Rollout(
        1, None, StrategyName.CANARY, RolloutPhase.WAITING, 5, 1.25, 2.5, "why", crashes=2
    )
    full = replace(
        change.deployment,
        presence=Presence.TERMINATED,
        rollout=rollout,
        active_revision=1,
        previous_revision=7,
        previous_until_at=1_800_000_000.123456,
    )
    keep(any_state, replace(change, deployment=full))
    with any_state.reading() as reading:
        assert reading.deployment("iris") == full
        assert reading.revision("iris", 1) == change.revision
        assert reading.revisions("iris") == {1: change.revision}
        assert [event for _, event in reading.events()] == list(change.events)


def test_times_may_be_whole_numbers_or_zero(any_state: PlatformState, created: Created) -> None:
    keep(any_state, created())
    with any_state.transaction() as transaction:
        transaction.put_replica(replica("r", started_at=5, since_at=-0.0, ready_at=0, pid=2**40))
    with any_state.reading() as reading:
        assert reading.replicas() == [
            replica("r", started_at=5.0, since_at=0.0, ready_at=0.0, pid=2**40)
        ]


def test_what_a_replica_printed_last_may_be_anything(
    any_state: PlatformState, created: Created
) -> None:
    text = "\x00\ud800\x1b[0m 죽었다"
    change = created()
    rollout = Rollout(1, None, StrategyName.ROLLING, RolloutPhase.FAILED, 0, 1.0, 1.0, text)
    with any_state.transaction() as transaction:
        transaction.put_deployment(replace(change.deployment, rollout=rollout))
        transaction.put_replica(replica("r", reason=text))
        transaction.add_event(Event(1.0, "iris", "replica_failed", text))
    with any_state.reading() as reading:
        found = reading.state("iris")
        assert found.replicas[0].reason == "\ufffd?\x1b[0m 죽었다"
        assert reading.events()[0][1].message == "\ufffd?\x1b[0m 죽었다"
        assert found.deployment.rollout is not None
        assert found.deployment.rollout.reason.endswith("죽었다")


def test_a_transaction_within_another_is_refused_at_once(any_state: PlatformState) -> None:
    with any_state.transaction() as transaction:
        transaction.put_fact("outer", "1")
        with pytest.raises(UsageError, match="within another"), any_state.transaction():
            pass
    with any_state.transaction() as transaction:
        assert transaction.fact("outer") == "1"


def test_what_does_not_exist_is_not_found(any_state: PlatformState, created: Created) -> None:
    keep(any_state, created())
    with any_state.reading() as reading:
        with pytest.raises(DeploymentNotFound, match="rose"):
            reading.deployment("rose")
        with pytest.raises(DeploymentNotFound, match="rose"):
            reading.state("rose")
        with pytest.raises(RevisionNotFound, match="no revision 2"):
            reading.revision("iris", 2)
        assert reading.revisions("rose") == {}
        assert reading.kept_answer("key") is None
        assert reading.fact("head") is None


def test_an_error_undoes_the_whole_transaction(any_state: PlatformState, created: Created) -> None:
    keep(any_state, created())
    before = any_state.commits()
    with pytest.raises(KeyError), any_state.transaction() as transaction:
        transaction.delete_deployment("iris")
        transaction.add_event(Event(1.0, "iris", "deleted", "It is gone."))
        raise KeyError
    with any_state.reading() as reading:
        assert [each.name for each in reading.deployments()] == ["iris"]
        assert len(reading.events()) == 1
        assert reading.commits() == before


def test_a_reading_sees_one_moment_only(any_state: PlatformState, created: Created) -> None:
    keep(any_state, created())
    with any_state.reading() as reading:
        assert len(reading.deployments()) == 1
        keep(any_state, created("rose"))
        assert len(reading.deployments()) == 1
        assert len(reading.states()) == 1
    with any_state.reading() as reading:
        assert len(reading.deployments()) == 2


def test_transactions_count_when_they_write(any_state: PlatformState, created: Created) -> None:
    before = any_state.commits()
    with any_state.transaction() as transaction:
        assert transaction.deployments() == []
    assert any_state.commits() == before
    keep(any_state, created())
    assert any_state.commits() == before + 1


def test_a_revision_is_never_overwritten(any_state: PlatformState, created: Created) -> None:
    change = created()
    keep(any_state, change)
    assert change.revision is not None
    with pytest.raises(DeploymentConflict), any_state.transaction() as transaction:
        transaction.add_revision(replace(change.revision, bundle="other:1"))
    with any_state.reading() as reading:
        assert reading.revision("iris", 1) == change.revision


def test_nothing_belongs_to_a_deployment_that_is_not_there(
    any_state: PlatformState, created: Created
) -> None:
    with pytest.raises(DeploymentConflict), any_state.transaction() as transaction:
        transaction.put_replica(replica("r", "nobody"))
    with any_state.reading() as reading:
        assert reading.replicas() == []


def test_deleting_takes_everything_but_the_events(
    any_state: PlatformState, created: Created
) -> None:
    keep(any_state, created(), created("rose"))
    with any_state.transaction() as transaction:
        transaction.put_replica(replica("r1"))
        transaction.put_replica(replica("r2", "rose"))
        transaction.delete_deployment("iris")
    with any_state.reading() as reading:
        assert [each.name for each in reading.deployments()] == ["rose"]
        assert reading.revisions("iris") == {}
        assert [each.id for each in reading.replicas()] == ["r2"]
        assert {event.deployment for _, event in reading.events()} == {"iris", "rose"}
    keep(any_state, created())  # the name is free again


def test_replicas_are_written_over_and_removed(any_state: PlatformState, created: Created) -> None:
    keep(any_state, created(), created("rose"))
    with any_state.transaction() as transaction:
        transaction.put_replica(replica("b", phase=ReplicaPhase.STARTING))
        transaction.put_replica(replica("a", "rose"))
        transaction.put_replica(replica("b", ready_at=3.5, pid=7, reason="x"))
    with any_state.transaction() as transaction:
        transaction.remove_replica("a")
        assert transaction.replicas("rose") == []
    with any_state.reading() as reading:
        assert reading.replicas() == [replica("b", ready_at=3.5, pid=7, reason="x")]
        assert reading.replicas("iris") == reading.replicas()


def test_states_have_the_revisions_that_matter(any_state: PlatformState, created: Created) -> None:
    change = created()
    keep(any_state, change)
    for number in range(2, 9):
        change = update(
            change.deployment, None, Asked(2.0), bundle=BundlePin(f"iris:{number}", str(number))
        )
        keep(any_state, change)
    rollout = Rollout(6, 5, StrategyName.ROLLING, RolloutPhase.PROGRESSING, 0, 1.0, 1.0)
    deployment = replace(change.deployment, active_revision=3, previous_revision=4, rollout=rollout)
    now = 1_800_000_000.0
    ended = ReplicaPhase.FAILED
    with any_state.transaction() as transaction:
        transaction.put_deployment(deployment)
        transaction.put_replica(replica("alive", revision=1, phase=ReplicaPhase.STOPPING))
        transaction.put_replica(replica("late", revision=2, phase=ended, since_at=now - 599))
        transaction.put_replica(replica("early", revision=2, phase=ended, since_at=now - 601))
    keep(any_state, created("rose"))
    with any_state.reading() as reading:
        states = {each.deployment.name: each for each in reading.states()}
        assert states["iris"] == reading.state("iris")
        assert states["rose"] == reading.state("rose")
    assert sorted(states) == ["iris", "rose"]
    iris = states["iris"]
    assert iris.deployment == deployment
    # of a replica that runs, active, previous, of the rollout, latest
    assert sorted(iris.revisions) == [1, 3, 4, 5, 6, 8]
    assert all(number == each.number for number, each in iris.revisions.items())
    assert sorted(each.id for each in iris.replicas) == ["alive", "late"]
    assert states["rose"].replicas == ()


def test_reading_all_states_takes_as_many_queries_however_many_there_are(
    state: PlatformState, created: Created
) -> None:
    from sqlalchemy import event

    asked: list[str] = []

    def note(*arguments: Any) -> None:
        asked.append(arguments[2])

    keep(state, created())
    counts: list[int] = []
    event.listen(state._engine, "before_cursor_execute", note)
    for more in (0, 30):
        keep(state, *(created(f"d{number}") for number in range(more)))
        asked.clear()
        with state.reading() as reading:
            assert len(reading.states()) == more + 1
        counts.append(len(asked))
    assert counts[0] == counts[1]


def test_events_are_paged_in_both_directions(any_state: PlatformState, created: Created) -> None:
    with any_state.transaction() as transaction:
        numbers = [
            transaction.add_event(
                Event(float(i), "even" if i % 2 == 0 else "odd", "kind", str(i), i, "r", "me")
            )
            for i in range(10)
        ]
    assert numbers == sorted(set(numbers))
    with any_state.reading() as reading:
        assert reading.events()[0] == (numbers[0], Event(0.0, "even", "kind", "0", 0, "r", "me"))
        assert [n for n, _ in reading.events(limit=3)] == numbers[:3]
        assert [n for n, _ in reading.events(limit=3, newest=True)] == numbers[-3:]
        assert [n for n, _ in reading.events(after=numbers[7])] == numbers[8:]
        assert [n for n, _ in reading.events("odd", limit=2, newest=True)] == numbers[7::2]
        assert reading.events("nobody") == []


def test_only_the_newest_events_are_kept(state: PlatformState) -> None:
    with state.transaction() as transaction:
        first = transaction.add_event(Event(1.0, "iris", "kind", "first"))
        second = transaction.add_event(Event(1.0, "iris", "kind", "second"))
        # As if as many others had come meanwhile.
        statement = (
            f"UPDATE sqlite_sequence SET seq = {first + EVENTS_KEPT - 1} WHERE name='events'"
        )
        transaction._connection.exec_driver_sql(statement)
        last = transaction.add_event(Event(1.0, "iris", "kind", "last"))
        assert [number for number, _ in transaction.events()] == [second, last]


def test_an_answer_is_kept_for_a_day(any_state: PlatformState, clock: Any) -> None:
    answer = KeptAnswer("digest", 201, b"\x00\xff body")
    with any_state.transaction() as transaction:
        transaction.keep_answer("key", answer)
        assert transaction.kept_answer("key") == answer
    clock.now += 86399
    with any_state.transaction() as transaction:
        assert transaction.kept_answer("key") == answer
        transaction.keep_answer("key", replace(answer, status=200))
        transaction.keep_answer("other", answer)
    clock.now += 86401
    with any_state.transaction() as transaction:
        assert transaction.kept_answer("key") is None
        transaction.keep_answer("third", answer)  # takes the old ones with it
    clock.now -= 86401
    with any_state.reading() as reading:
        assert reading.kept_answer("key") is None
        assert reading.kept_answer("third") == answer


def test_facts_are_written_over(any_state: PlatformState) -> None:
    for value in ("one", "two"):
        with any_state.transaction() as transaction:
            transaction.put_fact("head", value)
    with any_state.reading() as reading:
        assert reading.fact("head") == "two"


def test_many_threads_lose_no_update(any_state: PlatformState, created: Created) -> None:
    keep(any_state, created())
    at_once = threading.Barrier(20)

    def count(_: int) -> None:
        at_once.wait()
        for _ in range(3):
            with any_state.transaction() as transaction:
                deployment = transaction.deployment("iris")
                transaction.put_deployment(
                    replace(deployment, generation=deployment.generation + 1)
                )
            with any_state.reading() as reading:
                assert reading.state("iris").deployment.generation > 1

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(count, range(20)))
    with any_state.reading() as reading:
        assert reading.deployment("iris").generation == 61
