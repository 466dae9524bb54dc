"""The platform without a controller, and a client of its API."""

from tests.unit.deployment.platform_on_paper import client, platform, store

__all__ = ["client", "platform", "store"]
