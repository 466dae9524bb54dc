"""What the API does with deployments: verbs, conditions, repeated requests, errors."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.unit.deployment.platform_on_paper import Platform, created

from dosirak.deployment.records import Replica, ReplicaPhase, RolloutPhase

AT = "/api/v1/deployments"


def test_a_deployment_is_made_shown_and_listed(platform: Platform, client: TestClient) -> None:
    made = created(client, labels={"team": "a"})
    assert made["status"]["status"] == "deploying"
    assert made["bundle"] == "iris:1"
    assert made["endpoint_urls"][:2] == [
        "http://127.0.0.1:8800/iris", "http://iris.localhost:8800"
    ]  # fmt: skip
    assert made["configuration"]["labels"] == {"team": "a"}
    assert client.get(f"{AT}/iris").json() == made
    assert client.get(AT).json() == [made]
    assert client.get(f"{AT}/iris/status").json() == made["status"]
    assert platform.woken


def test_a_name_is_given_once(client: TestClient) -> None:
    created(client)
    again = client.post(AT, json={"name": "iris", "bundle": "iris:1"})
    assert (again.status_code, again.json()["code"]) == (409, "already_exists")
    assert "dosirak deployment update iris" in again.json()["remedy"]


@pytest.mark.parametrize(
    ("body", "code", "fields"),
    [
        ({"bundle": "iris:1"}, "invalid_input", ["name"]),
        ({"name": "Iris!", "bundle": "iris:1"}, "invalid_name", []),
        ({"name": "iris", "bundle": "none"}, "bundle_not_found", []),
        (
            {"name": "iris", "bundle": "iris:1", "configuration": {"scalng": {}}},
            "invalid_input",
            ["configuration.scalng"],
        ),
        (
            {"name": "i", "bundle": "iris:1", "configuration": {"scaling": {"min_replica": 1}}},
            "invalid_input",
            ["configuration.scaling.min_replica"],
        ),
        (
            {"name": "iris", "bundle": "iris:1", "configuration": {"secrets": ["KEY"]}},
            "invalid_configuration",
            ["secrets"],
        ),
    ],
)
def test_what_is_wrong_is_named(
    client: TestClient, body: dict[str, Any], code: str, fields: list[str]
) -> None:
    answer = client.post(AT, json=body).json()
    assert answer["code"] == code
    assert [problem["field"] for problem in answer["fields"]] == fields
    assert client.get(AT).json() == []


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "x" * 70_000])
def test_a_variable_that_no_process_could_be_given_is_refused(
    client: TestClient, text: str
) -> None:
    body = {"name": "iris", "bundle": "iris:1", "configuration": {"environment": {"A": text}}}
    answer = client.post(AT, content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert [problem["field"] for problem in answer.json()["fields"]] == [
        "configuration.environment.A"
    ]


@pytest.mark.parametrize("path", [f"revisions/{10**30}", f"events?after={10**30}"])
def test_a_number_beyond_all_is_refused(client: TestClient, path: str) -> None:
    client.post(AT, json={"name": "iris", "bundle": "iris:1"})
    assert client.get(f"{AT}/iris/{path}").status_code == 400


def test_a_slip_of_the_fingers_is_told_what_was_near(client: TestClient) -> None:
    configuration = {"scaling": {"min_replica": 1}}
    body = {"name": "iris", "bundle": "iris:1", "configuration": configuration}
    [problem] = client.post(AT, json=body).json()["fields"]
    assert "did you mean 'min_replicas'?" in problem["reason"]


def test_an_update_changes_what_it_names(client: TestClient) -> None:
    created(client, environment={"A": "1", "B": "2"}, scaling={"max_replicas": 4})
    patch = {"bundle": "iris:2", "configuration": {"environment": {"B": None, "C": "3"}}}
    after = client.patch(f"{AT}/iris", json=patch).json()
    assert after["rollout"]["to_revision"] == 2
    assert after["latest_revision"] == 2
    found = client.get(f"{AT}/iris/revisions").json()
    assert [each["bundle"] for each in found] == ["iris:2", "iris:1"]
    assert found[0]["configuration"]["environment"] == {"A": "1", "C": "3"}
    assert found[0]["configuration"]["scaling"]["max_replicas"] == 4
    assert client.get(f"{AT}/iris/revisions/1").json() == found[1]


def test_what_does_not_concern_replicas_makes_no_revision(client: TestClient) -> None:
    created(client)
    after = client.patch(f"{AT}/iris", json={"configuration": {"timeout_s": 5}}).json()
    assert (after["latest_revision"], after["configuration"]["timeout_s"]) == (1, 5.0)


def test_a_change_of_what_was_seen_long_ago_is_refused(client: TestClient) -> None:
    seen = client.post(AT, json={"name": "iris", "bundle": "iris:1"})
    tag = seen.headers["etag"]
    patch = {"configuration": {"timeout_s": 5}}
    fresh = client.patch(f"{AT}/iris", json=patch, headers={"if-match": tag})
    assert (fresh.status_code, fresh.headers["etag"]) == (200, '"2"')
    stale = client.patch(f"{AT}/iris", json=patch, headers={"if-match": tag})
    assert (stale.status_code, stale.json()["code"]) == (409, "deployment_conflict")
    said = client.post(f"{AT}/iris/scale", json={"replicas": 1, "generation": 1})
    assert said.status_code == 409
    odd = client.patch(f"{AT}/iris", json={**patch, "generation": 1}, headers={"if-match": '"2"'})
    assert odd.status_code == 400


def test_apply_makes_and_replaces(client: TestClient) -> None:
    body = {"bundle": "iris:1", "configuration": {"environment": {"A": "1"}, "timeout_s": 5}}
    made = client.put(f"{AT}/iris", json=body).json()
    assert made["generation"] == 1
    assert client.put(f"{AT}/iris", json=body).json()["latest_revision"] == 1
    replaced = client.put(f"{AT}/iris", json={"bundle": "iris:1"}).json()
    assert replaced["configuration"]["environment"] == {}
    assert replaced["configuration"]["timeout_s"] == 60.0
    gone = client.put(f"{AT}/rose", json={"bundle": "iris:1"}, headers={"if-match": '"1"'})
    assert gone.json()["code"] == "deployment_not_found"


def test_bounds_and_number_change_in_one_step(client: TestClient) -> None:
    created(client)
    assert client.post(f"{AT}/iris/scale", json={"replicas": 3}).status_code == 400
    after = client.post(f"{AT}/iris/scale", json={"replicas": 3, "max_replicas": 5}).json()
    assert after["replicas"]["wanted"] == 3
    assert client.post(f"{AT}/iris/scale", json={}).json()["code"] == "invalid_configuration"


@pytest.mark.parametrize("verb", ["pause", "abort", "promote", "restart", "terminate"])
def test_verbs_need_nothing_more(client: TestClient, verb: str) -> None:
    created(client)
    assert client.post(f"{AT}/iris/{verb}").status_code == 200
    kinds = [event["kind"] for event in client.get(f"{AT}/iris/events").json()]
    assert len(kinds) == 2


def test_what_the_state_forbids_is_a_conflict(client: TestClient) -> None:
    created(client)
    for verb, body in (("rollback", {}), ("weight", {"weight_percent": 5}), ("resume", {})):
        answer = client.post(f"{AT}/iris/{verb}", json=body)
        assert (verb, answer.json()["code"]) == (verb, "deployment_conflict")
    assert client.post(f"{AT}/iris/rollback", json={"to": 7}).json()["code"] == (
        "revision_not_found"
    )


def test_the_same_key_and_request_get_the_same_answer(client: TestClient) -> None:
    headers = {"idempotency-key": "k1"}
    body = {"name": "iris", "bundle": "iris:1"}
    first = client.post(AT, json=body, headers=headers)
    client.patch(f"{AT}/iris", json={"configuration": {"timeout_s": 5}})
    again = client.post(AT, json=body, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    other = client.post(AT, json={**body, "name": "rose"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    assert [each["name"] for each in client.get(AT).json()] == ["iris"]


def test_two_deployments_do_not_share_an_address(client: TestClient) -> None:
    created(client, port=9000, hosts=["iris.example"])
    body = {"bundle": "iris:1", "configuration": {"port": 9000, "hosts": ["iris.example"]}}
    answer = client.put(f"{AT}/rose", json=body).json()
    assert [problem["field"] for problem in answer["fields"]] == ["port", "hosts"]


def test_what_is_being_deleted_takes_nothing_more(client: TestClient) -> None:
    created(client)
    assert client.delete(f"{AT}/iris").json()["status"]["status"] == "terminating"
    again = client.post(AT, json={"name": "iris", "bundle": "iris:1"})
    assert again.json()["code"] == "deployment_conflict"
    assert client.post(f"{AT}/iris/promote").json()["code"] == "deployment_conflict"


def test_logs_are_those_of_the_newest_replica_unless_one_is_named(
    platform: Platform, client: TestClient
) -> None:
    created(client)
    assert client.get(f"{AT}/iris/logs").text == ""
    with platform.state.transaction() as transaction:
        for number, name in enumerate(("old", "new")):
            replica = Replica(name, "iris", 1, ReplicaPhase.READY, number, number, number)
            transaction.put_replica(replica)
    platform.logs.lines = {"old": ["a", "b"], "new": ["c\n", "d\n"]}
    assert client.get(f"{AT}/iris/logs").text == "c\nd\n"
    assert client.get(f"{AT}/iris/logs", params={"lines": 1}).text == "d\n"
    assert client.get(f"{AT}/iris/logs", params={"replica": "old"}).text == "a\nb\n"
    assert client.get(f"{AT}/iris/logs", params={"replica": "none"}).status_code == 404
    assert client.get(f"{AT}/none/logs").json()["code"] == "deployment_not_found"


def test_logs_are_of_one_that_serves_before_one_that_ended(
    platform: Platform, client: TestClient
) -> None:
    created(client)
    with platform.state.transaction() as transaction:
        deployment = transaction.deployment("iris")
        assert deployment.rollout is not None
        done = replace(deployment.rollout, phase=RolloutPhase.COMPLETED)
        transaction.put_deployment(replace(deployment, active_revision=1, rollout=done))
        transaction.put_replica(Replica("serves", "iris", 1, ReplicaPhase.READY, 1, 1, 1))
        transaction.put_replica(Replica("ended", "iris", 1, ReplicaPhase.FAILED, 2, 2))
    platform.logs.lines = {"serves": ["well"], "ended": ["crashed"], "comes": ["hello"]}
    assert client.get(f"{AT}/iris/logs").text == "well\n"
    client.patch(f"{AT}/iris", json={"bundle": "iris:2"})
    with platform.state.transaction() as transaction:
        transaction.put_replica(Replica("comes", "iris", 2, ReplicaPhase.READY, 3, 3, 3))
    assert client.get(f"{AT}/iris/logs").text == "well\n"  # the other one has no traffic yet
    with platform.state.transaction() as transaction:
        for name, revision in (("serves", 1), ("comes", 2)):
            transaction.put_replica(Replica(name, "iris", revision, ReplicaPhase.FAILED, 4, 4))
        transaction.put_replica(Replica("starts", "iris", 2, ReplicaPhase.STARTING, 0, 0))
    platform.logs.lines["starts"] = ["begun"]
    assert client.get(f"{AT}/iris/logs").text == "begun\n"
    wrong = client.get(f"{AT}/iris/logs", params={"replica": "none"}).json()
    assert "dosirak deployment get iris" in wrong["remedy"]


def test_events_are_read_on_from_a_number(client: TestClient) -> None:
    created(client)
    client.post(f"{AT}/iris/pause")
    client.post(f"{AT}/iris/resume")
    first, *rest = client.get(f"{AT}/iris/events").json()
    assert first["kind"] == "created"
    onward = client.get(f"{AT}/iris/events", params={"after": first["id"]}).json()
    assert onward == rest
    newest = client.get(f"{AT}/iris/events", params={"newest": True, "limit": 1}).json()
    assert newest == rest[-1:]


def test_every_change_is_in_the_audit_log_once(platform: Platform, client: TestClient) -> None:
    created(client)
    client.patch(f"{AT}/iris", json={"configuration": {"timeout_s": 5}})
    client.patch(f"{AT}/iris", json={"configuration": {"timeout": 5}})
    client.patch(f"{AT}/iris", content=b"{", headers={"content-type": "application/json"})
    client.post(f"{AT}/iris/rollback")
    client.post(f"{AT}/none/promote")
    client.put("/api/v1/secrets/KEY", json={"value": "hunter2"})
    client.post("/api/v1/tokens", json={"name": "t", "scopes": ["admin"]})
    client.get(f"{AT}/iris")
    entries = client.get("/api/v1/audit").json()
    assert [(each["action"], each["object"], each["result"]) for each in entries] == [
        ("deployment.create", "deployment/iris", "done"),
        ("deployment.update", "deployment/iris", "done"),
        ("deployment.update", "deployment/iris", "invalid_configuration"),
        ("deployment.update", "deployment/iris", "invalid_input"),
        ("deployment.rollback", "deployment/iris", "deployment_conflict"),
        ("deployment.promote", "deployment/none", "deployment_not_found"),
        ("secret.set", "secret/KEY", "done"),
        ("token.create", "token/t", "done"),
    ]
    assert entries[0]["object_digest"] == platform.operations.get("iris").bundle_id
    assert client.get("/api/v1/audit/verify").json()["whole"]
    assert b"hunter2" not in platform.paths.audit_log.read_bytes()


def test_an_unknown_path_is_told_in_the_same_shape(client: TestClient) -> None:
    for method, path, code in (
        ("GET", "/api/v1/nothing", "not_found"),
        ("PUT", "/api/v1/platform", "method_not_allowed"),
    ):
        answer = client.request(method, path).json()
        assert (answer["code"], set(answer)) == (
            code, {"error", "code", "remedy", "fields", "request_id"}
        )  # fmt: skip
