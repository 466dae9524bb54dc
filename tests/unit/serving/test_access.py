"""Who may ask for what, walked over the routes themselves."""

from __future__ import annotations

from typing import Any, cast

import pytest
from starlette.routing import Route, Router

from dosirak.errors import DosirakError, Forbidden, Unauthorized
from dosirak.observe.health import Health
from dosirak.observe.metrics import ServingMetrics
from dosirak.serving.calls import ApiDescription, ServiceDescription
from dosirak.serving.http.application import served_routes
from dosirak.serving.http.guard import ADMIN_PATHS, PUBLIC_PATHS, check_request
from dosirak.serving.http.options import HttpOptions
from dosirak.spec.describe import RESERVED_ROUTES

OPTIONS = HttpOptions(token="for-the-callers", admin_token="of-the-house")
HERE, ELSEWHERE = ("127.0.0.1", 5), ("10.0.0.9", 5)
NOBODY: dict[str, str] = {}
CALLER = {"authorization": "Bearer for-the-callers"}
OPERATOR = {"authorization": "Bearer of-the-house"}


class Nothing:
    """Stands for calls and reloads; none is made."""

    def health(self) -> Health:
        return Health(live=True, ready=True, reason="")

    def leave_sockets(self) -> None:
        """There are none."""


def _paths() -> list[str]:
    api = ApiDescription("echo", "/echo", "api", ("POST",), True, None)
    schema = {
        "schema_version": 1,
        "apis": [
            {
                "name": "echo", "doc": "", "parameters": [], "returns": {},
                "request_media_types": [], "response_media_types": [],
            }
        ],
    }  # fmt: skip
    nothing = cast(Any, Nothing())
    served = served_routes(
        ServiceDescription("echo", (api,), schema),
        nothing,
        options=OPTIONS,
        metrics=ServingMetrics(service="echo", process=False),
        reloads=nothing,
        revision="r",
    )
    return [route.path for route in cast(Router, served.routes).routes if isinstance(route, Route)]


def _refusal(
    path: str,
    headers: dict[str, str],
    client: tuple[str, int] | None,
    options: HttpOptions = OPTIONS,
) -> type[DosirakError] | None:
    raw = [(b"host", b"localhost")]
    scope: Any = {"type": "http", "method": "POST", "path": path, "headers": raw, "client": client}
    try:
        check_request(scope, headers, options)
    except DosirakError as error:
        return type(error)
    return None


def test_every_route_is_public_or_for_callers_or_for_operators() -> None:
    paths = _paths()
    assert set(paths) >= PUBLIC_PATHS | ADMIN_PATHS | {"/echo", "/metrics", "/openapi.json"}
    for path in [*paths, "/nothing"]:
        if path in PUBLIC_PATHS:
            assert _refusal(path, NOBODY, ELSEWHERE) is None
        elif path in ADMIN_PATHS:
            assert _refusal(path, OPERATOR, HERE) is None
            assert _refusal(path, CALLER, HERE) is Unauthorized
            assert _refusal(path, NOBODY, HERE) is Unauthorized
        else:
            assert _refusal(path, CALLER, ELSEWHERE) is None
            assert _refusal(path, OPERATOR, HERE) is Unauthorized
            assert _refusal(path, NOBODY, HERE) is Unauthorized


@pytest.mark.parametrize("client", [ELSEWHERE, None, ("", 0), ("unix", 0)])
def test_admin_routes_open_only_to_this_machine(client: tuple[str, int] | None) -> None:
    for path in ADMIN_PATHS:
        assert _refusal(path, OPERATOR, client) is Forbidden


def test_admin_routes_are_closed_without_a_token_of_their_own() -> None:
    for path in ADMIN_PATHS:
        assert _refusal(path, CALLER, HERE, HttpOptions(token="for-the-callers")) is Forbidden
        assert _refusal(path, NOBODY, HERE, HttpOptions()) is Forbidden


def test_no_author_can_take_a_route_of_the_servers_own() -> None:
    own = {path for path in PUBLIC_PATHS | ADMIN_PATHS if not path.startswith("/-/")}
    assert own <= RESERVED_ROUTES
