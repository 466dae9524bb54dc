"""Mounted applications of a sealed bundle: credentials, limits and HTTP/2 hold as for apis."""

from __future__ import annotations

import shutil
import socket
import threading
from pathlib import Path

import httpx
import httpx2
import psutil
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from dosirak import bundles
from dosirak.store import Store

SOURCE = Path(__file__).parent / "mounted.py"
TOKEN = "of-the-callers"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
MOST_BYTES = 200_000


@pytest.fixture(scope="module")
def sealed(launch_shared, tmp_path_factory):
    project = tmp_path_factory.mktemp("project")
    shutil.copy(SOURCE, project / "service.py")
    home = tmp_path_factory.mktemp("home")
    bundles.build(project, target="service.py", store=Store(home / "store"))
    return launch_shared(
        "mounted:latest",
        home=home,
        environment={"DOSIRAK_TOKEN": TOKEN, "DOSIRAK_ADMIN_TOKEN": "of-the-house"},
        token=TOKEN,
        http2=True,
        max_body_bytes=MOST_BYTES,
        body_grace_s=1.0,
        timeout_s=2.0,
    )


@pytest.mark.parametrize("path", ["/ui/about/it", "/plain/x", "/own/x", "/ui/../ui/about/it"])
def test_a_mount_needs_the_token(sealed, path):
    assert sealed.client.get(path).status_code == 401
    assert sealed.client.get(path, headers=BEARER).status_code == 200


def test_so_does_its_websocket(sealed):
    address = sealed.url.replace("http://", "ws://") + "/ui/echo"
    with pytest.raises(InvalidStatus) as caught:
        connect(address)
    assert caught.value.response.status_code == 401
    with connect(address, additional_headers=BEARER) as ws:
        ws.send("a")
        assert ws.recv(timeout=20) == "a"


@pytest.mark.parametrize("path", ["/ui/size", "/plain/size"])
def test_a_body_over_the_limit_is_refused(sealed, path):
    most = b"x" * MOST_BYTES
    assert sealed.client.post(path, content=most, headers=BEARER).status_code == 200
    over = iter([most, b"y"])  # Without a length: found out on the way.
    for content in (most + b"y", over):
        answer = sealed.client.post(path, content=content, headers=BEARER)
        assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


def test_a_slow_body_is_given_up(sealed):
    with socket.create_connection(("127.0.0.1", sealed.port), timeout=20) as client:
        client.sendall(
            b"POST /ui/size HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
            b"Authorization: Bearer " + TOKEN.encode() + b"\r\n\r\nx"
        )
        assert client.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_an_answer_that_does_not_begin_in_time_is_given_up(sealed, tmp_path):
    marker = str(tmp_path / "marker")
    answer = sealed.client.get("/ui/hang", params={"marker": marker}, headers=BEARER)
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert sealed.client.get("/ui/about/it", headers=BEARER).status_code == 200


def test_over_http2_requests_are_answered_and_limited_alike(sealed):
    options = {"base_url": sealed.url, "headers": BEARER, "timeout": 30}
    with httpx.Client(http1=False, http2=True, **options) as client:
        assert client.get("/ui/about/it").json()["path"] == "/ui/about/it"
        assert client.post("/plain/a", content=b"123").text == "/plain /a 3"
        assert len(client.get("/ui/stream", params={"count": 5}).content) == 500_000
        assert client.post("/ui/size", content=b"x" * (MOST_BYTES + 1)).status_code == 413
        assert client.get("/wrong/header").status_code == 500
        assert client.get("/ui/about/it", headers={"Authorization": ""}).status_code == 401


def test_the_credentials_of_the_server_are_not_in_the_environment_of_what_it_starts(sealed):
    for process in psutil.Process(sealed.process.pid).children(recursive=True):
        names = set(process.environ())
        assert "DOSIRAK_HOME" in names
        assert not {"DOSIRAK_TOKEN", "DOSIRAK_ADMIN_TOKEN"} & names


def test_requests_that_are_being_answered_count(launch, until, tmp_path):
    server = launch(f"{SOURCE}:Mounted", workers=1, max_outstanding=1)
    answers: list[int] = []

    def hang() -> None:
        with httpx2.Client(base_url=server.url, timeout=60) as client:
            params = {"marker": str(tmp_path / "marker"), "seconds": "1.5"}
            answers.append(client.get("/ui/hang", params=params).status_code)

    hanging = threading.Thread(target=hang)
    hanging.start()
    until(lambda: (tmp_path / "marker").exists())
    assert server.client.get("/ui/about/it").status_code == 429
    assert server.call("echo", value=7).status_code == 429
    hanging.join(30)
    assert answers == [200]
    assert server.client.get("/ui/about/it").status_code == 200
