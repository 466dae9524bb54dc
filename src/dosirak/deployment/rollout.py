"""How a rollout moves on: (deployment, health of its revisions, clock) → the deployment after.

A state machine without a clock, a process or a database of its own. It decides three things:
`advance` where the rollout is, `wanted_replicas` how many replicas each revision should have, and
`weights` what share of the requests each gets. The controller asks again whenever something has
changed, and asking twice is asking once.

    progressing ──▶ waiting ──promote──▶ progressing ──▶ completed
         │  ▲          │                      │
      pause resume   abort                 crashes, too slow ──▶ failed
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from dosirak.deployment.configuration import StrategyName
from dosirak.deployment.records import (
    Deployment,
    DeploymentState,
    Event,
    Presence,
    Replica,
    ReplicaPhase,
    Rollout,
    RolloutPhase,
)

_ALL = 100


@dataclass(frozen=True, slots=True)
class RevisionHealth:
    """What there is of one revision now.

    Attributes:
        started: replicas that are starting or ready.
        ready: those that answer.
        present: those that have a process at all, draining ones included.
        last_reason: why the last one ended by itself.
    """

    started: int = 0
    ready: int = 0
    present: int = 0
    last_reason: str = ""


NOTHING = RevisionHealth()


class _Moment(NamedTuple):
    now: float
    routed: bool


def health_of(replicas: Iterable[Replica]) -> dict[int, RevisionHealth]:
    """Count the replicas of each revision."""
    of_revision: dict[int, list[Replica]] = {}
    for replica in replicas:
        of_revision.setdefault(replica.revision, []).append(replica)
    return {number: _counted(found) for number, found in of_revision.items()}


def _counted(replicas: list[Replica]) -> RevisionHealth:
    phases = [replica.phase for replica in replicas]
    failed = [replica for replica in replicas if replica.phase is ReplicaPhase.FAILED]
    last = max(failed, key=lambda replica: replica.since_at, default=None)
    ready = phases.count(ReplicaPhase.READY)
    return RevisionHealth(
        started=phases.count(ReplicaPhase.STARTING) + ready,
        ready=ready,
        present=sum(phase.alive for phase in phases),
        last_reason=last.reason if last else "",
    )


def advance(
    state: DeploymentState, now: float, *, routed: bool
) -> tuple[Deployment, tuple[Event, ...]]:
    """Move a deployment's rollout on as far as its replicas and the router allow.

    Args:
        state: the deployment and its replicas.
        now: the wall clock.
        routed: whether requests follow the weights in `state` already. A rollout is completed when
            its last switch is a fact, not when it was ordered: whoever waits for it may call.
    """
    deployment = state.deployment
    if deployment.presence is not Presence.RUNNING:
        return deployment, ()
    rollout = deployment.moving
    if rollout is None:
        return _at_rest(state, now), ()
    if rollout.phase is RolloutPhase.PAUSED:
        return deployment, ()
    health = health_of(state.replicas)
    coming = health.get(rollout.to_revision, NOTHING)
    failure = _failure(deployment, rollout, coming, now)
    if failure:
        return _fail(deployment, rollout, failure, now)
    return _STEPS[rollout.strategy](deployment, rollout, coming, _Moment(now, routed))


def wanted_replicas(state: DeploymentState) -> dict[int, int]:
    """Return how many replicas each revision should have; those not named should have none."""
    deployment = state.deployment
    if deployment.presence is not Presence.RUNNING:
        return {}
    rollout = deployment.moving
    if rollout is None:
        return _settled(deployment)
    health = health_of(state.replicas)
    coming = health.get(rollout.to_revision, NOTHING)
    wanted: dict[int, int] = {}
    if rollout.from_revision is not None:
        leaving = health.get(rollout.from_revision, NOTHING)
        wanted[rollout.from_revision] = _wanted_leaving(deployment, rollout, coming)
        if rollout.strategy is StrategyName.RECREATE and leaving.present:
            return wanted
    wanted[rollout.to_revision] = _wanted_coming(deployment, rollout, coming)
    return wanted


def weights(state: DeploymentState) -> dict[int, int]:
    """Return each revision's share of the requests in percent.

    What a revision without a ready replica should have goes to the other one, if that has a share
    of its own: a revision that waits for a person gets nothing before. Nothing is returned when
    nobody could answer.
    """
    deployment = state.deployment
    if deployment.presence is not Presence.RUNNING:
        return {}
    health = health_of(state.replicas)
    shares = {
        number: share
        for number, share in _shares(deployment).items()
        if share and health.get(number, NOTHING).ready
    }
    if shares:
        greatest = max(shares, key=lambda number: shares[number])
        shares[greatest] += _ALL - sum(shares.values())
    return shares


def _shares(deployment: Deployment) -> dict[int, int]:
    rollout = deployment.moving
    if rollout is None:
        active = deployment.active_revision
        return {} if active is None else {active: _ALL}
    if rollout.from_revision is None:
        return {rollout.to_revision: _ALL}
    return {
        rollout.from_revision: _ALL - rollout.weight_percent,
        rollout.to_revision: rollout.weight_percent,
    }


def _settled(deployment: Deployment) -> dict[int, int]:
    if deployment.active_revision is None:
        return {}
    wanted = {deployment.active_revision: deployment.replicas}
    if deployment.previous_revision is not None and deployment.previous_until_at is not None:
        wanted[deployment.previous_revision] = deployment.replicas
    return wanted


def _wanted_coming(deployment: Deployment, rollout: Rollout, coming: RevisionHealth) -> int:
    count = deployment.replicas
    if rollout.phase is RolloutPhase.PAUSED:
        return coming.started
    if rollout.from_revision is None:
        return count  # nothing serves yet: there is nobody to spare
    if rollout.strategy is StrategyName.CANARY:
        share = math.ceil(count * rollout.weight_percent / _ALL)
        return min(count, max(1, share))
    if rollout.strategy is StrategyName.ROLLING:
        return min(count, coming.ready + deployment.configuration.max_surge)
    return count


def _wanted_leaving(deployment: Deployment, rollout: Rollout, coming: RevisionHealth) -> int:
    if rollout.strategy is StrategyName.RECREATE:
        return 0
    if rollout.strategy is StrategyName.ROLLING and not deployment.configuration.keep_previous_s:
        # One stays until the rollout has ended: who aborts it in the last moment is served at once.
        return min(deployment.replicas, max(1, deployment.replicas - coming.ready))
    return deployment.replicas


def _failure(deployment: Deployment, rollout: Rollout, coming: RevisionHealth, now: float) -> str:
    allowed = deployment.configuration.restarts
    because = f" {coming.last_reason}" if coming.last_reason else ""
    if rollout.crashes >= allowed:
        return f"Its replicas ended by themselves {rollout.crashes} times.{because}"
    limit_s = deployment.configuration.ready_timeout_s
    slow = rollout.phase is RolloutPhase.PROGRESSING and now - rollout.since_at > limit_s
    if slow and coming.ready < deployment.replicas:
        return f"Its replicas were not ready within {limit_s:g} s.{because}"
    return ""


def _fail(
    deployment: Deployment, rollout: Rollout, reason: str, now: float
) -> tuple[Deployment, tuple[Event, ...]]:
    ended = replace(
        rollout, phase=RolloutPhase.FAILED, weight_percent=0, since_at=now, reason=reason
    )
    kept = "" if rollout.from_revision is None else f" Revision {rollout.from_revision} serves on."
    message = f"Revision {rollout.to_revision} failed. {reason}{kept}"
    event = _event(deployment, rollout, "rollout_failed", message, now)
    return replace(deployment, rollout=ended), (event,)


def _roll(
    deployment: Deployment, rollout: Rollout, coming: RevisionHealth, moment: _Moment
) -> tuple[Deployment, tuple[Event, ...]]:
    count = deployment.replicas
    if coming.ready >= count:
        return _give_all(deployment, rollout, moment)
    share = _ALL * coming.ready // count
    if share <= rollout.weight_percent or rollout.from_revision is None:
        return deployment, ()
    moved = replace(rollout, weight_percent=share)
    message = f"Revision {rollout.to_revision} gets {share} % of the requests."
    return replace(deployment, rollout=moved), (
        _event(deployment, rollout, "weight_moved", message, moment.now),
    )


def _canary(
    deployment: Deployment, rollout: Rollout, coming: RevisionHealth, moment: _Moment
) -> tuple[Deployment, tuple[Event, ...]]:
    if rollout.from_revision is None or not deployment.replicas:
        return _switch(deployment, rollout, coming, moment)
    if rollout.phase is RolloutPhase.WAITING or not coming.ready:
        return deployment, ()
    canary = deployment.configuration.canary
    waiting = replace(
        rollout,
        phase=RolloutPhase.WAITING,
        weight_percent=canary.weight_percent,
        since_at=moment.now,
        reason="It waits to be promoted or aborted.",
    )
    message = f"Revision {rollout.to_revision} gets {canary.weight_percent} % of the requests."
    return replace(deployment, rollout=waiting), (
        _event(deployment, rollout, "canary_ready", message, moment.now),
    )


def _switch(
    deployment: Deployment, rollout: Rollout, coming: RevisionHealth, moment: _Moment
) -> tuple[Deployment, tuple[Event, ...]]:
    if rollout.phase is RolloutPhase.WAITING or coming.ready < deployment.replicas:
        return deployment, ()
    if _needs_a_person(deployment, rollout):
        waiting = replace(
            rollout,
            phase=RolloutPhase.WAITING,
            since_at=moment.now,
            reason="It waits to be promoted or aborted.",
        )
        message = f"Revision {rollout.to_revision} is ready beside the one that serves."
        return replace(deployment, rollout=waiting), (
            _event(deployment, rollout, "ready_to_promote", message, moment.now),
        )
    return _give_all(deployment, rollout, moment)


def _give_all(
    deployment: Deployment, rollout: Rollout, moment: _Moment
) -> tuple[Deployment, tuple[Event, ...]]:
    if rollout.weight_percent == _ALL and moment.routed:
        return _complete(deployment, rollout, moment.now)
    return replace(deployment, rollout=replace(rollout, weight_percent=_ALL)), ()


def _needs_a_person(deployment: Deployment, rollout: Rollout) -> bool:
    return (
        deployment.configuration.promote_by_hand
        and rollout.strategy is StrategyName.BLUE_GREEN
        and rollout.from_revision is not None
        and not rollout.promoted
        and not rollout.is_rollback
    )


_STEPS = {
    StrategyName.ROLLING: _roll,
    StrategyName.CANARY: _canary,
    StrategyName.BLUE_GREEN: _switch,
    StrategyName.RECREATE: _switch,
}


def _complete(
    deployment: Deployment, rollout: Rollout, now: float
) -> tuple[Deployment, tuple[Event, ...]]:
    ended = replace(
        rollout,
        phase=RolloutPhase.COMPLETED,
        weight_percent=_ALL,
        since_at=now,
        reason="",
    )
    keep_s = deployment.configuration.keep_previous_s
    warm = rollout.strategy is not StrategyName.RECREATE and keep_s > 0
    until = now + keep_s if warm and rollout.from_revision is not None else None
    after = replace(
        deployment,
        rollout=ended,
        active_revision=rollout.to_revision,
        previous_revision=(
            rollout.from_revision
            if rollout.from_revision is not None
            else deployment.previous_revision
        ),
        previous_until_at=until,
    )
    kind = "rollback_completed" if rollout.is_rollback else "rollout_completed"
    message = f"Revision {rollout.to_revision} gets all requests."
    return after, (_event(deployment, rollout, kind, message, now),)


def _at_rest(state: DeploymentState, now: float) -> Deployment:
    """Let the revision before end when its time is over; forget settings that did not come to be.

    After an abort or a failure the next update would else bring back what made it fail.
    """
    deployment = state.deployment
    until = deployment.previous_until_at
    if until is not None and now >= until:
        deployment = replace(deployment, previous_until_at=None)
    active = state.revisions.get(deployment.active_revision or 0)
    if active is None:
        return deployment
    configuration = deployment.configuration.running_as(active.configuration)
    if configuration == deployment.configuration:
        return deployment
    return replace(deployment, configuration=configuration)


def _event(deployment: Deployment, rollout: Rollout, kind: str, message: str, now: float) -> Event:
    return Event(
        at=now,
        deployment=deployment.name,
        kind=kind,
        message=message,
        revision=rollout.to_revision,
    )
