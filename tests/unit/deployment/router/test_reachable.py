from __future__ import annotations

import pytest

from dosirak.deployment.router.reachable import reachable
from dosirak.deployment.routing import RoutedDeployment, RoutedRevision, RoutingTable, Upstream

_GOOD = (
    Upstream("a", "/a.sock"),
    Upstream("b", host="127.0.0.1", port=9),
    Upstream("c", host="::1", port=9),
    Upstream("d", "/" + "x" * 106),
)


def table(*upstreams: Upstream) -> RoutingTable:
    return RoutingTable((RoutedDeployment("d", (RoutedRevision(1, 100, upstreams),)),))


def test_what_can_be_reached_is_left_as_it_is() -> None:
    good = table(*_GOOD)
    found, told = reachable(good)
    assert found is good
    assert told == ()


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (Upstream("bad", "/" + "x" * 107), "too long"),
        (Upstream("bad", host="localhost", port=9), "'localhost'"),
        (Upstream("bad", host="127.0.0.1"), "port"),
        (Upstream("bad"), "no IP address"),
    ],
)
def test_what_cannot_is_left_out_and_told(bad: Upstream, said: str) -> None:
    found, [told] = reachable(table(*_GOOD, bad))
    assert found == table(*_GOOD)
    assert "'bad' of 'd'" in told
    assert said in told
