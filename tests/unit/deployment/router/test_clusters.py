from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from routing_tables import NAMES

from dosirak.deployment.router.clusters import UPSTREAM_IDLE_S, RevisionName, clusters
from dosirak.deployment.router.settings import RouterSettings
from dosirak.deployment.routing import RoutedDeployment, RoutedRevision, RoutingTable, Upstream
from dosirak.serving.http_server import IDLE_S

_SETTINGS = RouterSettings()
_A, _B = Upstream("a", "/a.sock"), Upstream("b", host="127.0.0.1", port=9)


def names(*upstreams: Upstream, **more: object) -> list[str]:
    deployment = RoutedDeployment("d", (RoutedRevision(1, 100, upstreams),), **more)  # type: ignore
    return list(clusters(RoutingTable((deployment,)), _SETTINGS))


@given(NAMES, st.integers(1, 10**6))
def test_a_clusters_name_says_whose_it_is(name: str, number: int) -> None:
    deployment = RoutedDeployment(name, (RoutedRevision(number, 100, (_A,)),))
    [cluster] = clusters(RoutingTable((deployment,)), _SETTINGS)
    assert RevisionName.of_cluster(cluster) == RevisionName(name, number)


def test_a_name_that_is_nobodys_is_told() -> None:
    assert RevisionName.of_cluster("other") is None
    assert RevisionName.of_cluster("d@x") is None


def test_other_replicas_are_another_cluster() -> None:
    assert names(_A) != names(_B) != names(_A, _B)
    assert names(_A) != names(_A, max_requests=1)


def test_the_order_and_weights_of_replicas_are_no_difference() -> None:
    assert names(_A, _B) == names(_B, _A)
    deployment = RoutedDeployment("d", (RoutedRevision(1, 100, (_A,)),))
    moved = replace(deployment, revisions=(RoutedRevision(1, 0, (_A,), ("/x",)),))
    found = (clusters(RoutingTable((one,)), _SETTINGS) for one in (deployment, moved))
    assert next(found) == next(found)


def test_the_router_leaves_idle_connections_before_replicas_do() -> None:
    assert UPSTREAM_IDLE_S < IDLE_S
