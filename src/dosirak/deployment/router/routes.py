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

from dosirak.deployment.router import own_answers
from dosirak.deployment.router.claims import Claims
from dosirak.deployment.router.clusters import cluster_name
from dosirak.deployment.router.resources import (
    Resource,
    extension,
    header,
    named,
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
_NOT_PASSED_ON = [PORT_HEADER, "x-envoy-external-address"]
# Larger requests are not kept for a repetition.
REPEATABLE_BYTES = 1 << 20

_ROUTES = "envoy.config.route.v3.RouteConfiguration"
_ROUTE_LIST = "envoy.config.route.v3.RouteList"
_HEADER_INPUT = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
_PREVIOUS_HOSTS = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]", "::1", "*.localhost")
_UNBEGUN = "connect-failure,refused-stream,reset-before-request"


def main_routes(table: RoutingTable, claims: Claims, settings: RouterSettings) -> Resource:
    """Return the one set of routes of all listeners."""
    routers = [_DeploymentRoutes(deployment, settings) for deployment in table.deployments]
    by_host = [_virtual_host(routes, claims) for routes in routers]
    names = _LOOPBACK_NAMES if settings.loopback else ("*",)
    taken = {domain for host in by_host for domain in host["domains"]}
    by_path = {
        "name": "paths",
        "domains": [name for name in names if name not in taken],
        "matcher": _by_port(routers, claims, _by_prefix(routers)),
    }
    foreign = {
        "name": "foreign",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, **own_answers.foreign_host()}],
    }
    return typed(
        _ROUTES,
        name="main",
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
    return {"match": {"prefix": "/"}, **own_answers.unknown_deployment()}


@dataclass(frozen=True, slots=True)
class _Destination:
    """Revisions with their shares, and the paths whose requests may be repeated."""

    shares: tuple[tuple[RoutedRevision, int], ...]
    idempotent_paths: tuple[str, ...]
    reason: str


class _DeploymentRoutes:
    """The routes of one deployment."""

    def __init__(self, deployment: RoutedDeployment, settings: RouterSettings) -> None:
        self.deployment = deployment
        self._settings = settings

    def by_prefix(self) -> Iterator[tuple[str, list[Resource]]]:
        """Yield the beginnings of paths that are this deployment's, with the routes of each."""
        prefix = f"/{self.deployment.name}"
        yield prefix, [*self.under(prefix), *self._unknown_pins(f"{prefix}@")]
        for revision in self.deployment.revisions:
            pinned = f"{prefix}@{revision.number}"
            routes = self._to(pinned, self._pinned(revision))
            yield pinned, [*routes, *self._unknown_pins(f"{prefix}@")]

    def under(self, prefix: str) -> Iterator[Resource]:
        """Yield the routes of paths below a prefix; the first that fits counts."""
        for revision in self.deployment.revisions:
            pin = _header_is(PIN_HEADER, str(revision.number))
            yield from self._to(prefix, self._pinned(revision), pin)
        unknown = own_answers.unknown_revision(self.deployment.name)
        pinned = {"name": PIN_HEADER, "present_match": True}
        yield from (
            {"match": {**match, "headers": [pinned]}, **self._said(), **_merged(self, unknown)}
            for match, _ in _matches(prefix)
        )
        yield from self._canary(prefix)
        yield from self._to(prefix, self._weighted())

    def _canary(self, prefix: str) -> Iterator[Resource]:
        for revision in self.deployment.revisions:
            chosen = revision.number == self.deployment.canary_revision and revision.upstreams
            if chosen and self.deployment.canary_header:
                condition = _header_is(*self.deployment.canary_header)
                yield from self._to(prefix, self._pinned(revision), condition)

    def _unknown_pins(self, prefix: str) -> Iterator[Resource]:
        unknown = own_answers.unknown_revision(self.deployment.name)
        yield {"match": {"prefix": prefix}, **self._said(), **_merged(self, unknown)}

    def _pinned(self, revision: RoutedRevision) -> _Destination:
        shares = ((revision, 1),) if revision.upstreams else ()
        reason = f"Revision {revision.number} has no replica now."
        return _Destination(shares, revision.idempotent_paths, reason)

    def _weighted(self) -> _Destination:
        # The share of a revision that has lost all its replicas goes to the others that have one.
        shares = tuple(
            (revision, revision.weight_percent)
            for revision in self.deployment.revisions
            if revision.weight_percent > 0 and revision.upstreams
        )
        repeatable = [set(revision.idempotent_paths) for revision, _ in shares]
        paths = set.intersection(*repeatable) if repeatable else set[str]()
        return _Destination(shares, tuple(sorted(paths)), self.deployment.unavailable_reason)

    def _to(
        self, prefix: str, destination: _Destination, condition: Resource | None = None
    ) -> Iterator[Resource]:
        if not destination.shares:
            refused = own_answers.unavailable(destination.reason)
            for match, _ in _matches(prefix):
                yield {
                    "match": _when(match, condition),
                    **self._said(),
                    **_merged(self, refused),
                }
            return
        if all(revision.speaks_http2 for revision, _ in destination.shares):
            yield from self._grpc(prefix, destination, condition)
        for path in destination.idempotent_paths:
            match = {"path": f"{prefix}{path}"}
            yield self._route(_when(match, condition), prefix, path, destination, repeat=True)
        for match, rewritten in _matches(prefix):
            yield self._route(_when(match, condition), prefix, rewritten, destination)

    def _grpc(
        self, prefix: str, destination: _Destination, condition: Resource | None
    ) -> Iterator[Resource]:
        for match, rewritten in _matches(prefix):
            yield self._route(
                {**_when(match, condition), "grpc": {}}, prefix, rewritten, destination, grpc=True
            )

    def _route(
        self,
        match: Resource,
        prefix: str,
        rewritten: str,
        destination: _Destination,
        *,
        repeat: bool = False,
        grpc: bool = False,
    ) -> Resource:
        timeout_s = self.deployment.timeout_s
        # `timeout` would cut streams; this one counts to the answer's head, for each try.
        first_byte = {} if repeat else {"per_try_timeout": seconds(timeout_s)}
        # A repeated request must not take twice the time: silence since it began is what counts.
        idle_s = timeout_s if repeat else max(timeout_s, self._settings.stream_idle_s)
        action = {
            **self._shares(destination, grpc),
            **({"prefix_rewrite": rewritten} if prefix else {}),
            "timeout": "0s",
            "idle_timeout": seconds(idle_s),
            "retry_policy": {**_retries(repeat), **first_byte},
            **({"max_stream_duration": {"grpc_timeout_header_max": "0s"}} if grpc else {}),
        }
        passed_on = (
            {
                "request_headers_to_add": [header(PREFIX_HEADER, prefix)],
                "request_headers_to_remove": _NOT_PASSED_ON,
            }
            if prefix
            else {"request_headers_to_remove": [PREFIX_HEADER, *_NOT_PASSED_ON]}
        )
        return {
            "match": match,
            "route": action,
            "response_headers_to_add": self._names(),
            **passed_on,
            **({"request_body_buffer_limit": REPEATABLE_BYTES} if repeat else {}),
            **self._said(),
        }

    def _shares(self, destination: _Destination, grpc: bool) -> Resource:
        clusters = [
            {
                "name": cluster_name(self.deployment, revision, self._settings, grpc=grpc),
                "weight": weight,
                "response_headers_to_add": [header(PIN_HEADER, str(revision.number))],
            }
            for revision, weight in destination.shares
        ]
        return {"weighted_clusters": {"clusters": clusters}}

    def _names(self) -> list[Resource]:
        return [header(DEPLOYMENT_HEADER, self.deployment.name)]

    def _said(self) -> Resource:
        return {"metadata": named(self.deployment.name)}


def _merged(routes: _DeploymentRoutes, answer: Resource) -> Resource:
    added = [*answer["response_headers_to_add"], header(DEPLOYMENT_HEADER, routes.deployment.name)]
    return {**answer, "response_headers_to_add": added}


def _matches(prefix: str) -> tuple[tuple[Resource, str], ...]:
    """Return what a prefix means, and what its place is taken by: `/NAME/…`, and `/NAME`."""
    below = ({"prefix": f"{prefix}/"}, "/")
    return (below, ({"path": prefix}, "/")) if prefix else (below,)


def _when(match: Resource, condition: Resource | None) -> Resource:
    return match if condition is None else {**match, "headers": [condition]}


def _header_is(name: str, value: str) -> Resource:
    return {"name": name, "string_match": {"exact": value}}


def _retries(repeat: bool) -> Resource:
    return {
        "retry_on": f"{_UNBEGUN},reset" if repeat else _UNBEGUN,
        "num_retries": 3,
        "retry_host_predicate": [extension("previous_hosts", _PREVIOUS_HOSTS)],
        "host_selection_retry_max_attempts": 5,
        "retry_back_off": {"base_interval": "0.010s", "max_interval": "0.200s"},
    }
