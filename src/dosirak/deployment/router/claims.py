"""Who has which host name and port, where two deployments want the same one.

The first in the table has it; the others are told of in `disputes`. Envoy would refuse the whole
table, every deployment's changes with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from dosirak.deployment.router.settings import RouterSettings
from dosirak.deployment.routing import RoutedDeployment, RoutingTable


@dataclass(frozen=True, slots=True)
class Claims:
    """What each deployment has.

    Attributes:
        hosts: by deployment; `NAME.localhost` is always its own.
        ports: by deployment, of those that have a listener of their own.
        disputes: sentences about what was asked for and not given.
    """

    hosts: dict[str, tuple[str, ...]]
    ports: dict[str, int]
    disputes: tuple[str, ...]


def claims_of(table: RoutingTable, settings: RouterSettings) -> Claims:
    """Give out host names and ports."""
    owners = {_own_host(deployment): deployment.name for deployment in table.deployments}
    ports: dict[int, str] = {}
    disputes: list[str] = []
    for deployment in table.deployments:
        for host in deployment.hosts:
            disputes.extend(_claim_host(host, deployment.name, owners))
        disputes.extend(_claim_port(deployment, ports, settings))
    hosts = {deployment.name: [_own_host(deployment)] for deployment in table.deployments}
    for host, name in owners.items():
        if host not in hosts[name]:
            hosts[name].append(host)
    return Claims(
        hosts={name: tuple(own) for name, own in hosts.items()},
        ports={name: port for port, name in ports.items()},
        disputes=tuple(disputes),
    )


def _own_host(deployment: RoutedDeployment) -> str:
    return f"{deployment.name}.localhost"


def _claim_host(host: str, name: str, owners: dict[str, str]) -> list[str]:
    if _is_the_machine(host):
        return [f"The host {host!r} of the deployment {name!r} means every deployment."]
    if owners.setdefault(host, name) != name:
        return [f"The host {host!r} of {name!r} belongs to the deployment {owners[host]!r}."]
    return []


def _claim_port(
    deployment: RoutedDeployment, ports: dict[int, str], settings: RouterSettings
) -> list[str]:
    port = deployment.port
    if port is None:
        return []
    if port == settings.port:
        return [f"The port {port} of the deployment {deployment.name!r} is the router's own."]
    if ports.setdefault(port, deployment.name) != deployment.name:
        return [f"The port {port} of {deployment.name!r} belongs to {ports[port]!r}."]
    return []


def _is_the_machine(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return host == "localhost"
    return True
