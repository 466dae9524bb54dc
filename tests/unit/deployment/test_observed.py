"""What was seen of a replica, taken into what is known of it."""

from __future__ import annotations

from dataclasses import replace

from dosirak.deployment.configuration import DeploymentConfiguration
from dosirak.deployment.observed import observe
from dosirak.deployment.records import (
    Deployment,
    DeploymentState,
    Event,
    Presence,
    Replica,
    ReplicaPhase,
)
from dosirak.deployment.target import SeenReplica

DEPLOYMENT = Deployment(
    name="iris", presence=Presence.RUNNING, generation=1, replicas=1, created_at=0.0,
    configuration=DeploymentConfiguration(), updated_at=0.0, active_revision=1, latest_revision=1,
)  # fmt: skip
STARTING = Replica("r", "iris", 1, ReplicaPhase.STARTING, 1.0, 1.0)


def _after(*sights: SeenReplica, replica: Replica = STARTING) -> tuple[list[Replica], list[Event]]:
    """Return the replica after each sight, and all that was told."""
    state = DeploymentState(DEPLOYMENT, {}, (replica,))
    replicas: list[Replica] = []
    events: list[Event] = []
    for number, sight in enumerate(sights):
        observation = observe(state, {"r": sight}, 10.0 + number)
        state = observation.state
        replicas += state.replicas
        events += observation.events
    return replicas, events


def _seen(stage: str) -> SeenReplica:
    return SeenReplica("r", alive=stage != "ended", ready=stage == "serving", stage=stage)


def test_that_the_environment_is_made_is_told_once_and_while_it_lasts() -> None:
    stages = ("starting", "preparing", "preparing", "starting", "serving")
    replicas, events = _after(*map(_seen, stages))
    making = "The environment is being made."
    assert [replica.reason for replica in replicas] == ["", making, making, "", ""]
    assert [event.kind for event in events] == ["environment_making", "replica_ready"]


def test_one_that_leaves_while_its_environment_is_made_leaves_no_reason() -> None:
    made, _ = _after(_seen("preparing"))
    stopping = replace(made[0], phase=ReplicaPhase.STOPPING)
    replicas, events = _after(_seen("preparing"), _seen("ended"), replica=stopping)
    assert [(one.phase, one.reason) for one in replicas] == [
        (ReplicaPhase.STOPPING, ""),
        (ReplicaPhase.STOPPED, ""),
    ]
    assert events == []
