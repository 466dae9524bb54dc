"""Routes: which cluster a request goes to, what is said on the way, and what may be repeated.

    main ─┬ host NAME.localhost, hosts ──────────────▶ the deployment's routes
          ├ localhost ─┬ by port of its own ─────────▶ the deployment's routes
          │            └ by prefix /NAME, /NAME@N ───▶ the same, the prefix taken off
          └ any other host ──────────────────────────▶ 421, or as localhost beyond loopback

Prefixes are found in a tree, so that a request costs the same with one deployment and with many;
within a deployment the first route that fits counts: pins, the canary's header, then weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dosirak.deployment.router.claims import Claims
from dosirak.deployment.router.clusters import cluster_name
from dosirak.deployment.router.own_answers import Refusal, refusal
from dosirak.deployment.router.resources import (
    METADATA,
    Resource,
    extension,
    header,
    metadata,
    seconds,
    typed,
)
from dosirak.deployment.router.settings import RouterSettings
from dosirak.deployment.routing import RoutedDeployment, RoutedRevision, RoutingTable

PIN_HEADER = "x-dosirak-revision"
DEPLOYMENT_HEADER = "x-dosirak-deployment"
PREFIX_HEADER = "x-forwarded-prefix"
# Set by the listeners, whatever a caller sends; no replica sees it.
PORT_HEADER = "x-dosirak-port"

_ROUTES = "envoy.config.route.v3.RouteConfiguration"
_ROUTE_LIST = "envoy.config.route.v3.RouteList"
_HEADER_INPUT = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
_PREVIOUS_HOSTS = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]", "::1", "*.localhost")
_USUAL_TIMEOUT_S = 60.0  # A deployment's own, where it says nothing else; said once for all.
_UNBEGUN = "connect-failure,refused-stream,reset-before-request"


def main_routes(table: RoutingTable, claims: Claims, settings: RouterSettings) -> Resource:
    """Return the one set of routes of all listeners."""
    routers = [_DeploymentRoutes(deployment, settings) for deployment in table.deployments]
    by_host = [_virtual_host(routes, claims) for routes in routers]
    names = {*_LOOPBACK_NAMES, settings.host} if settings.loopback else {"*"}
    taken = {domain for host in by_host for domain in host["domains"]}
    by_path = {
        "name": "paths",
        "domains": sorted(names - taken),
        "retry_policy": retries(_USUAL_TIMEOUT_S),
        "matcher": _by_port(routers, claims, _by_prefix(routers)),
    }
    foreign = {
        "name": "foreign",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, **refusal(Refusal.FOREIGN_HOST)}],
    }
    return typed(
        _ROUTES,
        name="main",
        response_headers_to_add=[
            header(DEPLOYMENT_HEADER, f"%METADATA(ROUTE:{METADATA}:deployment)%"),
            header(PIN_HEADER, f"%CLUSTER_METADATA({METADATA}:revision)%"),
        ],
        # Removed before it is set: a caller's own never gets through.
        request_headers_to_remove=[PREFIX_HEADER, PORT_HEADER, "x-envoy-external-address"],
        request_headers_to_add=[header(PREFIX_HEADER, f"%METADATA(ROUTE:{METADATA}:prefix)%")],
        ignore_port_in_host_matching=True,
        virtual_hosts=[*by_host, by_path, *([foreign] if settings.loopback else [])],
    )


def probe_routes(version: int) -> Resource:
    """Return the routes of the private listener that says which version is followed."""
    return typed(
        _ROUTES,
        name="probe",
        virtual_hosts=[
            {
                "name": "probe",
                "domains": ["*"],
                "routes": [
                    {
                        "match": {"prefix": "/"},
                        "direct_response": {
                            "status": 200,
                            "body": {"inline_string": str(version)},
                        },
                    }
                ],
            }
        ],
    )


def _virtual_host(routes: _DeploymentRoutes, claims: Claims) -> Resource:
    name = routes.deployment.name
    return {
        "name": f"deployment {name}",
        "domains": list(claims.hosts[name]),
        "retry_policy": retries(_USUAL_TIMEOUT_S),
        "routes": [*routes.under(""), _nothing_here()],
    }


def _by_port(routers: Iterable[_DeploymentRoutes], claims: Claims, else_: Resource) -> Resource:
    ports = {
        str(claims.ports[routes.deployment.name]): _list(routes.under(""))
        for routes in routers
        if routes.deployment.name in claims.ports
    }
    if not ports:
        return else_
    tree = {
        "input": extension("port", _HEADER_INPUT, header_name=PORT_HEADER),
        "exact_match_map": {"map": ports},
    }
    return {"matcher_tree": tree, "on_no_match": {"matcher": else_}}


def _by_prefix(routers: Iterable[_DeploymentRoutes]) -> Resource:
    prefixes = {prefix: _list(found) for routes in routers for prefix, found in routes.by_prefix()}
    nowhere = _list(())
    tree = {
        "input": extension("path", _HEADER_INPUT, header_name=":path"),
        # `/` is there for a tree may not be empty.
        "prefix_match_map": {"map": {"/": nowhere, **prefixes}},
    }
    return {"matcher_tree": tree, "on_no_match": nowhere}


def _list(routes: Iterable[Resource]) -> Resource:
    # The tree compares beginnings alone: `/iris` leads here with `/irises`, too.
    return {"action": extension("routes", _ROUTE_LIST, routes=[*routes, _nothing_here()])}


def _nothing_here() -> Resource:
    return {"match": {"prefix": "/"}, **refusal(Refusal.UNKNOWN_DEPLOYMENT)}


@dataclass(frozen=True, slots=True)
class _Destination:
    """Clusters with their shares, and the paths whose requests may be repeated.

    Attributes:
        shares: cluster and weight; none while there is no replica.
        grpc_shares: the same of clusters that speak HTTP/2; none where a replica does not.
        reason: why there is no replica.
        remedy: what somebody must do about it; empty where one comes by itself.
    """

    shares: tuple[tuple[str, int], ...]
    grpc_shares: tuple[tuple[str, int], ...]
    idempotent_paths: tuple[str, ...]
    reason: str
    remedy: str = ""


class _DeploymentRoutes:
    """The routes of one deployment."""

    def __init__(self, deployment: RoutedDeployment, settings: RouterSettings) -> None:
        self.deployment = deployment
        self._settings = settings
        self._clusters = {
            (revision.number, grpc): cluster_name(deployment, revision, settings, grpc=grpc)
            for revision in deployment.revisions
            for grpc in (False, True)[: 1 + revision.speaks_http2]
        }
        self._weighted = self._by_weight(deployment.revisions)
        self._pinned = {one.number: self._to_one(one) for one in deployment.revisions}

    def by_prefix(self) -> Iterator[tuple[str, list[Resource]]]:
        """Yield the beginnings of paths that are this deployment's, with the routes of each."""
        prefix = f"/{self.deployment.name}"
        unknown = self._refused({"prefix": f"{prefix}@"}, Refusal.UNKNOWN_REVISION)
        yield prefix, [*self.under(prefix), unknown]
        for number, destination in self._pinned.items():
            pinned = f"{prefix}@{number}"
            yield pinned, [*self._to(pinned, destination), unknown]

    def under(self, prefix: str) -> Iterator[Resource]:
        """Yield the routes of paths below a prefix; the first that fits counts."""
        for number, destination in self._pinned.items():
            yield from self._to(prefix, destination, _header_is(PIN_HEADER, str(number)))
        other = {"name": PIN_HEADER, "present_match": True}
        for match, _ in _matches(prefix):
            yield self._refused(_when(match, other), Refusal.UNKNOWN_REVISION)
        canary = self._pinned.get(self.deployment.canary_revision or 0)
        if canary is not None and canary.shares and self.deployment.canary_header:
            yield from self._to(prefix, canary, _header_is(*self.deployment.canary_header))
        yield from self._to(prefix, self._weighted)

    def _to_one(self, revision: RoutedRevision) -> _Destination:
        return self._destination(
            [(revision, 1)] if revision.upstreams else [],
            f"Revision {revision.number} has no replica now.",
        )

    def _by_weight(self, revisions: Iterable[RoutedRevision]) -> _Destination:
        # The share of a revision that has lost all its replicas goes to the others that have one.
        shares = [
            (revision, revision.weight_percent)
            for revision in revisions
            if revision.weight_percent > 0 and revision.upstreams
        ]
        deployment = self.deployment
        return self._destination(
            shares, deployment.unavailable_reason, deployment.unavailable_remedy
        )

    def _destination(
        self, shares: list[tuple[RoutedRevision, int]], reason: str, remedy: str = ""
    ) -> _Destination:
        repeatable = [set(revision.idempotent_paths) for revision, _ in shares]
        speak_http2 = all(revision.speaks_http2 for revision, _ in shares)
        return _Destination(
            shares=self._named(shares),
            grpc_shares=self._named(shares, grpc=True) if speak_http2 else (),
            # A request is repeated before it is known which revision it went to.
            idempotent_paths=tuple(sorted(set.intersection(*repeatable))) if repeatable else (),
            reason=reason,
            remedy=remedy,
        )

    def _named(
        self, shares: list[tuple[RoutedRevision, int]], *, grpc: bool = False
    ) -> tuple[tuple[str, int], ...]:
        return tuple((self._clusters[revision.number, grpc], weight) for revision, weight in shares)

    def _to(
        self, prefix: str, destination: _Destination, condition: Resource | None = None
    ) -> Iterator[Resource]:
        ways = [(_when(match, condition), path) for match, path in _matches(prefix)]
        if not destination.shares:
            kind = Refusal.AT_REST if destination.remedy else Refusal.NO_REPLICA
            for match, _ in ways:
                yield self._refused(match, kind, destination.reason, destination.remedy)
            return
        if destination.grpc_shares:
            for match, path in ways:
                action = {**_shared(destination.grpc_shares), **self._grpc_times()}
                yield self._route({**match, "grpc": {}}, prefix, path, action)
        for path in destination.idempotent_paths:
            match = _when({"path": f"{prefix}{path}"}, condition)
            action = {**_shared(destination.shares), **self._repeated()}
            yield self._route(match, prefix, path, action)
        for match, path in ways:
            yield self._route(match, prefix, path, {**_shared(destination.shares), **self._times()})

    def _route(self, match: Resource, prefix: str, path: str, action: Resource) -> Resource:
        return {
            "match": match,
            "route": {**action, "prefix_rewrite": path} if prefix else action,
            "metadata": metadata(deployment=self.deployment.name, prefix=prefix),
        }

    def _refused(
        self, match: Resource, kind: Refusal, reason: str = "", remedy: str = ""
    ) -> Resource:
        said = metadata(deployment=self.deployment.name, reason=reason, remedy=remedy)
        return {"match": match, **refusal(kind), "metadata": said}

    def _times(self) -> Resource:
        # `timeout` would cut streams; the time of each try counts to the answer's head.
        timeout_s = self.deployment.timeout_s
        own = {"retry_policy": retries(timeout_s)} if timeout_s != _USUAL_TIMEOUT_S else {}
        idle_s = max(timeout_s, self._settings.stream_idle_s)
        idle = {"idle_timeout": seconds(idle_s)} if timeout_s == idle_s else {}
        return {"timeout": "0s", **idle, **own}

    def _grpc_times(self) -> Resource:
        return {**self._times(), "max_stream_duration": {"grpc_timeout_header_max": "0s"}}

    def _repeated(self) -> Resource:
        # It must not take twice the time for being repeated: what counts is silence since it began.
        return {
            "timeout": "0s",
            "idle_timeout": seconds(self.deployment.timeout_s),
            "retry_policy": retries(None),
        }


def retries(try_s: float | None) -> Resource:
    """Return what is repeated: what no replica has begun; with None, what a lost one had, too."""
    return {
        "retry_on": _UNBEGUN if try_s is not None else f"{_UNBEGUN},reset",
        "num_retries": 3,
        "retry_host_predicate": [extension("previous_hosts", _PREVIOUS_HOSTS)],
        "host_selection_retry_max_attempts": 5,
        "retry_back_off": {"base_interval": "0.010s", "max_interval": "0.200s"},
        **({} if try_s is None else {"per_try_timeout": seconds(try_s)}),
    }


def _shared(shares: tuple[tuple[str, int], ...]) -> Resource:
    if len(shares) == 1:
        return {"cluster": shares[0][0]}
    weighted = [{"name": name, "weight": weight} for name, weight in shares]
    return {"weighted_clusters": {"clusters": weighted}}


def _matches(prefix: str) -> tuple[tuple[Resource, str], ...]:
    """Return what a prefix means, and what its place is taken by: `/NAME/…`, and `/NAME`."""
    below: tuple[Resource, str] = ({"prefix": f"{prefix}/"}, "/")
    return (below, ({"path": prefix}, "/")) if prefix else (below,)


def _when(match: Resource, condition: Resource | None) -> Resource:
    return match if condition is None else {**match, "headers": [condition]}


def _header_is(name: str, value: str) -> Resource:
    return {"name": name, "string_match": {"exact": value}}
