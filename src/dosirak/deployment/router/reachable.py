"""Replicas that Envoy can be told of: one that it cannot would have it refuse the whole table."""

from __future__ import annotations

import os
from dataclasses import replace
from ipaddress import ip_address

from dosirak.deployment.routing import RoutedDeployment, RoutingTable, Upstream

# A socket's name has 108 bytes, the last of which is zero.
_MOST_PATH_BYTES = 107


def reachable(table: RoutingTable) -> tuple[RoutingTable, tuple[str, ...]]:
    """Return the table without replicas that cannot be reached, and a sentence for each."""
    lost = {
        upstream: f"The replica {upstream.replica!r} of {deployment.name!r} {why}."
        for deployment in table.deployments
        for revision in deployment.revisions
        for upstream in revision.upstreams
        if (why := _why_not(upstream))
    }
    if not lost:
        return table, ()
    kept = tuple(_without(deployment, lost) for deployment in table.deployments)
    return RoutingTable(kept), tuple(lost.values())


def _without(deployment: RoutedDeployment, lost: dict[Upstream, str]) -> RoutedDeployment:
    revisions = (
        replace(revision, upstreams=tuple(one for one in revision.upstreams if one not in lost))
        for revision in deployment.revisions
    )
    return replace(deployment, revisions=tuple(revisions))


def _why_not(upstream: Upstream) -> str:
    if upstream.socket_path:
        too_long = len(os.fsencode(upstream.socket_path)) > _MOST_PATH_BYTES
        return "has a socket whose path is too long" if too_long else ""
    try:
        ip_address(upstream.host)
    except ValueError:
        return f"is at {upstream.host!r}, which is no IP address"
    return "" if 0 < upstream.port < 65536 else f"has no port that can be: {upstream.port}"
