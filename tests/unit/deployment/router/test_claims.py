from __future__ import annotations

from hypothesis import given
from routing_tables import tables

from dosirak.deployment.router.claims import claims_of
from dosirak.deployment.router.settings import RouterSettings
from dosirak.deployment.routing import RoutedDeployment, RoutingTable

_SETTINGS = RouterSettings()


def claims(*deployments: RoutedDeployment) -> tuple[str, ...]:
    return claims_of(RoutingTable(deployments), _SETTINGS).disputes


def test_the_first_has_what_two_want() -> None:
    one = RoutedDeployment("one", (), hosts=("x.example",), port=9001)
    two = RoutedDeployment("two", (), hosts=("x.example",), port=9001)
    found = claims_of(RoutingTable((one, two)), _SETTINGS)
    assert found.hosts == {"one": ("one.localhost", "x.example"), "two": ("two.localhost",)}
    assert found.ports == {"one": 9001}
    assert found.disputes == (
        "The host 'x.example' of 'two' belongs to the deployment 'one'.",
        "The port 9001 of 'two' belongs to 'one'.",
    )


def test_a_deployments_own_name_is_nobody_elses() -> None:
    thief = RoutedDeployment("a", (), hosts=("b.localhost",))
    assert claims(thief, RoutedDeployment("b", ())) == (
        "The host 'b.localhost' of 'a' belongs to the deployment 'b'.",
    )


def test_what_means_the_machine_means_no_deployment() -> None:
    for host in ("localhost", "127.0.0.1"):
        [dispute] = claims(RoutedDeployment("a", (), hosts=(host,)))
        assert host in dispute


def test_the_routers_own_port_is_no_deployments() -> None:
    [dispute] = claims(RoutedDeployment("a", (), port=_SETTINGS.port))
    assert "the router's own" in dispute


@given(tables())
def test_nothing_is_given_twice(table: RoutingTable) -> None:
    found = claims_of(table, _SETTINGS)
    hosts = [host for own in found.hosts.values() for host in own]
    assert len(hosts) == len(set(hosts))
    assert len(found.ports) == len(set(found.ports.values()))
    assert found.hosts.keys() == {one.name for one in table.deployments}
