"""Tokens, secrets, the audit log and the platform's own word, over the API."""

from __future__ import annotations

from starlette.testclient import TestClient
from tests.unit.deployment.platform_on_paper import Platform, created


def test_a_token_is_shown_once(platform: Platform, client: TestClient) -> None:
    body = {"name": "ci", "scopes": ["deploy:write:iris"], "expires_in_s": 3600}
    answer = client.post("/api/v1/tokens", json=body)
    made = answer.json()
    assert answer.status_code == 201
    assert made["token"].startswith("dsk_")
    [listed] = client.get("/api/v1/tokens").json()
    assert "token" not in listed
    assert {key: made[key] for key in listed} == listed
    with platform.client(token=made["token"]) as other:
        assert other.get("/api/v1/deployments").status_code == 200
    assert client.delete("/api/v1/tokens/ci").json()["revoked_at"]
    with platform.client(token=made["token"]) as other:
        assert other.get("/api/v1/deployments").status_code == 401


def test_a_token_is_asked_for_twice_and_made_once(client: TestClient) -> None:
    body, headers = {"name": "ci", "scopes": ["admin"]}, {"idempotency-key": "k"}
    assert client.post("/api/v1/tokens", json=body, headers=headers).status_code == 201
    again = client.post("/api/v1/tokens", json=body, headers=headers)
    assert again.json()["code"] == "already_exists"


def test_a_scope_that_is_none_is_refused(client: TestClient) -> None:
    answer = client.post("/api/v1/tokens", json={"name": "ci", "scopes": ["deploy"]})
    assert answer.json()["code"] == "invalid_configuration"


def test_a_secret_is_never_shown(client: TestClient) -> None:
    set_ = client.put("/api/v1/secrets/KEY", json={"value": "hunter2"})
    assert (set_.status_code, set(set_.json())) == (200, {"name", "created_at", "updated_at"})
    assert client.get("/api/v1/secrets").json() == [set_.json()]
    wrong = client.put("/api/v1/secrets/KEY", json={"value": ["hunter2"]})
    assert (wrong.status_code, "hunter2" in wrong.text) == (400, False)
    assert client.delete("/api/v1/secrets/KEY").status_code == 200
    assert client.delete("/api/v1/secrets/KEY").json()["code"] == "not_found"


def test_a_secret_that_is_needed_stays(client: TestClient) -> None:
    client.put("/api/v1/secrets/KEY", json={"value": "x"})
    created(client, secrets=["KEY"])
    refused = client.delete("/api/v1/secrets/KEY")
    assert (refused.status_code, "iris" in refused.json()["error"]) == (409, True)
    client.patch("/api/v1/deployments/iris", json={"configuration": {"secrets": []}})
    assert client.delete("/api/v1/secrets/KEY").status_code == 200


def test_revoking_a_token_reaches_the_replicas(platform: Platform, client: TestClient) -> None:
    created(client, access="token")
    client.post("/api/v1/tokens", json={"name": "caller", "scopes": ["infer:iris"]})
    file = platform.paths.access / "iris.json"
    assert b"sha256" in file.read_bytes()
    client.delete("/api/v1/tokens/caller")
    assert b"sha256" not in file.read_bytes()


def test_a_changed_audit_log_is_told(platform: Platform, client: TestClient) -> None:
    created(client)
    client.post("/api/v1/deployments/iris/pause")
    log = platform.paths.audit_log
    log.write_bytes(log.read_bytes().replace(b"deployment.create", b"deployment.delete"))
    verdict = client.get("/api/v1/audit/verify").json()
    assert not verdict["whole"]
    assert verdict["problems"]


def test_the_last_entries_are_read_from_a_long_log(platform: Platform, client: TestClient) -> None:
    created(client)
    for number in range(30):
        client.delete(f"/api/v1/deployments/none-{number}")
    last = client.get("/api/v1/audit", params={"limit": 3}).json()
    assert [entry["number"] for entry in last] == [29, 30, 31]
    assert len(client.get("/api/v1/audit", params={"limit": 1000}).json()) == 31


def test_the_platform_says_how_many_are_how(client: TestClient) -> None:
    created(client, "iris")
    created(client, "rose")
    client.post("/api/v1/deployments/rose/terminate")
    found = client.get("/api/v1/platform").json()
    assert found["deployments"] == {"deploying": 1, "terminated": 1}
    assert found["router_url"] == "http://127.0.0.1:8800"
