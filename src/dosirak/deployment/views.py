"""What the outside sees of a deployment: records → views. Pure, but for the types of pydantic.

The API answers with these, its schema describes them, and the Python client reads them back. The
words of `DeploymentStatus` are those that BentoCloud's users know; `cloud_view` gives the keys of
their `deployment get` too.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from dosirak.deployment.configuration import Access, DeploymentConfiguration, StrategyName
from dosirak.deployment.records import (
    Deployment,
    DeploymentState,
    Event,
    Presence,
    Replica,
    ReplicaPhase,
    Revision,
    Rollout,
    RolloutPhase,
    told_replicas,
)
from dosirak.deployment.rollout import weights


class DeploymentStatus(StrEnum):
    """How a deployment is, in one word."""

    NON_DEPLOYED = "non-deployed"
    DEPLOYING = "deploying"
    RUNNING = "running"
    UNHEALTHY = "unhealthy"
    FAILED = "failed"
    SCALED_TO_ZERO = "scaled-to-zero"
    TERMINATING = "terminating"
    TERMINATED = "terminated"


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class StatusView(_View):
    """A word, and why it is that one.

    Attributes:
        since_at: when it was last changed by a person or a rollout.
    """

    status: DeploymentStatus
    reason: str = ""
    since_at: datetime


class ReplicaCounts(_View):
    """Replicas of the revision that has the traffic, or is to get it."""

    wanted: int
    ready: int


class TrafficShare(_View):
    """A revision's share of the requests."""

    revision: int
    weight_percent: int
    ready_replicas: int


class RolloutView(_View):
    """Traffic that moves, or moved last."""

    to_revision: int
    from_revision: int | None
    strategy: StrategyName
    phase: RolloutPhase
    weight_percent: int
    started_at: datetime
    since_at: datetime
    reason: str
    is_rollback: bool
    crashes: int
    promoted: bool


class ReplicaView(_View):
    """One running copy, or one that ended lately."""

    id: str
    revision: int
    phase: ReplicaPhase
    started_at: datetime
    since_at: datetime
    ready_at: datetime | None
    pid: int | None
    reason: str


class RevisionView(_View):
    """One bundle with one configuration."""

    number: int
    bundle: str
    bundle_id: str
    created_at: datetime
    created_by: str
    note: str
    active: bool
    warm: bool
    weight_percent: int
    configuration: DeploymentConfiguration


class EventView(_View):
    """Something that happened.

    Attributes:
        id: grows; give it as `after` to read on from here.
    """

    id: int
    at: datetime
    deployment: str
    kind: str
    message: str
    revision: int | None
    replica: str
    actor: str


class DeploymentView(_View):
    """One deployment.

    Attributes:
        bundle: what has the traffic, or is to get it first.
        revision: its number.
        generation: give it back (`If-Match`) to change only what was seen.
        endpoint_urls: where callers reach it, the shortest way to say it first.
        replicas: of the revision that has the traffic.
        traffic: the revisions that get requests.
        warm_until_at: until when the revision before stays warm; None when none is.
    """

    name: str
    status: StatusView
    bundle: str
    bundle_id: str
    revision: int
    generation: int
    endpoint_urls: tuple[str, ...]
    replicas: ReplicaCounts
    traffic: tuple[TrafficShare, ...]
    rollout: RolloutView | None
    previous_revision: int | None
    warm_until_at: datetime | None
    latest_revision: int
    created_at: datetime
    updated_at: datetime
    created_by: str
    configuration: DeploymentConfiguration
    running: tuple[ReplicaView, ...]


def deployment_view(state: DeploymentState, router_url: str) -> DeploymentView:
    """Return what is told of a deployment.

    Args:
        state: the deployment with the revisions that it names, and its replicas.
        router_url: where the router listens, such as `http://127.0.0.1:8000`.
    """
    deployment = state.deployment
    number = _told_revision(deployment)
    revision = state.revisions.get(number)
    return DeploymentView(
        name=deployment.name,
        status=status_of(state),
        bundle=revision.bundle if revision else "",
        bundle_id=revision.bundle_id if revision else "",
        revision=number,
        generation=deployment.generation,
        endpoint_urls=endpoint_urls(deployment, router_url),
        replicas=ReplicaCounts(wanted=wanted_replicas(deployment), ready=_ready(state, number)),
        traffic=tuple(
            TrafficShare(revision=share, weight_percent=weight, ready_replicas=_ready(state, share))
            for share, weight in weights(state).items()
        ),
        rollout=_rollout_view(deployment.rollout),
        previous_revision=deployment.previous_revision,
        warm_until_at=_optional_moment(deployment.previous_until_at),
        latest_revision=deployment.latest_revision,
        created_at=moment(deployment.created_at),
        updated_at=moment(deployment.updated_at),
        created_by=deployment.created_by,
        configuration=deployment.configuration,
        running=tuple(replica_view(replica) for replica in state.replicas),
    )


def status_of(state: DeploymentState) -> StatusView:
    """Say in one word how a deployment is, and why."""
    deployment = state.deployment
    status, reason = _status(state)
    if status in (DeploymentStatus.DEPLOYING, DeploymentStatus.RUNNING) and reason:
        reason = f"{reason} {_starting_reason(state)}".rstrip()
    moved_at = deployment.rollout.since_at if deployment.rollout else deployment.updated_at
    since_at = max(deployment.updated_at, moved_at)
    return StatusView(status=status, reason=reason, since_at=moment(since_at))


def wanted_replicas(deployment: Deployment) -> int:
    """Return how many replicas its serving revision is to have."""
    return deployment.replicas if deployment.presence is Presence.RUNNING else 0


def endpoint_urls(deployment: Deployment, router_url: str) -> tuple[str, ...]:
    """Return the addresses of a deployment: its path first, then names and a port of its own."""
    scheme, _, place = router_url.rstrip("/").partition("://")
    host, _, port = place.rpartition(":")
    by_port = f":{port}" if port else ""
    configuration = deployment.configuration
    urls = [f"{scheme}://{place}/{deployment.name}"]
    if _is_host_label(deployment.name):
        urls.append(f"{scheme}://{deployment.name}.localhost{by_port}")
    urls += [f"{scheme}://{name}{by_port}" for name in configuration.hosts]
    if configuration.port is not None:
        urls.append(f"{scheme}://{host}:{configuration.port}")
    return tuple(urls)


def revision_view(revision: Revision, state: DeploymentState) -> RevisionView:
    """Return what is told of a revision."""
    number, deployment = revision.number, state.deployment
    return RevisionView(
        number=number,
        bundle=revision.bundle,
        bundle_id=revision.bundle_id,
        created_at=moment(revision.created_at),
        created_by=revision.created_by,
        note=revision.note,
        active=number == deployment.active_revision,
        warm=number == deployment.previous_revision and deployment.previous_until_at is not None,
        weight_percent=weights(state).get(number, 0),
        configuration=revision.configuration,
    )


def event_view(number: int, event: Event) -> EventView:
    """Return what is told of an event."""
    return EventView(
        id=number,
        at=moment(event.at),
        deployment=event.deployment,
        kind=event.kind,
        message=event.message,
        revision=event.revision,
        replica=event.replica,
        actor=event.actor,
    )


def cloud_view(view: DeploymentView, console_url: str) -> dict[str, Any]:
    """Return a deployment with the keys that `bentoml deployment get` prints."""
    return {
        "name": view.name,
        "bento": view.bundle,
        "cluster": "local",
        "endpoint_urls": list(view.endpoint_urls),
        "admin_console": f"{console_url.rstrip('/')}/deployments/{view.name}",
        "created_at": _cloud_moment(view.created_at),
        "created_by": view.created_by,
        "config": cloud_configuration(view.bundle, view.configuration),
        "status": {
            "status": view.status.status.value,
            "created_at": _cloud_moment(view.created_at),
            "updated_at": _cloud_moment(view.updated_at),
        },
    }


def cloud_configuration(bundle: str, configuration: DeploymentConfiguration) -> dict[str, Any]:
    """Return a configuration in BentoCloud's words, which `configuration_file` reads back."""
    scaling = configuration.scaling
    service: dict[str, Any] = {
        "scaling": {
            "min_replicas": scaling.min_replicas,
            "max_replicas": scaling.max_replicas,
        },
        "deployment_strategy": _CLOUD_STRATEGIES[configuration.strategy],
    }
    return {
        "access_authorization": configuration.access is Access.TOKEN,
        "envs": [{"name": k, "value": v} for k, v in configuration.environment.items()],
        "secrets": list(configuration.secrets),
        "labels": dict(configuration.labels),
        "services": {bundle.partition(":")[0]: service},
    }


# `canary` is a setting of its own there; what moves the rest of it is a rolling update.
_CLOUD_STRATEGIES = {
    StrategyName.ROLLING: "RollingUpdate",
    StrategyName.RECREATE: "Recreate",
    StrategyName.CANARY: "RollingUpdate",
    StrategyName.BLUE_GREEN: "BestEffortControlledRollout",
}


def moment(at: float) -> datetime:
    """Return a time of the records as an aware datetime."""
    return datetime.fromtimestamp(at, UTC)


def _optional_moment(at: float | None) -> datetime | None:
    return None if at is None else moment(at)


def _cloud_moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S")


def _told_revision(deployment: Deployment) -> int:
    """Return the revision that a deployment is told to be at."""
    if deployment.active_revision is not None:
        return deployment.active_revision
    return deployment.rollout.to_revision if deployment.rollout else deployment.latest_revision


def _status(state: DeploymentState) -> tuple[DeploymentStatus, str]:
    deployment = state.deployment
    if deployment.presence is not Presence.RUNNING:
        return _leaving(deployment, state.replicas)
    if deployment.active_revision is None:
        return _arriving(deployment.rollout)
    moving = deployment.moving
    if moving is not None and moving.phase is RolloutPhase.PROGRESSING:
        return DeploymentStatus.DEPLOYING, _moving_reason(moving)
    status, reason = _serving(state, deployment.active_revision)
    waits = _moving_reason(moving) if moving else _ended_reason(deployment.rollout)
    return status, reason or waits


def _leaving(deployment: Deployment, replicas: Iterable[Replica]) -> tuple[DeploymentStatus, str]:
    left = sum(replica.phase.alive for replica in replicas)
    if left:
        return DeploymentStatus.TERMINATING, f"{told_replicas(left)} left to end."
    if deployment.presence is Presence.DELETED:
        return DeploymentStatus.TERMINATING, "It is being deleted."
    return DeploymentStatus.TERMINATED, ""


def _arriving(rollout: Rollout | None) -> tuple[DeploymentStatus, str]:
    if rollout is None:
        return DeploymentStatus.NON_DEPLOYED, ""
    if rollout.phase in (RolloutPhase.FAILED, RolloutPhase.ABORTED):
        return DeploymentStatus.FAILED, rollout.reason
    return DeploymentStatus.DEPLOYING, _moving_reason(rollout)


def _serving(state: DeploymentState, number: int) -> tuple[DeploymentStatus, str]:
    wanted, ready = wanted_replicas(state.deployment), _ready(state, number)
    if ready >= max(wanted, 1):
        return DeploymentStatus.RUNNING, ""
    if not wanted:
        return DeploymentStatus.SCALED_TO_ZERO, ""
    told = f"{ready} of {told_replicas(wanted)} ready."
    failed = _latest_failure(state.replicas, number)
    if failed:
        return DeploymentStatus.UNHEALTHY, f"{told} {failed}"
    # None has ended by itself: they are on their way, as after everything was stopped.
    return (DeploymentStatus.RUNNING if ready else DeploymentStatus.DEPLOYING), told


def _moving_reason(rollout: Rollout) -> str:
    if rollout.reason:
        return rollout.reason
    number, share = rollout.to_revision, rollout.weight_percent
    if rollout.phase is RolloutPhase.PAUSED:
        return f"The rollout of revision {number} is paused at {share} %."
    if rollout.phase is RolloutPhase.WAITING:
        return f"Revision {number} waits at {share} % to be promoted."
    return f"Revision {number} is coming."


def _ended_reason(rollout: Rollout | None) -> str:
    if rollout is None or rollout.phase is RolloutPhase.COMPLETED:
        return ""
    return rollout.reason


def _latest_failure(replicas: Iterable[Replica], number: int) -> str:
    ended = [
        replica
        for replica in replicas
        if replica.revision == number and replica.phase is ReplicaPhase.FAILED
    ]
    return max(ended, key=lambda replica: replica.since_at).reason if ended else ""


def _starting_reason(state: DeploymentState) -> str:
    starting = (one for one in state.replicas if one.phase is ReplicaPhase.STARTING)
    return next((replica.reason for replica in starting if replica.reason), "")


def _ready(state: DeploymentState, number: int) -> int:
    return sum(
        replica.revision == number and replica.phase is ReplicaPhase.READY
        for replica in state.replicas
    )


def _rollout_view(rollout: Rollout | None) -> RolloutView | None:
    if rollout is None:
        return None
    return RolloutView(
        to_revision=rollout.to_revision,
        from_revision=rollout.from_revision,
        strategy=rollout.strategy,
        phase=rollout.phase,
        weight_percent=rollout.weight_percent,
        started_at=moment(rollout.started_at),
        since_at=moment(rollout.since_at),
        reason=rollout.reason,
        is_rollback=rollout.is_rollback,
        crashes=rollout.crashes,
        promoted=rollout.promoted,
    )


def replica_view(replica: Replica) -> ReplicaView:
    """Return what is told of a replica."""
    return ReplicaView(
        id=replica.id,
        revision=replica.revision,
        phase=replica.phase,
        started_at=moment(replica.started_at),
        since_at=moment(replica.since_at),
        ready_at=_optional_moment(replica.ready_at),
        pid=replica.pid,
        reason=replica.reason,
    )


def _is_host_label(name: str) -> bool:
    return "_" not in name and "." not in name and len(name) <= 63
