"""The platform without a controller, for every folder here."""

from tests.unit.deployment.platform_on_paper import _paper, client, platform, shared_client, store

__all__ = ["_paper", "client", "platform", "shared_client", "store"]
