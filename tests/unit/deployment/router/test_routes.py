from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from routing_tables import deployments, tables

from dosirak.deployment.router.claims import claims_of
from dosirak.deployment.router.clusters import clusters
from dosirak.deployment.router.routes import main_routes
from dosirak.deployment.router.settings import RouterSettings
from dosirak.deployment.routing import RoutedDeployment, RoutedRevision, RoutingTable, Upstream

_SETTINGS = RouterSettings()


def rendered(table: RoutingTable, settings: RouterSettings = _SETTINGS) -> dict[str, Any]:
    return main_routes(table, claims_of(table, settings), settings)


def within(value: Any, key: str) -> Iterator[Any]:
    """Yield every value under a key, however deep."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                yield inner
            yield from within(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from within(inner, key)


def led_to(routes: dict[str, Any]) -> set[str]:
    alone = set(within(routes, "cluster"))
    shared = {one["name"] for weighted in within(routes, "clusters") for one in weighted}
    return alone | shared


@given(tables())
def test_routes_lead_to_the_clusters_that_there_are(table: RoutingTable) -> None:
    routes = rendered(table)
    assert led_to(routes) == clusters(table, _SETTINGS).keys()
    domains = [domain for host in routes["virtual_hosts"] for domain in host["domains"]]
    assert len(domains) == len(set(domains)), "Envoy refuses a name that is given twice"
    cut = [action["timeout"] for action in within(routes, "route") if action["timeout"] != "0s"]
    assert cut == [], "a stream would end with the time of a whole request"


@given(deployments("d"))
def test_only_what_every_serving_revision_allows_is_repeated_by_weight(
    deployment: RoutedDeployment,
) -> None:
    serving = [one for one in deployment.revisions if one.weight_percent and one.upstreams]
    allowed = set.intersection(*(set(one.idempotent_paths) for one in serving or [_NONE]))
    own = rendered(RoutingTable((deployment,)))["virtual_hosts"][0]
    repeated = {
        route["match"].get("path")
        for route in own["routes"]
        if "headers" not in route["match"]
        and "reset" in "".join(within(route, "retry_on")).split(",")
    }
    assert repeated == allowed


_NONE = RoutedRevision(0, 0, ())


def test_weights_are_those_of_revisions_with_replicas() -> None:
    up = (Upstream("r", "/r.sock"),)
    one, two = RoutedRevision(1, 30, up), RoutedRevision(2, 70, up)
    shared = rendered(RoutingTable((RoutedDeployment("d", (one, two)),)))
    weights = [[one["weight"] for one in shares] for shares in within(shared, "clusters")]
    assert weights
    assert all(found == [30, 70] for found in weights)
    lost = rendered(RoutingTable((RoutedDeployment("d", (one, RoutedRevision(2, 70, ()))),)))
    assert not list(within(lost, "clusters"))


@pytest.mark.parametrize(
    ("host", "names", "foreign"),
    [("127.0.0.1", "localhost", True), ("127.0.0.9", "127.0.0.9", True), ("0.0.0.0", "*", False)],
)
def test_foreign_host_names_are_refused_on_loopback(host: str, names: str, foreign: bool) -> None:
    hosts = rendered(RoutingTable(), RouterSettings(host=host))["virtual_hosts"]
    assert names in hosts[0]["domains"]
    assert [one["name"] for one in hosts[1:]] == (["foreign"] if foreign else [])


@pytest.mark.parametrize(("remedy", "status"), [("", 573), ("Start it.", 574)])
def test_who_asks_where_nothing_comes_by_itself_is_answered_otherwise(
    remedy: str, status: int
) -> None:
    resting = RoutedDeployment("d", (), unavailable_remedy=remedy)
    routes = rendered(RoutingTable((resting,)))
    (host,) = [one for one in routes["virtual_hosts"] if one["name"] == "deployment d"]
    assert [one["direct_response"]["status"] for one in host["routes"][1:2]] == [status]
    assert set(within(host, "remedy")) == ({remedy} if remedy else set())


def test_a_reason_is_never_read_as_a_format() -> None:
    reason = "100% of %REQ(AUTHORIZATION)% is gone."
    routes = rendered(RoutingTable((RoutedDeployment("d", (), unavailable_reason=reason),)))
    assert reason in set(within(routes, "reason"))
    # Metadata is handed on as it is; a format would stand in one of these.
    assert not list(within(routes, "body_format"))
    assert not list(within(routes, "body"))
