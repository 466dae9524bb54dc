"""What the control plane says of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from dosirak.deployment.admin_views import PlatformStatus
from dosirak.deployment.views import DeploymentView, moment


@dataclass(frozen=True, slots=True)
class PlatformFacts:
    """What does not change while a control plane lives.

    Attributes:
        url: of its API and console.
        router_url: where callers reach the deployments.
        require_tokens: whether everybody needs a token.
    """

    version: str
    pid: int
    url: str
    router_url: str
    started_at: float
    require_tokens: bool = False


def platform_status(facts: PlatformFacts, deployments: Iterable[DeploymentView]) -> PlatformStatus:
    """Return the facts, and how many deployments are how."""
    return PlatformStatus(
        version=facts.version,
        pid=facts.pid,
        url=facts.url,
        router_url=facts.router_url,
        started_at=moment(facts.started_at),
        require_tokens=facts.require_tokens,
        deployments=dict(Counter(view.status.status.value for view in deployments)),
    )
