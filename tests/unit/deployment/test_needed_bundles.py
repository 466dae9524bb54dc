"""Which bundles must stay for deployments."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from dosirak.deployment import changes
from dosirak.deployment.changes import Asked, BundlePin, Change
from dosirak.deployment.configuration import DeploymentConfiguration
from dosirak.deployment.needed_bundles import needed_bundles
from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state.database import open_state

ASKED = Asked(1000.0)


def _put(paths: PlatformPaths, change: Change) -> None:
    with closing(open_state(paths)) as state, state.transaction() as transaction:
        transaction.put_deployment(change.deployment)
        if change.revision is not None:
            transaction.add_revision(change.revision)


def test_what_serves_or_is_coming_is_needed_until_the_deployment_is_deleted(
    tmp_path: Path,
) -> None:
    paths = PlatformPaths(tmp_path)
    assert needed_bundles(paths) == {}
    made = changes.create("iris", BundlePin("iris:1", "1"), DeploymentConfiguration(), ASKED)
    _put(paths, made)
    assert needed_bundles(paths) == {"iris:1": "iris"}
    next_one = changes.update(
        made.deployment, made.revision, ASKED, bundle=BundlePin("iris:2", "2")
    )
    _put(paths, next_one)
    assert needed_bundles(paths) == {"iris:2": "iris"}
    _put(paths, changes.delete(next_one.deployment, ASKED))
    assert needed_bundles(paths) == {}
