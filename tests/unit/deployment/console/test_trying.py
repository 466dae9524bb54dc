"""Test requests of a page reach this deployment's apis, and what comes back does nothing here."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from starlette.testclient import TestClient
from tests.unit.deployment.console.conftest import client_of
from tests.unit.deployment.console.seeded import Seeded

from dosirak.deployment.console.trying import try_url
from dosirak.errors import ApiNotFound

OWN = {"x-dosirak-request": "1"}


class Echo(http.server.BaseHTTPRequestHandler):
    """Tells what it was sent, as a page of its own would like to be shown."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        told = {
            "path": self.path,
            "body": body.decode(),
            "headers": {name.lower(): value for name, value in self.headers.items()},
        }
        sent = json.dumps(told).encode()
        self.send_response(418 if "teapot" in self.path else 200)
        self.send_header("content-type", "text/html")
        self.send_header("set-cookie", "stolen=1")
        self.send_header("access-control-allow-origin", "*")
        self.send_header("x-dosirak-revision", "7")
        self.send_header("content-length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    do_GET = do_POST

    def log_message(self, *args: object) -> None: ...  # pyright: ignore


@pytest.fixture(scope="module")
def router_url() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(30)


@pytest.fixture(scope="module")
def routed(_seeded: Seeded, router_url: str) -> TestClient:
    operations = replace(_seeded.operations, router_url=router_url)
    return client_of(replace(_seeded, operations=operations))


@pytest.fixture
def page(platform: Seeded, routed: TestClient) -> TestClient:
    platform.deploy("iris", "iris:1")
    return routed


def test_a_request_reaches_the_api_with_what_the_page_said(page: TestClient):
    headers = {
        **OWN,
        "x-dosirak-revision": "2",
        "x-dosirak-try-token": "dsk_caller",
        "cookie": "dosirak-console=secret",
    }
    answer = page.post("/try/iris/predict?a=1", json={"value": 3}, headers=headers)
    told = answer.json()
    assert told["path"] == "/iris/predict?a=1"
    assert json.loads(told["body"]) == {"value": 3}
    assert told["headers"]["authorization"] == "Bearer dsk_caller"
    assert told["headers"]["x-dosirak-revision"] == "2"
    assert "cookie" not in told["headers"]
    assert "x-dosirak-try-token" not in told["headers"]


def test_what_comes_back_cannot_act_as_a_page_of_ours(page: TestClient):
    answer = page.get("/try/iris/teapot", headers=OWN)
    assert answer.status_code == 418
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-dosirak-revision"] == "7"
    assert "set-cookie" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_link_or_a_script_tag_gets_nothing(page: TestClient, method: str):
    assert page.request(method, "/try/iris/predict").status_code == 403


@pytest.mark.parametrize("path", ["../other/predict", "a/../../other", ".", "..\\other"])
def test_no_path_leads_to_another_deployment(path: str):
    with pytest.raises(ApiNotFound):
        try_url("http://127.0.0.1:1", "iris", path, "")


def test_what_a_path_holds_is_quoted():
    url = try_url("http://127.0.0.1:1/", "iris", "predict?x#y z", "")
    assert url == "http://127.0.0.1:1/iris/predict%3Fx%23y%20z"


def test_a_router_that_does_not_answer_is_said(platform: Seeded, browser: TestClient):
    platform.deploy("iris", "iris:1")
    answer = browser.post("/try/iris/predict", json={}, headers=OWN)
    assert answer.status_code == 503
    assert answer.json()["error"] == "The router does not answer."


def test_a_stranger_tries_nothing(platform: Seeded, stranger: TestClient):
    platform.deploy("iris", "iris:1")
    answer = stranger.post("/try/iris/predict", headers=OWN)
    assert answer.status_code == 401
