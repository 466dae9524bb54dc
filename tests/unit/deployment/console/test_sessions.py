"""Coming in with a token, going on with a cookie, and how both end."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.testclient import TestClient
from tests.unit.deployment.console.seeded import Seeded

from dosirak.deployment.api.guarded_route import GuardedRoute
from dosirak.deployment.asking import Asking
from dosirak.deployment.console.page_route import local_path
from dosirak.deployment.console.sessions import IDLE_S, LONGEST_S, Sessions, cookie_text

OWN = {"x-dosirak-request": "1"}


def _token(platform: Seeded, *scopes: str) -> str:
    made = platform.administration.create_token(
        Asking(), f"token-{len(scopes)}-{scopes[0]}".replace(":", "-").replace("*", "all"),
        list(scopes), lifetime_s=3600.0,
    )  # fmt: skip
    return made.token


def _log_in(browser: TestClient, token: str) -> dict[str, str]:
    """Begin a session; return the header that its pages send with a change."""
    answer = browser.post("/login", json={"token": token, "to": "/audit"}, headers=OWN)
    assert answer.status_code == 200, answer.text
    assert answer.json()["to"] == "/audit"
    return {"x-dosirak-request": answer.json()["key"]}


def test_a_stranger_is_led_to_the_login_and_back(stranger: TestClient):
    answer = stranger.get("/deployments/iris")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?to=/deployments/iris"
    assert 'value="/deployments/iris"' in stranger.get(answer.headers["location"]).text


def test_a_part_of_a_page_leads_the_whole_page_to_the_login(stranger: TestClient):
    answer = stranger.get("/fragments/deployments", headers={"hx-request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/login")


def test_a_token_opens_the_pages_and_the_api_of_its_scopes(platform: Seeded, stranger: TestClient):
    platform.deploy("iris", "iris:1", scaling={"max_replicas": 4})
    platform.deploy("other", "iris:1")
    own = _log_in(stranger, _token(platform, "deploy:write:iris"))
    assert "iris" in stranger.get("/").text
    assert "other" not in stranger.get("/").text
    assert stranger.get("/deployments/other").status_code == 404
    assert stranger.get("/tokens").status_code == 403
    scaled = stranger.post("/api/v1/deployments/iris/scale", json={"replicas": 2}, headers=own)
    assert scaled.status_code == 200, scaled.text


def test_a_reader_sees_no_buttons(platform: Seeded, stranger: TestClient):
    platform.deploy("iris", "iris:1")
    _log_in(stranger, _token(platform, "deploy:read:*"))
    shown = stranger.get("/deployments/iris").text
    assert "/api/v1/deployments/iris" not in shown
    assert "Log out" in shown


def test_a_cookie_alone_changes_nothing(platform: Seeded, stranger: TestClient):
    platform.deploy("iris", "iris:1", scaling={"max_replicas": 4})
    own = _log_in(stranger, _token(platform, "admin"))
    foreign = {**own, "origin": "http://evil.example", "sec-fetch-site": "cross-site"}
    for headers in ({}, OWN, {"x-dosirak-request": "x" * 43}, foreign):
        refused = stranger.post(
            "/api/v1/deployments/iris/scale", json={"replicas": 2}, headers=headers
        )
        assert refused.status_code == 403, headers
    assert platform.operations.get("iris").replicas.wanted == 1


@pytest.mark.parametrize("token", ["", "nonsense", "dsk_a_b_c"])
def test_a_wrong_token_begins_no_session(stranger: TestClient, token: str):
    answer = stranger.post("/login", json={"token": token}, headers=OWN)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_the_login_says_nothing_of_the_token_that_it_was_sent(stranger: TestClient):
    answer = stranger.post("/login", json={"token": ["dsk_canary"]}, headers=OWN)
    assert answer.status_code == 400
    assert "canary" not in answer.text


def test_a_revoked_token_ends_its_session_at_once(platform: Seeded, stranger: TestClient):
    token = _token(platform, "deploy:read:*")
    _log_in(stranger, token)
    assert stranger.get("/").status_code == 200
    (found,) = platform.administration.list_tokens()
    platform.administration.revoke_token(Asking(), found.id)
    assert stranger.get("/").status_code == 303


def test_whoever_lost_the_key_logs_in_again(platform: Seeded, stranger: TestClient):
    token = _token(platform, "deploy:read:*")
    first = _log_in(stranger, token)
    assert _log_in(stranger, token) != first


def test_who_logs_out_is_a_stranger_again(platform: Seeded, stranger: TestClient):
    own = _log_in(stranger, _token(platform, "deploy:read:*"))
    kept = dict(stranger.cookies)
    assert stranger.post("/logout", headers=own).json() == {"to": "/login"}
    stranger.cookies.update(kept)
    assert stranger.get("/").status_code == 303


def test_an_idle_session_ends_and_one_that_is_used_goes_on_until_its_longest():
    now = 0.0
    sessions = Sessions(clock=lambda: now)
    name, _ = sessions.begin("dsk_token")
    while now < LONGEST_S - IDLE_S:
        now += IDLE_S - 1
        assert sessions.find(name, used=True) is not None
    now = LONGEST_S
    assert sessions.find(name, used=True) is None

    name, _ = sessions.begin("dsk_token")
    now += IDLE_S - 1
    assert sessions.find(name, used=False) is not None
    now += 1
    assert sessions.find(name, used=False) is None


def test_sessions_are_bounded_in_number():
    sessions = Sessions()
    first, _ = sessions.begin("dsk_first")
    names = [sessions.begin(f"dsk_{number}")[0] for number in range(1000)]
    assert sessions.find(first, used=True) is None
    last = sessions.find(names[-1], used=True)
    assert last is not None
    assert last.token == "dsk_999"


def test_over_tls_the_cookie_is_of_this_host_alone():
    assert cookie_text("https", "abc").startswith("__Host-dosirak-console=abc; Path=/; HttpOnly;")
    assert cookie_text("https", "abc").endswith("SameSite=Strict; Max-Age=43200; Secure")
    assert "Secure" not in cookie_text("http", "abc")


@pytest.mark.parametrize(
    "asked",
    ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:1", "", "/a\n"],
)
def test_a_login_leads_nowhere_else(asked: str):
    assert local_path(asked) == "/"


def _console_routes(application: FastAPI) -> list[tuple[str, str, str]]:
    """Every method and path of the console, with the scope that it declares."""
    waiting, found = list(application.routes), list[tuple[str, str, str]]()
    while waiting:
        route = waiting.pop()
        inner = getattr(route, "original_router", None) or getattr(route, "router", None)
        if inner is not None:
            waiting.extend(inner.routes)
        elif isinstance(route, APIRoute) and route.name.startswith("console_"):
            assert isinstance(route, GuardedRoute), route.path
            found += [(method, route.path, route.needs.scope) for method in route.methods or ()]
    return found


def test_only_the_login_and_the_files_are_open_to_all(stranger: TestClient):
    routes = _console_routes(stranger.app)  # type: ignore[arg-type]
    assert len(routes) > 20
    assert {path for _, path, scope in routes if not scope} == {"/-/{name}", "/login", "/logout"}


@pytest.mark.parametrize("credential", ["none", "bad", "revoked", "wrong scope"])
def test_nobody_gets_behind_a_route_without_its_scope(
    platform: Seeded, stranger: TestClient, credential: str
):
    platform.deploy("iris", "iris:1")
    token = {"none": "", "bad": "dsk_bad"}.get(credential) or _token(platform, "infer:iris")
    if credential == "revoked":
        platform.administration.revoke_token(Asking(), platform.administration.list_tokens()[0].id)
    headers = {**OWN, "authorization": f"Bearer {token}"} if credential != "none" else OWN
    for method, path, scope in _console_routes(stranger.app):  # type: ignore[arg-type]
        if not scope:
            continue
        asked = path.replace("{name}", "iris").replace("{version}", "1").replace("{path:path}", "a")
        answer = stranger.request(method, asked, headers=headers)
        expected = {403, 404} if credential == "wrong scope" else {303, 401}
        assert answer.status_code in expected, (method, asked, answer.status_code)
        assert "iris:1" not in answer.text
