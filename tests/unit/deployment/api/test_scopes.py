"""S-40: every route of the router declares a scope, and nobody gets behind one without it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.testclient import TestClient
from tests.unit.deployment.platform_on_paper import Platform, created

from dosirak.deployment.api.access import ADMIN, DEPLOY_READ, DEPLOY_WRITE, PUBLIC, Needs
from dosirak.deployment.api.guarded_route import GuardedRoute, needs_of
from dosirak.deployment.asking import Asking

UNSCOPED = {"/api/v1/openapi.json"}  # says what there is, and nothing of what is deployed


def _routes(found: list[BaseRoute]) -> Iterator[BaseRoute]:
    for route in found:
        inner = getattr(route, "original_router", None) or getattr(route, "router", None)
        if inner is not None:
            yield from _routes(inner.routes)
        else:
            yield route


def _all_routes(client: TestClient) -> list[BaseRoute]:
    return list(_routes(client.app.routes))  # type: ignore[attr-defined]


def _guarded(client: TestClient) -> list[tuple[str, str, Needs]]:
    """Every method of every path that the application knows, with what it needs."""
    schema = client.app.openapi()  # type: ignore[attr-defined]
    routes = [route for route in _all_routes(client) if isinstance(route, APIRoute)]
    declared = {
        (method, route.path): next(filter(None, map(needs_of, route.dependencies)))
        for route in routes
        for method in route.methods or ()
    }
    found = []
    for path, methods in schema["paths"].items():
        for method in methods:
            [needs] = {
                needs
                for (verb, short), needs in declared.items()
                if verb == method.upper() and path in (short, f"/api/v1{short}")
            }
            found.append((method.upper(), path, needs))
    return found


def test_every_route_declares_its_scope(client: TestClient) -> None:
    routes = _all_routes(client)
    assert len(routes) > 25
    for route in routes:
        if getattr(route, "path", "") in UNSCOPED:
            continue
        assert isinstance(route, GuardedRoute), route
        assert isinstance(route.needs, Needs)


def test_a_route_without_a_scope_cannot_be_made() -> None:
    router = APIRouter(route_class=GuardedRoute)
    with pytest.raises(TypeError, match="declares 0 scopes"):
        router.add_api_route("/open", lambda: None, methods=["GET"])


def test_only_the_probe_is_public(client: TestClient) -> None:
    public = [path for _, path, needs in _guarded(client) if needs.scope == PUBLIC]
    assert public == ["/api/v1/livez"]


def _refused_tokens(platform: Platform) -> dict[str, str]:
    """A token for each reason to refuse one; `wrong` is valid, and allows something else."""
    make = platform.administration.create_token
    asking = Asking()
    expired = make(asking, "expired", ["admin"], lifetime_s=10.0)
    revoked = make(asking, "revoked", ["admin"], lifetime_s=None)
    wrong = make(asking, "wrong", ["infer:iris"], lifetime_s=None)
    platform.administration.revoke_token(asking, "revoked")
    platform.clock.at += 60
    bad = revoked.token[:-1] + ("0" if revoked.token[-1] != "0" else "1")
    return {
        "none": "", "bad": bad, "nonsense": "x", "expired": expired.token,
        "revoked": revoked.token, "wrong": wrong.token,
    }  # fmt: skip


def test_every_route_refuses_every_token_that_is_of_no_use(platform: Platform) -> None:
    with platform.client() as client:
        created(client)
    before = platform.operations.get("iris")
    tokens = _refused_tokens(platform)
    woken = len(platform.woken)
    answers: dict[tuple[str, str, str], int] = {}
    with platform.client(require_tokens=True) as client:
        for method, path, needs in _guarded(client):
            if needs.scope == PUBLIC:
                continue
            url = path.format(name="iris", number=1, token="wrong")
            for kind, token in tokens.items():
                headers = {"authorization": f"Bearer {token}"} if token else {}
                # No JSON: a handler, or a parser, would say 400.
                answer = client.request(method, url, headers=headers, content=b"{")
                answers[method, path, kind] = answer.status_code
                assert set(answer.json()) == {"error", "code", "remedy", "fields", "request_id"}
    assert len(answers) > 100
    wrong = {
        call: status
        for call, status in answers.items()
        if status != (403 if call[2] == "wrong" else 401)
    }
    assert wrong == {}
    assert platform.operations.get("iris") == before
    assert len(platform.woken) == woken


def test_every_refused_change_is_in_the_audit_log_once(platform: Platform) -> None:
    with platform.client(require_tokens=True) as client:
        calls = [(m, p) for m, p, _ in _guarded(client) if m not in ("GET", "HEAD")]
        for number, (method, path) in enumerate(calls):
            url = path.format(name="iris", token="wrong")
            client.request(method, url, headers={"x-request-id": f"walk-{number}"})
    entries = platform.administration.audit_entries(1000)
    assert [entry.request_id for entry in entries] == [f"walk-{n}" for n in range(len(calls))]
    assert {entry.result for entry in entries} == {"unauthorized"}
    assert {entry.who for entry in entries} == {"nobody"}
    assert len({entry.action for entry in entries}) == len(calls)
    assert platform.administration.verify_audit().whole


def test_a_token_of_one_deployment_knows_nothing_of_another(platform: Platform) -> None:
    with platform.client() as client:
        created(client, "iris")
        created(client, "rose")
    made = platform.administration.create_token(
        Asking(), "one", ["deploy:write:iris"], lifetime_s=None
    )
    with platform.client(token=made.token, require_tokens=True) as client:
        assert [each["name"] for each in client.get("/api/v1/deployments").json()] == ["iris"]
        assert client.get("/api/v1/deployments/iris").status_code == 200
        unknown = client.get("/api/v1/deployments/none").json()
        for method, path in (("GET", ""), ("GET", "/logs"), ("DELETE", ""), ("POST", "/promote")):
            answer = client.request(method, f"/api/v1/deployments/rose{path}")
            assert answer.status_code == 404
            assert answer.json()["error"] == unknown["error"].replace("none", "rose")
        body = {"name": "tulip", "bundle": "iris:1"}
        assert client.post("/api/v1/deployments", json=body).status_code == 403
        assert client.get("/api/v1/tokens").status_code == 403


def test_who_may_only_look_changes_nothing(platform: Platform) -> None:
    with platform.client() as client:
        created(client)
    made = platform.administration.create_token(
        Asking(), "reader", ["deploy:read:iris"], lifetime_s=None
    )
    with platform.client(token=made.token) as client:
        assert client.get("/api/v1/deployments/iris").status_code == 200
        refused = client.post("/api/v1/deployments/iris/terminate")
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


def test_a_token_that_is_sent_is_checked_although_none_is_needed(platform: Platform) -> None:
    with platform.client(token="dsk_nonsense") as client:
        assert client.get("/api/v1/deployments").status_code == 401
    with platform.client() as client:
        assert client.get("/api/v1/deployments").status_code == 200


def test_what_is_needed_is_completed_by_the_path() -> None:
    parameters = {"name": "iris"}
    assert Needs(ADMIN).wanted(parameters) == "admin"
    assert Needs(DEPLOY_WRITE, narrowed_by="name").wanted(parameters) == "deploy:write:iris"
    assert Needs(DEPLOY_READ, of_some=True).wanted({}) == "deploy:read:*"
    assert Depends(Needs(ADMIN)).dependency == Needs(ADMIN)
