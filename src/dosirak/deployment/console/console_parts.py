"""What the pages are made from: one value that every group of routes gets."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from dosirak.deployment.administration import Administration
from dosirak.deployment.console.sessions import Sessions
from dosirak.deployment.control.traffic_collector import Onlookers
from dosirak.deployment.control.traffic_history import TrafficHistory
from dosirak.deployment.operations import PlatformOperations


@dataclass(frozen=True, slots=True)
class ConsoleParts:
    """What the console shows, and with what.

    Attributes:
        operations: reads deployments, bundles' store and events.
        history: the numbers of the charts.
        onlookers: told which deployment somebody looks at.
        administration: tokens, secrets and the audit log.
        sessions: of people who came with a token.
        router_trust: what to check the router's certificate with, where it has one.
    """

    operations: PlatformOperations
    history: TrafficHistory
    onlookers: Onlookers
    administration: Administration
    sessions: Sessions
    router_trust: ssl.SSLContext | None = None
