"""By which addresses a deployment is reached, and what is said where there is none."""

from __future__ import annotations

import json
import socket

import pytest
from routed import Replica, Routed, free_port, revision, until

from dosirak.deployment.routing import RoutedDeployment


@pytest.fixture(scope="module")
def iris(routed: Routed, a: Replica, b: Replica) -> RoutedDeployment:
    """Revision 1 has everything, revision 2 is reached by its pin, revision 3 has no replica."""
    deployment = RoutedDeployment(
        "iris.v2",
        (revision(1, 100, a), revision(2, 0, b), revision(3, 0)),
        hosts=("iris.example",),
        port=free_port(),
        canary_header=("x-try", "always"),
        canary_revision=2,
    )
    other = RoutedDeployment("iris", (revision(7, 100, b),))
    routed.put(
        deployment,
        other,
        RoutedDeployment("empty", (), unavailable_reason="It's 100% off."),
        RoutedDeployment(
            "resting", (), unavailable_reason="It rests.", unavailable_remedy='Wake it: "100%".'
        ),
    )
    return deployment


@pytest.mark.parametrize(
    ("path", "target", "prefix"),
    [
        ("/iris.v2/predict?x=1", "/predict?x=1", "/iris.v2"),
        ("/iris.v2", "/", "/iris.v2"),
        ("/iris.v2?x=1", "/?x=1", "/iris.v2"),
        ("/iris.v2/", "/", "/iris.v2"),
        ("/iris.v2@1/a/b", "/a/b", "/iris.v2@1"),
        ("/iris.v2@1", "/", "/iris.v2@1"),
    ],
)
def test_a_path_leads_to_the_deployment_without_its_prefix(
    routed: Routed, iris: RoutedDeployment, path: str, target: str, prefix: str
) -> None:
    answer = routed.ask(path)
    assert answer.status == 200
    assert answer.json["who"] == "a"
    assert answer.json["target"] == target
    assert answer.json["headers"]["x-forwarded-prefix"] == prefix
    assert answer.headers["x-dosirak-deployment"] == "iris.v2"
    assert answer.headers["x-dosirak-revision"] == "1"


def test_a_name_that_begins_another_is_its_own(routed: Routed, iris: RoutedDeployment) -> None:
    assert routed.ask("/iris/x").json["who"] == "b"
    assert routed.ask("/iris/x").headers["x-dosirak-revision"] == "7"


@pytest.mark.parametrize("host", ["iris.v2.localhost", "iris.example", "IRIS.example:8800"])
def test_a_host_name_leads_to_the_deployment(
    routed: Routed, iris: RoutedDeployment, host: str
) -> None:
    answer = routed.ask("/iris/predict", {"Host": host, "X-Forwarded-Prefix": "/forged"})
    assert answer.json["target"] == "/iris/predict"
    assert answer.json["headers"]["host"] == host
    assert "x-forwarded-prefix" not in answer.json["headers"]


def test_a_port_of_its_own_leads_to_the_deployment_alone(
    routed: Routed, iris: RoutedDeployment
) -> None:
    answer = routed.ask("/iris/predict", port=iris.port)
    assert answer.json["target"] == "/iris/predict"
    assert answer.headers["x-dosirak-deployment"] == "iris.v2"
    assert "x-dosirak-port" not in answer.json["headers"]


def test_nobody_can_say_by_which_port_they_came(routed: Routed, iris: RoutedDeployment) -> None:
    answer = routed.ask("/iris/x", {"X-Dosirak-Port": str(iris.port)})
    assert answer.headers["x-dosirak-deployment"] == "iris"


@pytest.mark.parametrize("path", ["/iris.v2@2/x", "/iris.v2@2"])
def test_a_revision_is_pinned_by_its_address(
    routed: Routed, iris: RoutedDeployment, path: str
) -> None:
    answer = routed.ask(path)
    assert answer.json["who"] == "b"
    assert answer.headers["x-dosirak-revision"] == "2"


@pytest.mark.parametrize("headers", [{}, {"Host": "iris.example"}])
def test_a_revision_is_pinned_by_a_header(
    routed: Routed, iris: RoutedDeployment, headers: dict[str, str]
) -> None:
    path = "/x" if headers else "/iris.v2/x"
    assert routed.ask(path, {**headers, "X-Dosirak-Revision": "2"}).json["who"] == "b"


def test_the_canary_header_leads_to_the_canary(routed: Routed, iris: RoutedDeployment) -> None:
    assert routed.ask("/iris.v2/x", {"X-Try": "always"}).json["who"] == "b"
    assert routed.ask("/iris.v2/x", {"X-Try": "never"}).json["who"] == "a"


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/nobody/x", {}, 404, "deployment_not_found"),
        ("/", {}, 404, "deployment_not_found"),
        ("/iris.v22/x", {}, 404, "deployment_not_found"),
        ("/x", {"Host": "nobody.localhost"}, 404, "deployment_not_found"),
        ("/iris.v2@9/x", {}, 404, "revision_not_found"),
        ("/iris.v2@22/x", {}, 404, "revision_not_found"),
        ("/iris.v2@/x", {}, 404, "revision_not_found"),
        ("/iris.v2/x", {"X-Dosirak-Revision": "9"}, 404, "revision_not_found"),
        ("/iris.v2", {"X-Dosirak-Revision": "nine"}, 404, "revision_not_found"),
        ("/iris.v2@3/x", {}, 503, "unavailable"),
        ("/iris.v2/x", {"X-Dosirak-Revision": "3"}, 503, "unavailable"),
        ("/empty/x", {}, 503, "unavailable"),
        ("/iris.v2/x", {"Host": "a-page-elsewhere.example"}, 421, "misdirected_request"),
        ("/iris.v2%2fx", {}, 400, "bad_request"),
    ],
)
def test_what_leads_nowhere_is_told_in_the_projects_words(
    routed: Routed,
    iris: RoutedDeployment,
    path: str,
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    answer = routed.ask(path, {"X-Request-Id": "mine-1", **headers})
    assert (answer.status, answer.json["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json) == {"error", "code", "remedy", "fields", "request_id"}
    if code != "bad_request":
        assert answer.json["request_id"] == "mine-1"
    assert ("retry-after" in answer.headers) == (status == 503)


def test_where_no_replica_comes_by_itself_nobody_is_told_to_try_again(
    routed: Routed, iris: RoutedDeployment
) -> None:
    answer = routed.ask("/resting/x")
    assert (answer.status, answer.json["code"]) == (503, "unavailable")
    assert answer.json["error"] == "It rests."
    assert answer.json["remedy"] == 'Wake it: "100%".'
    assert "retry-after" not in answer.headers


def test_why_there_is_no_replica_is_said_as_it_is(routed: Routed, iris: RoutedDeployment) -> None:
    assert routed.ask("/empty/x").json["error"] == "It's 100% off."
    assert routed.ask("/iris.v2@3").json["error"] == "Revision 3 has no replica now."


@pytest.mark.parametrize(
    "path",
    [
        "/iris/../iris.v2/x",
        "/iris/%2e%2e/iris.v2/x",
        "/iris/.%2E/iris.v2/x",
        "/iris/a/b/../../../iris.v2/x",
        "//iris.v2/x",
        "/./iris.v2/x",
        "/iris/..;/iris.v2/x",
    ],
)
def test_the_path_that_is_routed_is_the_one_the_replica_sees(
    routed: Routed, iris: RoutedDeployment, path: str
) -> None:
    answer = routed.ask(path)
    assert answer.headers["x-dosirak-deployment"] == "iris.v2"
    assert answer.json["target"] == "/x"


@pytest.mark.parametrize(
    "path",
    [
        "/iris/..%2firis.v2/x",
        "/iris/%2e%2e%2firis.v2/x",
        "/iris/..%5ciris.v2/x",
        "/iris%2f..%2firis.v2/x",
        "/iris/%00",
    ],
)
def test_a_path_that_could_be_read_in_two_ways_is_refused(
    routed: Routed, iris: RoutedDeployment, path: str
) -> None:
    assert routed.ask(path).status == 400


@pytest.mark.parametrize("path", ["/iris/%252e%252e/iris.v2/x", "/iris/x?y=/../iris.v2/"])
def test_no_path_leads_from_one_deployment_to_another(
    routed: Routed, iris: RoutedDeployment, path: str
) -> None:
    assert routed.ask(path).headers["x-dosirak-deployment"] == "iris"


def test_a_backslash_is_a_slash(routed: Routed, iris: RoutedDeployment) -> None:
    assert routed.ask("/iris/..\\iris.v2/x").headers["x-dosirak-deployment"] == "iris.v2"


def test_the_callers_request_id_is_handed_on_and_back(
    routed: Routed, iris: RoutedDeployment
) -> None:
    own = "0af76519-16cd-43dd-8448-eb211c80319c"
    answer = routed.ask("/iris/x", {"X-Request-Id": own})
    assert answer.headers["x-request-id"] == answer.json["headers"]["x-request-id"] == own
    made = routed.ask("/iris/x")
    assert made.headers["x-request-id"] == made.json["headers"]["x-request-id"] != own


def test_callers_cannot_steer_the_router(routed: Routed, iris: RoutedDeployment) -> None:
    steering = {
        "X-Envoy-Retry-On": "5xx",
        "X-Envoy-Max-Retries": "9",
        "X-Envoy-Upstream-Rq-Timeout-Ms": "1",
        "X-Envoy-Original-Path": "/forged",
    }
    answer = routed.ask("/iris/slow?ms=50", steering)
    assert answer.status == 200
    assert not [name for name in answer.json["headers"] if name.startswith("x-envoy")]
    assert not [name for name in answer.headers if name.startswith("x-envoy")]


def test_each_request_is_a_line_of_the_access_log(routed: Routed, iris: RoutedDeployment) -> None:
    assert routed.ask("/iris.v2@2/x?secret=1", {"X-Request-Id": "logged-1"}).status == 200
    assert routed.ask("/nobody", {"X-Request-Id": "logged-2"}).status == 404
    routed.router._admin.tell("/reopen_logs")  # Written now.
    until(lambda: {"logged-1", "logged-2"} <= {line.get("request_id") for line in routed.log})
    lines = {line.get("request_id"): line for line in routed.log}
    served = lines["logged-1"]
    named = {name: served[name] for name in ("deployment", "revision", "replica", "path", "status")}
    assert named == {
        "deployment": "iris.v2", "revision": "2", "replica": "b", "path": "/x", "status": 200,
    }  # fmt: skip
    assert isinstance(served["upstream_ms"], int)
    assert served["response_bytes"] > 0
    assert "secret" not in json.dumps(served)
    assert lines["logged-2"]["status"] == 404


def test_a_contested_port_or_host_is_the_first_ones(
    routed: Routed, iris: RoutedDeployment, b: Replica
) -> None:
    with socket.socket() as foreign:
        taken = free_port()
        foreign.bind(("127.0.0.1", taken))
        foreign.listen()
        late = RoutedDeployment("late", (revision(1, 100, b),), ("iris.example",), port=taken)
        routed.put(late)
        assert routed.ask("/x", {"Host": "iris.example"}).json["who"] == "a"
        assert routed.ask("/late/x").status == 200
        host, port = routed.router.troubles
        assert "'iris.example'" in host
        assert f"The port {taken} of the deployment 'late' belongs to process" in port
    routed.router.ensure_running()  # The port is free now.
    assert routed.ask("/x", port=taken).headers["x-dosirak-deployment"] == "late"
    assert len(routed.router.troubles) == 1


def test_heads_have_a_limit(routed: Routed, iris: RoutedDeployment) -> None:
    answer = routed.ask("/iris/x", {"X-Long": "x" * 70_000})
    assert (answer.status, answer.json["code"]) == (431, "head_too_large")
