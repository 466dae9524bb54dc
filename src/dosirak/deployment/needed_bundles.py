"""Which bundles of the store deployments need: what is deleted under them cannot be started again.

Needed are the revision that serves, the one before it, and those that a rollout leads from and to.
Older ones are history: their bundles may go, and a rollback to one then fails and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from dosirak.deployment.records import DeploymentState, Presence


def needed_bundles(states: Iterable[DeploymentState]) -> dict[str, list[str]]:
    """Return each bundle that a deployment needs, with the names of those that do."""
    needed: dict[str, list[str]] = {}
    for state in states:
        for bundle in sorted({state.revisions[number].bundle for number in _numbers(state)}):
            needed.setdefault(bundle, []).append(state.deployment.name)
    return needed


def _numbers(state: DeploymentState) -> set[int]:
    deployment, rollout = state.deployment, state.deployment.moving
    if deployment.presence is Presence.DELETED:
        return set()
    numbers = [deployment.active_revision, deployment.previous_revision]
    if rollout is not None:
        numbers += [rollout.from_revision, rollout.to_revision]
    return {number for number in numbers if number in state.revisions}
