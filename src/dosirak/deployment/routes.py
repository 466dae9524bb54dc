"""The routing table that the deployments as they are ask for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from dosirak.deployment.records import (
    Deployment,
    DeploymentState,
    Presence,
    ReplicaPhase,
    Revision,
    RolloutPhase,
)
from dosirak.deployment.rollout import weights
from dosirak.deployment.routing import (
    RoutedDeployment,
    RoutedRevision,
    RoutingTable,
    Upstream,
)

IdempotentPaths = Callable[[Revision], tuple[str, ...]]
"""From a revision to the paths of its apis that may be called twice."""


def table_of(
    states: Iterable[DeploymentState],
    upstreams: Mapping[str, Upstream],
    idempotent_paths: IdempotentPaths,
) -> RoutingTable:
    """Say where the requests of every deployment go.

    Args:
        states: all deployments.
        upstreams: the address of each replica that has one, by its id.
        idempotent_paths: what a bundle says of its apis.
    """
    routed = [
        _routed(state, upstreams, idempotent_paths)
        for state in states
        if state.deployment.presence is not Presence.DELETED
    ]
    return RoutingTable(tuple(sorted(routed, key=lambda one: one.name)))


def _routed(
    state: DeploymentState, upstreams: Mapping[str, Upstream], idempotent_paths: IdempotentPaths
) -> RoutedDeployment:
    deployment = state.deployment
    configuration = deployment.configuration
    shares = weights(state)
    ready: dict[int, list[Upstream]] = {}
    if deployment.presence is Presence.RUNNING:
        for replica in state.replicas:
            if replica.phase is ReplicaPhase.READY and replica.id in upstreams:
                ready.setdefault(replica.revision, []).append(upstreams[replica.id])
    canary = deployment.moving
    header = configuration.canary.header if canary is not None else None
    reason, remedy = _unavailable(deployment)
    return RoutedDeployment(
        name=deployment.name,
        revisions=tuple(
            RoutedRevision(
                number=number,
                weight_percent=shares.get(number, 0),
                upstreams=tuple(sorted(found, key=lambda one: one.replica)),
                idempotent_paths=_paths(state, number, idempotent_paths),
            )
            for number, found in sorted(ready.items())
        ),
        hosts=configuration.hosts,
        port=configuration.port,
        timeout_s=configuration.timeout_s,
        canary_header=(header, configuration.canary.header_value) if header else None,
        canary_revision=canary.to_revision if canary is not None and header else None,
        max_requests=configuration.max_requests,
        unavailable_reason=reason,
        unavailable_remedy=remedy,
    )


def _paths(
    state: DeploymentState, number: int, idempotent_paths: IdempotentPaths
) -> tuple[str, ...]:
    revision = state.revisions.get(number)
    return () if revision is None else idempotent_paths(revision)


def _unavailable(deployment: Deployment) -> tuple[str, str]:
    """Say why there is no replica, and what to do where none comes by itself."""
    name, whose = deployment.name, "Ask whoever runs the deployment to"
    if deployment.presence is Presence.TERMINATED:
        return (
            "The deployment is terminated.",
            f"{whose} start it: `dosirak deployment start {name}`.",
        )
    if deployment.replicas == 0:
        return (
            "The deployment is scaled to no replica.",
            f"{whose} scale it up: `dosirak deployment scale {name} 1`.",
        )
    rollout = deployment.rollout
    if deployment.active_revision is None and rollout is not None:
        if rollout.phase is RolloutPhase.FAILED:
            return (
                "The deployment's first revision failed.",
                f"{whose} mend it: `dosirak deployment events {name}` tells why.",
            )
        return "The deployment is starting.", ""
    return "No replica is ready.", ""
