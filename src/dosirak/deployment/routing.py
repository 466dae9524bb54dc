"""Where requests go: the routing table, as values, that the router makes true.

The table is whole each time: the router compares it with what it serves and changes only that.
It knows nothing of Envoy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Upstream:
    """One replica that takes requests: the Unix socket `socket_path`, or `host` and `port`."""

    replica: str
    socket_path: str = ""
    host: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True)
class RoutedRevision:
    """One revision with its share of the deployment's requests.

    Attributes:
        weight_percent: 0 to 100; those of a deployment add up to 100, or all are 0.
        upstreams: its ready replicas; a revision of weight 0 is reached by its pin alone.
        idempotent_paths: paths (`/predict`) whose requests may be sent again after they reached
            a replica that was lost.
        speaks_http2: whether its replicas take HTTP/2 without TLS on their socket, as gRPC needs.
    """

    number: int
    weight_percent: int
    upstreams: tuple[Upstream, ...]
    idempotent_paths: tuple[str, ...] = ()
    speaks_http2: bool = False


@dataclass(frozen=True, slots=True)
class RoutedDeployment:
    """One deployment's addresses and revisions.

    Attributes:
        hosts: names that mean this deployment, beside `NAME.localhost`.
        port: a listener of its own, if it asked for one.
        timeout_s: longest time for a request, streams excepted.
        canary_header: requests with this header and value go to the revision `canary_revision`.
        max_requests: how many may be with its replicas at a time; more are refused with 503.
        unavailable_reason: what is said while no revision has a replica.
        unavailable_remedy: what a person must do for it to have one again; empty where it comes by
            itself, so that callers are told to try again.
    """

    name: str
    revisions: tuple[RoutedRevision, ...]
    hosts: tuple[str, ...] = ()
    port: int | None = None
    timeout_s: float = 60.0
    canary_header: tuple[str, str] | None = None
    canary_revision: int | None = None
    max_requests: int = 4096
    unavailable_reason: str = "No replica is ready."
    unavailable_remedy: str = ""


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """All deployments that are to be reached."""

    deployments: tuple[RoutedDeployment, ...] = ()


@dataclass(frozen=True, slots=True)
class RevisionTraffic:
    """What the router counted for a revision since it began to serve it."""

    deployment: str
    revision: int
    requests: int
    errors: int
    in_flight: int
    latency_ms: dict[str, float]  # p50, p95, p99 of the last interval


class Router(Protocol):
    """The data plane, as the controller drives it. Its process outlives the controller's."""

    def ensure_running(self) -> None:
        """Start it, or adopt it if it runs; it goes on with the files that are there."""
        ...

    def apply(self, table: RoutingTable) -> int:
        """Write the table and return its version; the router takes it up in a moment."""
        ...

    def applied_version(self) -> int:
        """Return the version of the table that requests follow now; 0 for none yet."""
        ...

    def in_flight(self, replica: str) -> int:
        """Return how many requests a replica still has from the router; 0 once it is idle."""
        ...

    def traffic(self) -> tuple[RevisionTraffic, ...]:
        """Return what was counted."""
        ...

    def stop(self) -> None:
        """End it, once its connections have drained."""
        ...
