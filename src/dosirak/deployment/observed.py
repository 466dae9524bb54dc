"""What was seen of replicas, taken into what is known of them: (state, sight, clock) → state after.

Pure. The only place that says a replica has become ready, has ended by itself, or as it was told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from dosirak.deployment.records import (
    Deployment,
    DeploymentState,
    Event,
    Replica,
    ReplicaPhase,
)
from dosirak.deployment.target import SeenReplica

_MAKING = "The environment is being made."
_LEAVING = (ReplicaPhase.DRAINING, ReplicaPhase.STOPPING)


@dataclass(frozen=True, slots=True)
class Observation:
    """The state after, the replicas that changed in it, and what there is to tell."""

    state: DeploymentState
    changed: tuple[Replica, ...]
    events: tuple[Event, ...]


def observe(state: DeploymentState, seen: Mapping[str, SeenReplica], now: float) -> Observation:
    """Compare what is known with what was seen."""
    after: list[Replica] = []
    changed: list[Replica] = []
    events: list[Event] = []
    deployment = state.deployment
    for before in state.replicas:
        replica, told = _observed(before, seen.get(before.id), now)
        after.append(replica)
        if replica is not before:
            changed.append(replica)
        if told is not None:
            events.append(told)
        if replica.phase is ReplicaPhase.FAILED and before.phase.alive:
            deployment = _with_crash(deployment, replica)
    observed = replace(state, deployment=deployment, replicas=tuple(after))
    return Observation(observed, tuple(changed), tuple(events))


def start_failed(state: DeploymentState, replica: Replica, reason: str, now: float) -> Observation:
    """Take in that a replica that was written down could not be started."""
    failed = replace(replica, phase=ReplicaPhase.FAILED, since_at=now, reason=reason)
    told = _event(failed, "replica_failed", f"It could not be started. {reason}", now)
    others = tuple(one for one in state.replicas if one.id != replica.id)
    after = replace(
        state, deployment=_with_crash(state.deployment, failed), replicas=(*others, failed)
    )
    return Observation(after, (failed,), (told,))


def _observed(
    replica: Replica, sight: SeenReplica | None, now: float
) -> tuple[Replica, Event | None]:
    if not replica.phase.alive:
        return replica, None
    if sight is None:
        if replica.phase is ReplicaPhase.STARTING:
            return replica, None  # it was written down and not started yet; the plan starts it
        return _gone(replica, "Its process is gone without a trace.", now)
    if sight.pid is not None and sight.pid != replica.pid:
        replica = replace(replica, pid=sight.pid)
    if not sight.alive:
        return _gone(replica, sight.reason or "It ended.", now)
    if sight.ready and replica.phase is ReplicaPhase.STARTING:
        ready = replace(replica, phase=ReplicaPhase.READY, since_at=now, ready_at=now, reason="")
        waited_s = now - replica.started_at
        return ready, _event(ready, "replica_ready", f"It is ready after {waited_s:.1f} s.", now)
    return _preparing(replica, sight, now)


def _preparing(replica: Replica, sight: SeenReplica, now: float) -> tuple[Replica, Event | None]:
    """Take in that its environment begins to be made, or no longer is."""
    making = replica.phase is ReplicaPhase.STARTING and sight.stage == "preparing"
    if making == (replica.reason == _MAKING):
        return replica, None
    if not making:
        return replace(replica, reason=""), None
    told = replace(replica, reason=_MAKING)
    return told, _event(told, "environment_making", _MAKING, now)


def _gone(replica: Replica, reason: str, now: float) -> tuple[Replica, Event | None]:
    if replica.phase in _LEAVING:
        return replace(replica, phase=ReplicaPhase.STOPPED, since_at=now, reason=""), None
    failed = replace(replica, phase=ReplicaPhase.FAILED, since_at=now, reason=reason)
    return failed, _event(failed, "replica_failed", f"It ended by itself. {reason}", now)


def _with_crash(deployment: Deployment, replica: Replica) -> Deployment:
    rollout = deployment.moving
    if rollout is None or rollout.to_revision != replica.revision:
        return deployment
    return replace(deployment, rollout=replace(rollout, crashes=rollout.crashes + 1))


def _event(replica: Replica, kind: str, message: str, now: float) -> Event:
    return Event(
        at=now,
        deployment=replica.deployment,
        kind=kind,
        message=message,
        revision=replica.revision,
        replica=replica.id,
    )
