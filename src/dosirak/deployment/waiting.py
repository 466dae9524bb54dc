"""When what was asked has come true: a view → done, not yet, or never. Pure.

Whoever waits asks `come_true` of each view that it gets, with the view that the request answered.
"""

from __future__ import annotations

from dosirak.deployment.records import RolloutPhase
from dosirak.deployment.views import DeploymentStatus, DeploymentView, RolloutView
from dosirak.errors import DeploymentConflict, RolloutFailed

_SETTLED = (DeploymentStatus.RUNNING, DeploymentStatus.SCALED_TO_ZERO)
_LEAVING = (DeploymentStatus.TERMINATED, DeploymentStatus.TERMINATING)


def come_true(now: DeploymentView, asked: DeploymentView) -> bool:
    """Whether a change has come true.

    Args:
        now: the deployment as it is.
        asked: as it was answered to the change.

    Raises:
        RolloutFailed: the revision cannot be brought to serve (the service's fault).
        DeploymentConflict: somebody has asked for something else meanwhile.
    """
    if asked.status.status in _LEAVING:
        return now.status.status is DeploymentStatus.TERMINATED
    if now.status.status in _LEAVING:
        raise DeploymentConflict(
            f"The deployment {now.name!r} was terminated meanwhile.",
            remedy=f"`dosirak deployment start {now.name}` brings it back.",
        )
    moving = asked.rollout if asked.rollout and not asked.rollout.phase.ended else None
    if moving is not None:
        return _rolled_out(now, moving)
    return _settled(now)


def told_progress(now: DeploymentView) -> str:
    """Say in a line how far a deployment is."""
    rollout = now.rollout
    parts = [f"{now.name}: {now.status.status.value}"]
    if now.status.status in _LEAVING:
        return " – ".join(filter(None, (*parts, now.status.reason)))
    if rollout is not None and not rollout.phase.ended:
        ready = sum(
            replica.revision == rollout.to_revision and replica.phase == "ready"
            for replica in now.running
        )
        parts.append(f"revision {rollout.to_revision} at {rollout.weight_percent} %")
        parts.append(f"{ready} of {now.replicas.wanted} ready")
    else:
        parts.append(f"{now.replicas.ready} of {now.replicas.wanted} ready")
    if any(replica.phase == "starting" and replica.reason for replica in now.running):
        parts.append("making the environment")
    return ", ".join(parts)


def _rolled_out(now: DeploymentView, moving: RolloutView) -> bool:
    rollout = now.rollout
    if rollout is None or rollout.to_revision != moving.to_revision:
        raise DeploymentConflict(
            f"Another rollout has taken the place of that of revision {moving.to_revision}.",
            remedy=f"`dosirak deployment events {now.name}` tells what happened.",
        )
    if rollout.phase in (RolloutPhase.FAILED, RolloutPhase.ABORTED):
        serving = next((share.revision for share in now.traffic), None)
        onward = "" if serving is None else f" Revision {serving} serves on."
        raise RolloutFailed(
            f"Revision {rollout.to_revision} of {now.name!r} was not brought to serve:"
            f" {rollout.reason or rollout.phase.value}{onward}",
            remedy=_look_at_the_log(now, rollout.to_revision),
        )
    if rollout.phase is RolloutPhase.COMPLETED:
        return _settled(now)
    return rollout.phase in (RolloutPhase.WAITING, RolloutPhase.PAUSED)


def _settled(now: DeploymentView) -> bool:
    if now.status.status is DeploymentStatus.FAILED:
        raise RolloutFailed(
            f"The deployment {now.name!r} has failed: {now.status.reason}",
            remedy=_look_at_the_log(now, now.revision),
        )
    return now.status.status in _SETTLED and now.replicas.ready >= now.replicas.wanted


def _look_at_the_log(now: DeploymentView, revision: int) -> str:
    """Say how to read what a revision's last replica said: `logs` alone shows one that serves."""
    last = max(
        (replica for replica in now.running if replica.revision == revision),
        key=lambda replica: replica.started_at,
        default=None,
    )
    of_it = "" if last is None else f" --replica {last.id}"
    return f"`dosirak deployment logs {now.name}{of_it}` shows what its replicas said."
