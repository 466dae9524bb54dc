"""What the guard lets through: host names, pages, sizes; and what every answer carries."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

AT = "/api/v1/deployments"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("127.0.0.1:8801", 200), ("[::1]:8801", 200), ("LOCALHOST.:1", 200),
        ("evil.example", 421), ("127.0.0.1.evil.example", 421), ("x/api/v1/livez?", 421),
        ("@127.0.0.1", 421), ("", 421),
    ],
)  # fmt: skip
def test_a_name_that_is_not_its_own_is_not_answered_for(
    shared_client: TestClient, host: str, status: int
) -> None:
    answer = shared_client.get("/api/v1/livez", headers={"host": host})
    assert answer.status_code == status
    if status == 421:
        assert answer.json()["code"] == "misdirected_request"


OWN = {"x-dosirak-request": "1"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 404),
        ({"origin": "http://127.0.0.1:8801", **OWN}, 404),
        ({"sec-fetch-site": "same-origin", **OWN}, 404),
        ({"origin": "http://127.0.0.1:8801"}, 403),
        ({"sec-fetch-site": "same-origin"}, 403),
        ({"origin": "null", **OWN}, 403),
        ({"origin": "http://127.0.0.1:9999", **OWN}, 403),
        ({"origin": "https://evil.example", **OWN}, 403),
        ({"sec-fetch-site": "cross-site", **OWN}, 403),
        ({"sec-fetch-site": "same-site", **OWN}, 403),
        ({"sec-fetch-site": "none", **OWN}, 403),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_only_its_own_pages_may_change_anything(
    shared_client: TestClient, method: str, headers: dict[str, str], status: int
) -> None:
    path = f"{AT}/none/promote" if method == "POST" else f"{AT}/none"
    body = {"POST": {}, "PUT": {"bundle": "none"}, "PATCH": {}}.get(method)
    answer = shared_client.request(method, path, headers=headers, json=body)
    assert answer.status_code == status


def test_a_body_is_not_read_beyond_the_limit(shared_client: TestClient) -> None:
    large = b'{"name": "' + b"x" * (1 << 20) + b'"}'
    said = shared_client.post(AT, content=large, headers={"content-type": "application/json"})
    assert (said.status_code, said.json()["code"]) == (413, "payload_too_large")

    def pieces() -> object:
        for start in range(0, len(large), 65536):
            yield large[start : start + 65536]

    unsaid = shared_client.post(AT, content=pieces(), headers={"content-type": "application/json"})
    assert (unsaid.status_code, unsaid.json()["code"]) == (413, "payload_too_large")


def test_every_answer_protects_whoever_shows_it(shared_client: TestClient) -> None:
    for path, status in (("/api/v1/livez", 200), ("/nothing", 404), (f"{AT}/none", 404)):
        answer = shared_client.get(path, headers={"x-request-id": "abc"})
        assert answer.status_code == status
        assert answer.headers["x-request-id"] == "abc"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "//api/v1/tokens", "/api/v1//tokens", "/api/v1/livez/../tokens", "/API/V1/TOKENS",
        "/api/v1/%2e%2e/v1/tokens", "/api/v1/tokens;x", "/api/v1/livez%2f..%2ftokens",
    ],
)  # fmt: skip
def test_no_spelling_of_a_path_leads_around_the_scope(shared_client: TestClient, path: str) -> None:
    answer = shared_client.get(path, headers={"authorization": "Bearer dsk_nonsense"})
    assert answer.status_code in (401, 404)


def test_nothing_from_third_parties_is_served(shared_client: TestClient) -> None:
    assert shared_client.get("/docs").status_code == 404
    assert shared_client.get("/redoc").status_code == 404
    assert shared_client.get("/api/v1/openapi.json").json()["info"]["title"] == "dosirak platform"
