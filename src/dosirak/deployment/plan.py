"""What to do next: (state, what the router has taken up, clock) → actions.

Pure. An action is a sentence about one replica; the controller writes down its new phase first and
then does it, so that any of them may be repeated after a crash.

    start ──▶ STARTING ──▶ READY ──withdraw──▶ DRAINING ──idle──▶ STOPPING ──▶ STOPPED ──forget──▶
                                                           (told to stop, then killed)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from dosirak.deployment.records import (
    Deployment,
    DeploymentState,
    Presence,
    Replica,
    ReplicaPhase,
)
from dosirak.deployment.restarts import next_start_at
from dosirak.deployment.rollout import wanted_replicas
from dosirak.deployment.target import SeenReplica

# How much longer than its drain timeout a replica may take before it is killed.
_GRACE_S = 10.0
# How long ended replicas are shown, and their failures counted.
_REMEMBERED_S = 600.0


class Deed(StrEnum):
    """What is done to a replica."""

    START = "start"
    WITHDRAW = "withdraw"
    STOP = "stop"
    KILL = "kill"
    FORGET = "forget"


@dataclass(frozen=True, slots=True)
class Action:
    """One deed, and the replica as it is to be written down before."""

    deed: Deed
    replica: Replica


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a plan needs to know beyond the state.

    Attributes:
        seen: replicas that have been started, as far as the target knows.
        idle: replicas that the router sends nothing to and that answer nothing for it any more.
        silent: replicas that were ready and have not said so for too long.
        told: replicas that were told to stop since the controller started.
        fresh_ids: ids for replicas to be started; as many as could be needed.
    """

    seen: Collection[str]
    idle: Collection[str]
    fresh_ids: tuple[str, ...]
    silent: Collection[str] = ()
    told: Collection[str] = ()


def plan(state: DeploymentState, around: Surroundings, now: float) -> tuple[Action, ...]:
    """Decide what to do for one deployment."""
    wanted = wanted_replicas(state)
    of_revision: dict[int, list[Replica]] = {number: [] for number in wanted}
    for replica in state.replicas:
        of_revision.setdefault(replica.revision, []).append(replica)
    actions: list[Action] = []
    fresh = list(around.fresh_ids)
    for number, replicas in of_revision.items():
        actions += _balance(state, number, replicas, wanted.get(number, 0), fresh, now)
    for replica in state.replicas:
        actions += _tend(replica, _drain_s(state, replica), state.deployment, around, now)
    return tuple(actions)


def starts_needed(state: DeploymentState) -> int:
    """Return the most replicas that a plan could start."""
    return sum(wanted_replicas(state).values())


def _balance(
    state: DeploymentState,
    revision: int,
    replicas: list[Replica],
    wanted: int,
    fresh: list[str],
    now: float,
) -> list[Action]:
    active = [
        replica
        for replica in replicas
        if replica.phase in (ReplicaPhase.STARTING, ReplicaPhase.READY)
    ]
    surplus = len(active) - wanted
    if surplus > 0:
        # Those that do nothing yet go first, then the youngest.
        order = sorted(active, key=lambda one: (one.phase is ReplicaPhase.READY, -one.started_at))
        return [_withdrawn(replica, now) for replica in order[:surplus]]
    if surplus == 0 or next_start_at(replicas) > now:
        return []
    return [_started(state.deployment, revision, fresh.pop(), now) for _ in range(-surplus)]


def _started(deployment: Deployment, revision: int, replica: str, now: float) -> Action:
    made = Replica(
        id=replica,
        deployment=deployment.name,
        revision=revision,
        phase=ReplicaPhase.STARTING,
        started_at=now,
        since_at=now,
    )
    return Action(Deed.START, made)


def _withdrawn(replica: Replica, now: float) -> Action:
    return Action(Deed.WITHDRAW, replace(replica, phase=ReplicaPhase.DRAINING, since_at=now))


def _tend(
    replica: Replica, drain_s: float, deployment: Deployment, around: Surroundings, now: float
) -> list[Action]:
    waited_s = now - replica.since_at
    action: Action | None = None
    match replica.phase:
        case ReplicaPhase.STARTING if replica.id not in around.seen:
            action = Action(Deed.START, replica)
        case ReplicaPhase.STARTING if waited_s > deployment.configuration.ready_timeout_s:
            action = Action(Deed.KILL, replica)
        case ReplicaPhase.READY if replica.id in around.silent:
            action = Action(Deed.KILL, replica)
        case ReplicaPhase.DRAINING if replica.id in around.idle or waited_s > drain_s:
            stopping = replace(replica, phase=ReplicaPhase.STOPPING, since_at=now)
            action = Action(Deed.STOP, stopping)
        case ReplicaPhase.STOPPING if waited_s > drain_s + _GRACE_S:
            action = Action(Deed.KILL, replica)
        case ReplicaPhase.STOPPING if replica.id not in around.told:
            action = Action(Deed.STOP, replica)
        case ReplicaPhase.STOPPED | ReplicaPhase.FAILED if _is_history(deployment, waited_s):
            action = Action(Deed.FORGET, replica)
        case _:
            pass
    return [] if action is None else [action]


def _is_history(deployment: Deployment, waited_s: float) -> bool:
    return waited_s > _REMEMBERED_S or deployment.presence is Presence.DELETED


def _drain_s(state: DeploymentState, replica: Replica) -> float:
    revision = state.revisions.get(replica.revision)
    configuration = revision.configuration if revision else state.deployment.configuration
    return configuration.drain_timeout_s


def strangers(states: Collection[DeploymentState], seen: Iterable[str]) -> tuple[str, ...]:
    """Return replicas that the target knows and that nobody wrote down."""
    known = {replica.id for state in states for replica in state.replicas}
    return tuple(replica for replica in seen if replica not in known)


def only_strangers_serve(
    states: Collection[DeploymentState], seen: Mapping[str, SeenReplica]
) -> bool:
    """Whether a deployment has nobody to answer but, perhaps, replicas that nobody wrote down.

    So it is after a database was restored that is older than what runs: what is written down is
    started first, and gets the requests once it is ready.
    """
    return any(seen[replica].alive for replica in strangers(states, seen)) and any(
        state.deployment.presence is Presence.RUNNING
        and state.deployment.replicas
        and not any(one.phase is ReplicaPhase.READY for one in state.replicas)
        for state in states
    )
