"""Routes: a literal path, the methods it answers, and one label for the metrics.

HEAD, OPTIONS, unknown methods and unknown paths are answered here, the same everywhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias, cast

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from dosirak.errors import ApiNotFound, MethodNotAllowed
from dosirak.observe.metrics import NO_API
from dosirak.serving.http.exchange import KEY, Exchange
from dosirak.serving.http.mounts import MountEndpoint

Answer: TypeAlias = Callable[[Exchange], Awaitable[None]]

_MOST_ROUTES_NAMED = 20


class MethodNotAllowedHere(MethodNotAllowed):
    """Says with the error which methods the route has."""

    def __init__(self, message: str, *, remedy: str, allow: str) -> None:
        super().__init__(message, remedy=remedy)
        self.headers = (("allow", allow),)


class Endpoint:
    """One path.

    Args:
        path: matched exactly.
        methods: what answers each method; GET also answers HEAD.
        label: the api's name in metrics, `-` for what belongs to none.
        remedy: said when another method is used.
    """

    def __init__(
        self, path: str, methods: Mapping[str, Answer], *, label: str = NO_API, remedy: str = ""
    ) -> None:
        self.path = path
        self._methods = dict(methods)
        if "GET" in self._methods:
            self._methods.setdefault("HEAD", self._methods["GET"])
        self._label = label
        self._remedy = remedy
        self._allow = ", ".join(sorted({*self._methods, "OPTIONS"}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        exchange = cast(Exchange, scope[KEY])
        exchange.api = self._label
        exchange.route = self.path
        answer = self._methods.get(exchange.method)
        if answer is not None:
            await answer(exchange)
        elif exchange.method == "OPTIONS":
            await exchange.send_whole(200, "", b"", [(b"allow", self._allow.encode("ascii"))])
        else:
            raise MethodNotAllowedHere(
                f"{self.path} does not answer {exchange.method[:16]}.",
                remedy=self._remedy or f"Use one of: {self._allow}.",
                allow=self._allow,
            )


def route_table(endpoints: Sequence[Endpoint], mounts: Sequence[MountEndpoint] = ()) -> ASGIApp:
    """Return an application that finds the endpoint for each path; of mounts, the nearest."""
    nearest_first = sorted(mounts, key=lambda mount: len(mount.path), reverse=True)
    named = [endpoint.path for endpoint in endpoints if not endpoint.path.startswith("/-/")]
    shown = ", ".join(named[:_MOST_ROUTES_NAMED])

    async def elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
        for mount in nearest_first:
            if mount.covers(scope["path"]):
                await mount.answer(cast(Exchange, scope[KEY]))
                return
        raise ApiNotFound("There is nothing at this path.", remedy=f"The routes are: {shown}.")

    return Router(
        [Route(endpoint.path, endpoint) for endpoint in endpoints],
        redirect_slashes=False,
        default=elsewhere,
    )
