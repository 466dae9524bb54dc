"""Which bundles of the store deployments need: what is deleted under them cannot be started again.

Needed are the revision that serves, the one before it, and those that a rollout leads from and to.
Older ones are history: their bundles may go, and a rollback to one then fails and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing

from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.platform_settings import PlatformSettings
from dosirak.deployment.records import DeploymentState, Presence
from dosirak.deployment.state.database import open_state


def needed_bundles(paths: PlatformPaths) -> dict[str, str]:
    """Return each bundle that a deployment of this home needs, with the name of one that does.

    Raises:
        CorruptContent: the platform's database is damaged.
        StorageError: it cannot be read.
        Unavailable: it is a PostgreSQL database, and out of reach.
    """
    url = PlatformSettings.read(paths.root).database_url
    if url is None and not paths.database.exists():
        return {}
    with closing(open_state(paths, url)) as state, state.reading() as reading:
        return dict(_needed(reading.states()))


def _needed(states: Iterable[DeploymentState]) -> Iterable[tuple[str, str]]:
    for state in states:
        deployment, rollout = state.deployment, state.deployment.moving
        if deployment.presence is Presence.DELETED:
            continue
        numbers = {deployment.active_revision, deployment.previous_revision}
        if rollout is not None:
            numbers |= {rollout.from_revision, rollout.to_revision}
        for number in numbers & state.revisions.keys():
            yield state.revisions[number].bundle, deployment.name
