"""Which bundles must stay for deployments."""

from __future__ import annotations

from tests.unit.deployment.simulated import World, bundle, deployed

from dosirak.deployment import changes
from dosirak.deployment.configuration import DeploymentConfiguration
from dosirak.deployment.needed_bundles import needed_bundles


def _updated(world: World, version: str) -> None:
    world.do(
        lambda deployment, asked: changes.update(
            deployment, world.latest(), asked, bundle=bundle(version)
        )
    )


def test_what_serves_was_before_or_is_coming_is_needed_until_the_deployment_is_deleted() -> None:
    world = deployed(DeploymentConfiguration())
    assert needed_bundles([world.state]) == {"iris:1": ["iris"]}
    _updated(world, "2")
    assert needed_bundles([world.state]) == {"iris:1": ["iris"], "iris:2": ["iris"]}
    world.tick(12)
    assert needed_bundles([world.state]) == {"iris:1": ["iris"], "iris:2": ["iris"]}
    _updated(world, "3")
    world.tick(12)
    assert needed_bundles([world.state]) == {"iris:2": ["iris"], "iris:3": ["iris"]}
    world.do(changes.delete)
    assert needed_bundles([world.state]) == {}
