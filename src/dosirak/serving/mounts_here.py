"""Exchanges with mounted applications in this process: both ends, without a channel between."""

from __future__ import annotations

from typing import Any

from dosirak.payload.wire import Body
from dosirak.serving.mount_exchanges import MountExchanges
from dosirak.serving.mount_host import MountHost
from dosirak.serving.mounted_apps import MountedApps


def exchanges_here(apps: MountedApps) -> MountExchanges:
    """Return what lets applications of this process answer, as a worker's would."""

    def to_host(message: Any, body: Body) -> None:
        host.receive(message, body)

    exchanges = MountExchanges(to_host)
    host = MountHost(apps, exchanges.receive)
    return exchanges
