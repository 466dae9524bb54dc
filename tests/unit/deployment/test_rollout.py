"""Rollouts of every strategy, on paper: what serves, with which share, and when it stops."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.deployment.simulated import World, bundle, deployed

from dosirak.deployment import changes
from dosirak.deployment.configuration import (
    Access,
    DeploymentConfiguration,
    Scaling,
    StrategyName,
)
from dosirak.deployment.records import Presence, RolloutPhase
from dosirak.errors import DeploymentConflict, DosirakError

TWO = Scaling(min_replicas=2, max_replicas=4)


def configured(**options: object) -> DeploymentConfiguration:
    return DeploymentConfiguration.model_validate({"scaling": TWO, **options})


def updated(world: World, version: str = "2", **options: object) -> None:
    configuration = world.deployment.configuration.model_copy(update=options)
    world.do(
        lambda deployment, asked: changes.update(
            deployment,
            world.latest(),
            asked,
            bundle=bundle(version),
            configuration=configuration,
        )
    )


def phase(world: World) -> RolloutPhase:
    assert world.deployment.rollout is not None
    return world.deployment.rollout.phase


def test_the_first_revision_serves_once_its_replicas_are_ready() -> None:
    world = deployed(configured())
    assert world.shares() == {1: 100}
    assert world.deployment.active_revision == 1
    assert world.alive(1) == 2


@pytest.mark.parametrize("strategy", list(StrategyName))
def test_an_update_moves_all_requests(strategy: StrategyName) -> None:
    world = deployed(configured(strategy=strategy))
    updated(world)
    world.tick(12)
    if strategy is StrategyName.CANARY:
        assert world.shares() == {1: 90, 2: 10}
        world.do(changes.promote)
        world.tick(12)
    assert phase(world) is RolloutPhase.COMPLETED
    assert world.shares() == {2: 100}


@pytest.mark.parametrize("strategy", [StrategyName.ROLLING, StrategyName.BLUE_GREEN])
@pytest.mark.parametrize("keep_s", [0.0, 600.0])
def test_there_are_never_fewer_replicas_than_wanted(strategy: StrategyName, keep_s: float) -> None:
    world = deployed(configured(strategy=strategy, keep_previous_s=keep_s))
    updated(world)
    for _ in range(30):
        world.tick()
        assert len(world.routed()) >= 2
    assert world.shares() == {2: 100}


@pytest.mark.parametrize("ticks", range(1, 12))
def test_an_abort_at_any_moment_of_a_rolling_update_is_served_at_once(ticks: int) -> None:
    world = deployed(configured(keep_previous_s=0.0))
    updated(world)
    world.tick(ticks)
    with contextlib.suppress(DeploymentConflict):  # it was completed already
        world.do(changes.abort)
    for _ in range(12):
        world.tick()
        assert world.routed()


def test_the_revision_before_stays_warm_for_its_time_and_no_longer() -> None:
    world = deployed(configured(keep_previous_s=10.0))
    updated(world)
    world.tick(12)
    assert (world.alive(1), world.alive(2)) == (2, 2)
    world.tick(30)
    assert (world.alive(1), world.alive(2)) == (0, 2)


def test_a_rollback_to_a_warm_revision_is_one_switch() -> None:
    world = deployed(configured())
    updated(world)
    world.tick(12)
    started = len(world.place.age)
    world.do(lambda deployment, asked: changes.rollback(deployment, world.state.revisions, asked))
    world.tick(2)  # one to decide, one for the router
    assert world.shares() == {1: 100}
    assert len(world.place.age) == started
    world.do(lambda deployment, asked: changes.rollback(deployment, world.state.revisions, asked))
    world.tick(2)
    assert world.shares() == {2: 100}


def test_a_rollback_to_a_revision_that_has_ended_starts_it_before_it_switches() -> None:
    world = deployed(configured(keep_previous_s=1.0))
    updated(world)
    world.tick(30)
    assert world.alive(1) == 0
    world.do(
        lambda deployment, asked: changes.rollback(deployment, world.state.revisions, asked, to=1)
    )
    for _ in range(12):
        world.tick()
        assert world.shares() in ({1: 100}, {2: 100})
    assert world.shares() == {1: 100}


@pytest.mark.parametrize("strategy", list(StrategyName))
def test_a_revision_that_never_becomes_ready_is_stopped_by_itself(strategy: StrategyName) -> None:
    world = deployed(configured(strategy=strategy))
    world.broken.add(2)
    updated(world)
    for _ in range(60):
        world.tick()
        assert strategy is StrategyName.RECREATE or world.shares() == {1: 100}
    assert phase(world) is RolloutPhase.FAILED
    assert "Its model is broken." in world.events[-1].message or any(
        "Its model is broken." in event.message for event in world.events
    )
    assert world.alive(2) == 0
    assert world.shares() == {1: 100}


def test_a_canary_that_crashes_while_it_waits_gives_everything_back() -> None:
    world = deployed(configured(strategy=StrategyName.CANARY))
    updated(world)
    world.tick(12)
    world.broken.add(2)
    world.tick(60)
    assert phase(world) is RolloutPhase.FAILED
    assert world.shares() == {1: 100}


def test_blue_green_by_hand_gives_nothing_before_a_person_says_so() -> None:
    world = deployed(configured(strategy=StrategyName.BLUE_GREEN, promote_by_hand=True))
    updated(world)
    for _ in range(20):
        world.tick()
        assert world.shares() == {1: 100}
    assert phase(world) is RolloutPhase.WAITING
    for replica, revision in list(world.place.revision.items()):
        if revision == 1:
            world.kill(replica)
    world.tick(2)
    assert world.shares() == {}
    world.tick(10)
    world.do(changes.promote)
    world.tick(2)
    assert world.shares() == {2: 100}


def test_a_paused_rollout_keeps_its_share_and_goes_on() -> None:
    world = deployed(configured())
    updated(world)
    while world.shares() == {1: 100}:
        world.tick()
    world.do(changes.pause)
    world.tick(20)
    assert world.shares() == {1: 50, 2: 50}
    world.do(changes.resume)
    world.tick(10)
    assert world.shares() == {2: 100}


def test_an_abort_gives_everything_back_and_ends_what_came() -> None:
    world = deployed(configured(strategy=StrategyName.CANARY))
    updated(world)
    world.tick(12)
    world.do(changes.abort)
    world.tick(2)
    assert world.shares() == {1: 100}
    world.tick(10)
    assert world.alive(2) == 0


def test_settings_that_did_not_come_to_be_are_forgotten_and_the_others_stay() -> None:
    world = deployed(configured(strategy=StrategyName.CANARY, environment={"LEVEL": "info"}))
    updated(world, "2", environment={"LEVEL": "debug"}, timeout_s=5.0)
    world.tick(12)
    world.do(changes.abort)
    world.tick(2)
    assert world.deployment.configuration.environment == {"LEVEL": "info"}
    assert world.deployment.configuration.timeout_s == 5.0


def test_a_rollback_does_not_open_what_was_closed_since() -> None:
    world = deployed(configured(environment={"LEVEL": "info"}))
    updated(world, "2", environment={"LEVEL": "debug"}, access=Access.TOKEN)
    world.tick(12)
    world.do(lambda deployment, asked: changes.rollback(deployment, world.state.revisions, asked))
    world.tick(3)
    assert world.shares() == {1: 100}
    assert world.deployment.configuration.environment == {"LEVEL": "info"}
    assert world.deployment.configuration.access is Access.TOKEN


def test_an_update_during_a_rollout_takes_its_place() -> None:
    world = deployed(configured())
    updated(world, "2")
    world.tick(6)
    updated(world, "3")
    world.tick(20)
    assert world.shares() == {3: 100}
    assert world.alive(2) == 0


def test_what_does_not_change_replicas_makes_no_revision() -> None:
    world = deployed(configured())
    before = world.deployment
    updated(world, "1", timeout_s=5.0)
    assert world.deployment.latest_revision == 1
    assert world.deployment.generation == before.generation + 1
    assert world.deployment.moving is None


@pytest.mark.parametrize("strategy", [StrategyName.ROLLING, StrategyName.RECREATE])
def test_a_restart_is_another_revision_of_the_same(strategy: StrategyName) -> None:
    world = deployed(configured(strategy=strategy))
    updated(world, "1", timeout_s=5.0)
    world.do(lambda deployment, asked: changes.restart(deployment, world.latest(), asked))
    world.tick(20)
    assert world.shares() == {2: 100}
    assert world.alive(2) == 2
    first, second = world.state.revisions[1], world.state.revisions[2]
    assert (second.bundle, second.bundle_id) == (first.bundle, first.bundle_id)
    assert second.configuration == world.deployment.configuration
    assert world.deployment.configuration.timeout_s == 5.0


def test_what_is_terminated_is_started_not_restarted() -> None:
    world = deployed(configured())
    world.do(changes.terminate)
    with pytest.raises(DeploymentConflict) as caught:
        world.do(lambda deployment, asked: changes.restart(deployment, world.latest(), asked))
    assert "dosirak deployment start" in caught.value.remedy


def test_a_killed_replica_is_replaced_at_once_however_often() -> None:
    world = deployed(configured())
    for _ in range(20):
        world.tick(5)
        victim = min(world.routed())
        world.kill(victim)
        world.tick()
        assert world.alive(1) == 2


def test_a_rollback_while_terminated_says_what_will_be_started() -> None:
    world = deployed(configured())
    updated(world)
    world.tick(12)
    world.do(changes.terminate)
    world.tick(10)
    world.do(lambda deployment, asked: changes.rollback(deployment, world.state.revisions, asked))
    assert world.deployment.moving is None
    world.do(changes.start)
    world.tick(12)
    assert world.shares() == {1: 100}


def test_terminated_it_has_no_replica_and_started_it_serves_again() -> None:
    world = deployed(configured())
    world.do(changes.terminate)
    world.tick(10)
    assert (world.alive(1), world.shares()) == (0, {})
    with pytest.raises(DeploymentConflict):
        world.do(changes.promote)
    world.do(changes.start)
    world.tick(10)
    assert world.shares() == {1: 100}


@pytest.mark.parametrize(("count", "told"), [(1, "1 replica is"), (3, "3 replicas are")])
def test_what_is_wanted_is_counted_in_words(count: int, told: str) -> None:
    world = deployed(configured(scaling=Scaling(min_replicas=0, max_replicas=4)), ticks=1)
    world.do(lambda deployment, asked: changes.scale(deployment, count, asked))
    assert any(event.message.startswith(f"{told} wanted;") for event in world.events)


def test_only_where_replicas_come_by_themselves_callers_are_told_to_try_again() -> None:
    world = deployed(configured(scaling=Scaling(min_replicas=0, max_replicas=2)))
    assert world.applied is not None
    assert world.applied.unavailable_remedy == ""
    world.do(lambda deployment, asked: changes.scale(deployment, 0, asked))
    world.tick(12)
    assert "`dosirak deployment scale iris 1`" in world.applied.unavailable_remedy
    world.do(changes.terminate)
    world.tick(12)
    assert world.applied.unavailable_reason == "The deployment is terminated."
    assert "`dosirak deployment start iris`" in world.applied.unavailable_remedy
    world.do(changes.start)
    world.do(lambda deployment, asked: changes.scale(deployment, 1, asked))
    world.tick(2)
    assert world.applied.unavailable_remedy == ""


def test_a_deleted_one_leaves_nothing() -> None:
    world = deployed(configured())
    updated(world)
    world.tick(3)
    world.do(changes.delete)
    world.tick(12)
    assert world.state.replicas == ()


VERBS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "update", "break", "rollback", "promote", "abort", "pause", "resume", "scale",
                "weight", "kill", "terminate", "start", "wait",
            ]
        ),
        st.integers(0, 100),
        st.integers(0, 12),
    ),
    max_size=25,
)  # fmt: skip


@given(VERBS, st.sampled_from(list(StrategyName)), st.booleans())
def test_whatever_people_do_it_ends_with_one_revision_that_serves(
    verbs: list[tuple[str, int, int]], strategy: StrategyName, by_hand: bool
) -> None:
    world = deployed(configured(strategy=strategy, promote_by_hand=by_hand))
    chance = random.Random(len(verbs))
    for number, (verb, value, ticks) in enumerate(verbs):
        with contextlib.suppress(DosirakError):
            _do(world, verb, value, f"{number + 2}", chance)
        for _ in range(ticks):
            world.tick()
            assert sum(world.shares().values()) in (0, 100)
    if world.deployment.presence is Presence.TERMINATED:
        world.do(changes.start)
    moving = world.deployment.moving
    if moving is not None and moving.from_revision is not None:
        world.do(changes.abort)
    elif moving is not None and moving.phase is RolloutPhase.PAUSED:
        world.do(changes.resume)
    world.broken.clear()
    world.tick(260)
    if world.deployment.active_revision is None:
        assert phase(world) is RolloutPhase.FAILED
        return
    assert world.shares() == {world.deployment.active_revision: 100}
    assert world.alive(world.deployment.active_revision) == world.deployment.replicas


def _do(world: World, verb: str, value: int, version: str, chance: random.Random) -> None:
    match verb:
        case "update":
            updated(world, version)
        case "break":
            updated(world, version)
            world.broken.add(world.deployment.latest_revision)
        case "rollback":
            world.do(
                lambda deployment, asked: changes.rollback(deployment, world.state.revisions, asked)
            )
        case "scale":
            replicas = 2 + value % 3
            world.do(lambda deployment, asked: changes.scale(deployment, replicas, asked))
        case "weight":
            world.do(lambda deployment, asked: changes.set_weight(deployment, value, asked))
        case "kill":
            if world.routed():
                world.kill(chance.choice(sorted(world.routed())))
        case "wait":
            pass
        case _:
            world.do(getattr(changes, verb))
