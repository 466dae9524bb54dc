"""What people ask of a deployment, as pure functions: the deployment before → after, and why not.

Each takes the deployment as it is, who asks and when, and returns a `Change`. None knows how the
change comes true: `rollout` and `plan` see to that. All raise `DeploymentConflict` when the
deployment is not in a state that allows it; nothing has changed then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from dosirak.deployment.configuration import DeploymentConfiguration, StrategyName
from dosirak.deployment.records import (
    Deployment,
    Event,
    Presence,
    Revision,
    Rollout,
    RolloutPhase,
    told_replicas,
)
from dosirak.errors import DeploymentConflict, InvalidConfiguration, RevisionNotFound


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks, and when."""

    at: float
    actor: str = "local"
    note: str = ""


@dataclass(frozen=True, slots=True)
class BundlePin:
    """A bundle by its name and version, and by the digest of its manifest."""

    reference: str
    id: str


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be written: the deployment, a revision if one was made, and what to tell."""

    deployment: Deployment
    events: tuple[Event, ...]
    revision: Revision | None = None


def create(
    name: str, bundle: BundlePin, configuration: DeploymentConfiguration, asked: Asked
) -> Change:
    """Make a deployment whose first revision is on its way."""
    empty = Deployment(
        name=name,
        presence=Presence.RUNNING,
        generation=0,
        configuration=configuration,
        replicas=max(1, configuration.scaling.min_replicas),
        created_at=asked.at,
        updated_at=asked.at,
        created_by=asked.actor,
    )
    return _new_revision(empty, bundle, configuration, asked, kind="created")


def update(
    deployment: Deployment,
    serving: Revision | None,
    asked: Asked,
    *,
    bundle: BundlePin | None = None,
    configuration: DeploymentConfiguration | None = None,
) -> Change:
    """Take up another bundle or configuration; `serving` has the traffic, or is getting it.

    What does not change how replicas run acts at once, without a new revision; what is as it was
    already changes nothing, the generation included.
    """
    _check_present(deployment)
    wanted = configuration or deployment.configuration
    pin = bundle or (BundlePin(serving.bundle, serving.bundle_id) if serving else None)
    if pin is None:
        raise DeploymentConflict(
            f"The deployment {deployment.name!r} has no bundle yet.",
            remedy="Name one.",
        )
    stale = (
        serving is None
        or pin.id != serving.bundle_id
        or wanted.needs_new_revision(serving.configuration)
    )
    if stale:
        return _new_revision(deployment, pin, wanted, asked, kind="updated")
    if wanted == deployment.configuration:
        return Change(deployment, ())
    after = _touched(
        replace(deployment, configuration=wanted, replicas=_clamped(deployment.replicas, wanted)),
        asked,
    )
    return Change(after, (_event(after, asked, "configured", "The configuration changed."),))


def restart(deployment: Deployment, serving: Revision, asked: Asked) -> Change:
    """Run what serves, or is getting to serve, anew: new replicas read secrets again.

    It is a revision like any other, so that it moves by the strategy and leads back.
    """
    _check_present(deployment)
    if deployment.presence is Presence.TERMINATED:
        raise DeploymentConflict(
            f"The deployment {deployment.name!r} is terminated.",
            remedy=f"`dosirak deployment start {deployment.name}` brings it back.",
        )
    pin = BundlePin(serving.bundle, serving.bundle_id)
    return _new_revision(deployment, pin, deployment.configuration, asked, kind="restarted")


def scale(deployment: Deployment, replicas: int, asked: Asked) -> Change:
    """Want so many replicas, within the configuration's bounds."""
    _check_present(deployment)
    bounds = deployment.configuration.scaling
    if not bounds.min_replicas <= replicas <= bounds.max_replicas:
        raise InvalidConfiguration(
            f"{_counted(replicas)} outside the deployment's {bounds.min_replicas} to"
            f" {bounds.max_replicas}.",
            remedy="Widen scaling.min_replicas and scaling.max_replicas first, or in one step with"
            " --min and --max.",
        )
    after = _touched(replace(deployment, replicas=replicas), asked)
    message = f"{_counted(replicas)} wanted; it was {deployment.replicas}."
    return Change(after, (_event(after, asked, "scaled", message),))


def _counted(replicas: int) -> str:
    return f"{told_replicas(replicas)} {'is' if replicas == 1 else 'are'}"


def rollback(
    deployment: Deployment,
    revisions: Mapping[int, Revision],
    asked: Asked,
    *,
    to: int | None = None,
) -> Change:
    """Give the traffic back to an earlier revision: at once if it is still warm.

    While a rollout moves, `to=None` is the revision that it came from; else the one before the
    active one.

    Raises:
        RevisionNotFound: there is no such revision.
    """
    _check_present(deployment)
    moving = deployment.moving
    if to is None and moving is not None and moving.from_revision is not None:
        return abort(deployment, asked, reason="It was rolled back.")
    target = to if to is not None else deployment.previous_revision
    if target is None:
        raise DeploymentConflict(
            f"The deployment {deployment.name!r} has no revision before this one.",
            remedy="Name one with --to; `dosirak deployment history` lists them.",
        )
    if target not in revisions:
        raise RevisionNotFound(
            f"The deployment {deployment.name!r} has no revision {target}.",
            remedy=f"`dosirak deployment history {deployment.name}` lists them.",
        )
    if target == deployment.active_revision:
        if moving is not None:
            return abort(deployment, asked, reason="It was rolled back.")
        raise DeploymentConflict(
            f"Revision {target} is the one that serves.", remedy="Name another one."
        )
    if deployment.presence is Presence.TERMINATED:
        return _chosen_for_start(deployment, revisions[target], asked)
    rollout = Rollout(
        to_revision=target,
        from_revision=deployment.active_revision,
        strategy=StrategyName.BLUE_GREEN,
        phase=RolloutPhase.PROGRESSING,
        weight_percent=0,
        started_at=asked.at,
        since_at=asked.at,
        is_rollback=True,
    )
    configuration = deployment.configuration.running_as(revisions[target].configuration)
    after = _touched(replace(deployment, rollout=rollout, configuration=configuration), asked)
    message = f"Rolling back to revision {target}."
    return Change(after, (_event(after, asked, "rollback_started", message, revision=target),))


def _chosen_for_start(deployment: Deployment, revision: Revision, asked: Asked) -> Change:
    """Nothing serves, so nothing moves: it is the one that `start` brings back."""
    after = _touched(
        replace(
            deployment,
            active_revision=revision.number,
            previous_revision=deployment.active_revision,
            configuration=revision.configuration,
        ),
        asked,
    )
    message = f"Revision {revision.number} is the one that will be started."
    return Change(after, (_event(after, asked, "rolled_back", message, revision=revision.number),))


def set_weight(deployment: Deployment, weight_percent: int, asked: Asked) -> Change:
    """Give the coming revision of a canary so much of the traffic."""
    if not 0 <= weight_percent <= 100:
        raise InvalidConfiguration(
            f"A weight of {weight_percent} is not between 0 and 100.", remedy="Give a percentage."
        )
    rollout = _moving(deployment)
    if rollout.strategy is not StrategyName.CANARY:
        raise DeploymentConflict(
            f"The rollout is {rollout.strategy.value}, which sets its weights itself.",
            remedy="Use the strategy canary to set weights.",
        )
    message = f"Revision {rollout.to_revision} gets {weight_percent} % of the requests."
    return _rolled(
        deployment, replace(rollout, weight_percent=weight_percent), asked, "weight_set", message
    )


def promote(deployment: Deployment, asked: Asked) -> Change:
    """Let a waiting revision have all the traffic, once it has all its replicas."""
    rollout = _moving(deployment)
    message = f"Revision {rollout.to_revision} is promoted."
    # From here on it moves like blue/green: all replicas, then one switch.
    onward = replace(
        rollout,
        strategy=StrategyName.BLUE_GREEN,
        phase=RolloutPhase.PROGRESSING,
        since_at=asked.at,
        promoted=True,
        reason="",
    )
    return _rolled(deployment, onward, asked, "promoted", message)


def abort(deployment: Deployment, asked: Asked, *, reason: str = "It was aborted.") -> Change:
    """Give all the traffic back to the revision that had it."""
    rollout = _moving(deployment)
    ended = replace(
        rollout, phase=RolloutPhase.ABORTED, weight_percent=0, since_at=asked.at, reason=reason
    )
    return _rolled(deployment, ended, asked, "rollout_aborted", reason)


def pause(deployment: Deployment, asked: Asked) -> Change:
    """Leave traffic and replicas as they are until `resume`."""
    rollout = _moving(deployment)
    if rollout.phase is RolloutPhase.PAUSED:
        raise DeploymentConflict("The rollout is paused already.", remedy="`resume` goes on.")
    paused = replace(rollout, phase=RolloutPhase.PAUSED, since_at=asked.at)
    return _rolled(deployment, paused, asked, "rollout_paused", "The rollout is paused.")


def resume(deployment: Deployment, asked: Asked) -> Change:
    """Go on with a paused rollout."""
    rollout = _moving(deployment)
    if rollout.phase is not RolloutPhase.PAUSED:
        raise DeploymentConflict("The rollout is not paused.", remedy="There is nothing to resume.")
    onward = replace(rollout, phase=RolloutPhase.PROGRESSING, since_at=asked.at)
    return _rolled(deployment, onward, asked, "rollout_resumed", "The rollout goes on.")


def terminate(deployment: Deployment, asked: Asked) -> Change:
    """End its replicas and keep everything else; `start` brings them back."""
    _check_present(deployment)
    return _put_away(deployment, Presence.TERMINATED, asked)


def start(deployment: Deployment, asked: Asked) -> Change:
    """Bring a terminated deployment back with the revision that it had."""
    if deployment.presence is Presence.RUNNING:
        raise DeploymentConflict(
            f"The deployment {deployment.name!r} runs.", remedy="There is nothing to start."
        )
    _check_present(deployment)
    number = deployment.active_revision or deployment.latest_revision
    rollout = Rollout(
        to_revision=number,
        from_revision=None,
        strategy=StrategyName.BLUE_GREEN,
        phase=RolloutPhase.PROGRESSING,
        weight_percent=0,
        started_at=asked.at,
        since_at=asked.at,
        promoted=True,
    )
    after = _touched(
        replace(
            deployment,
            presence=Presence.RUNNING,
            active_revision=None,
            previous_revision=None,
            rollout=rollout,
        ),
        asked,
    )
    return Change(after, (_event(after, asked, "started", "It was started.", revision=number),))


def delete(deployment: Deployment, asked: Asked) -> Change:
    """End it and forget it, once its replicas have ended."""
    return _put_away(deployment, Presence.DELETED, asked)


def _put_away(deployment: Deployment, presence: Presence, asked: Asked) -> Change:
    how = presence.value
    after = _touched(
        replace(
            deployment,
            presence=presence,
            rollout=_ended(deployment.moving, asked, f"The deployment was {how}.")
            or deployment.rollout,
            previous_until_at=None,
        ),
        asked,
    )
    return Change(after, (_event(after, asked, how, f"It was {how}."),))


def _new_revision(
    deployment: Deployment,
    bundle: BundlePin,
    configuration: DeploymentConfiguration,
    asked: Asked,
    *,
    kind: str,
) -> Change:
    number = deployment.latest_revision + 1
    revision = Revision(
        deployment=deployment.name,
        number=number,
        bundle=bundle.reference,
        bundle_id=bundle.id,
        configuration=configuration,
        created_at=asked.at,
        created_by=asked.actor,
        note=asked.note,
    )
    rollout = Rollout(
        to_revision=number,
        from_revision=deployment.active_revision,
        strategy=configuration.strategy,
        phase=RolloutPhase.PROGRESSING,
        weight_percent=0,
        started_at=asked.at,
        since_at=asked.at,
    )
    terminated = deployment.presence is Presence.TERMINATED
    after = _touched(
        replace(
            deployment,
            configuration=configuration,
            replicas=_clamped(deployment.replicas, configuration),
            latest_revision=number,
            rollout=deployment.rollout if terminated else rollout,
            active_revision=number if terminated else deployment.active_revision,
        ),
        asked,
    )
    message = f"Revision {number} is {bundle.reference}."
    return Change(after, (_event(after, asked, kind, message, revision=number),), revision)


def _rolled(
    deployment: Deployment, rollout: Rollout, asked: Asked, kind: str, message: str
) -> Change:
    after = _touched(replace(deployment, rollout=rollout), asked)
    return Change(after, (_event(after, asked, kind, message, revision=rollout.to_revision),))


def _ended(rollout: Rollout | None, asked: Asked, reason: str) -> Rollout | None:
    if rollout is None:
        return None
    return replace(rollout, phase=RolloutPhase.ABORTED, since_at=asked.at, reason=reason)


def _moving(deployment: Deployment) -> Rollout:
    _check_present(deployment)
    rollout = deployment.moving
    if rollout is None or deployment.presence is not Presence.RUNNING:
        raise DeploymentConflict(
            f"No rollout of {deployment.name!r} is under way.",
            remedy="`dosirak deployment get` shows what serves; an update begins a rollout.",
        )
    return rollout


def _check_present(deployment: Deployment) -> None:
    if deployment.presence is Presence.DELETED:
        raise DeploymentConflict(
            f"The deployment {deployment.name!r} is being deleted.",
            remedy="Wait until it is gone, then deploy anew.",
        )


def _touched(deployment: Deployment, asked: Asked) -> Deployment:
    return replace(deployment, generation=deployment.generation + 1, updated_at=asked.at)


def _clamped(replicas: int, configuration: DeploymentConfiguration) -> int:
    bounds = configuration.scaling
    return min(max(replicas, bounds.min_replicas), bounds.max_replicas)


def _event(
    deployment: Deployment, asked: Asked, kind: str, message: str, *, revision: int | None = None
) -> Event:
    return Event(
        at=asked.at,
        deployment=deployment.name,
        kind=kind,
        message=message,
        revision=revision,
        actor=asked.actor,
    )
