"""A server on a Unix socket, as a proxy sees it: any host, a prefix, callers that it names."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dosirak import AsyncHTTPClient, SyncHTTPClient

HERE = Path(__file__).parent
PREFIX = "/my-first-bento"
TOKEN = "dsk_a-token-of-the-deployment"
FORWARDED = {
    "x-forwarded-prefix": PREFIX,
    "x-forwarded-proto": "https",
    "x-forwarded-for": "203.0.113.9, 198.51.100.7",
}


class Proxy(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """What a router does: the prefix off, the caller named, over a Unix socket."""

    def __init__(self, path: str) -> None:
        self._sync = httpx2.HTTPTransport(uds=path)
        self._async = httpx2.AsyncHTTPTransport(uds=path)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return self._sync.handle_request(self._rewritten(request))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await self._async.handle_async_request(self._rewritten(request))

    def close(self) -> None:
        self._sync.close()

    async def aclose(self) -> None:
        await self._async.aclose()

    def _rewritten(self, request: httpx2.Request) -> httpx2.Request:
        target = request.url.raw_path.decode()
        assert target.startswith(f"{PREFIX}/"), target
        request.url = request.url.copy_with(raw_path=target.removeprefix(PREFIX).encode())
        request.headers.update(FORWARDED)
        return request


class Access:
    """The file of tokens, replaced as a control plane does."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, *tokens: str) -> None:
        entries = [
            {"id": token[:5], "sha256": hashlib.sha256(token.encode()).hexdigest()}
            for token in tokens
        ]
        self.write_text(json.dumps({"version": 1, "deployment": "d", "tokens": entries}))

    def write_text(self, text: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder with a short name: a socket's path may not be long."""
    folder = Path(tempfile.mkdtemp(prefix="dsk-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def access(place: Path) -> Access:
    access = Access(place / "access.json")
    access.write(TOKEN)
    return access


@pytest.fixture(scope="module")
def server(launch_shared: Callable[..., Any], place: Path, access: Access) -> Any:
    return launch_shared(
        f"{HERE / 'proxied.py'}:Proxied",
        unix_socket=str(place / "s"),
        access_file=str(access.path),
        fronts=2,
    )


@pytest.fixture
def proxy(server: Any, place: Path) -> Iterator[Proxy]:
    proxy = Proxy(str(place / "s"))
    yield proxy
    proxy.close()


@pytest.fixture
def caller(proxy: Proxy) -> httpx2.Client:
    headers = {"authorization": f"Bearer {TOKEN}"}
    return httpx2.Client(transport=proxy, base_url=f"http://any.example{PREFIX}", headers=headers)


def test_the_socket_is_for_its_owner_alone(server: Any, place: Path) -> None:
    assert server.first["url"] == f"unix:{place / 's'}"
    assert stat.S_IMODE((place / "s").stat().st_mode) == 0o600


def test_a_second_server_leaves_the_first_its_socket(
    server: Any, place: Path, launch: Callable[..., Any], caller: httpx2.Client
) -> None:
    second = launch("Behaving", unix_socket=str(place / "s"))

    assert second.first["code"] == "invalid_configuration"
    assert "Another server has the Unix socket" in second.first["message"]
    assert caller.post("/double", json={"value": 4}).json() == 8


def test_clients_work_under_a_prefix(proxy: Proxy) -> None:
    url = f"http://127.0.0.1:8800{PREFIX}"
    with SyncHTTPClient(url, token=TOKEN, transport=proxy, ready_timeout_s=10) as client:
        assert client.double(value=21) == 42
        assert list(client.count(to=3)) == [0, 1, 2]
        assert client.later(value=1) == 2
        task = client.later.submit(value=2)
        assert task.get() == 3
        assert task.status() == "success"


def test_asynchronous_clients_work_under_a_prefix(proxy: Proxy) -> None:
    async def call() -> None:
        url = f"http://127.0.0.1:8800{PREFIX}/"
        async with AsyncHTTPClient(url, token=TOKEN, transport=proxy) as client:
            assert await client.double(value=21) == 42
            assert [item async for item in client.count(to=3)] == [0, 1, 2]
            assert await client.later(value=1) == 2

    asyncio.run(call())


def test_what_an_answer_names_is_under_the_prefix(caller: httpx2.Client) -> None:
    assert caller.get("/openapi.json").json()["servers"] == [{"url": PREFIX}]
    page = caller.get("/").text
    assert f'src="{PREFIX}/-/try.js"' in page
    assert '="/-/' not in page


def test_a_mounted_application_is_told_of_prefix_scheme_and_caller(caller: httpx2.Client) -> None:
    told = caller.get("/mirror/deep").json()

    assert told["path"] == f"{PREFIX}/mirror/deep"
    assert told["root_path"] == f"{PREFIX}/mirror"
    assert told["scheme"] == "https"
    assert told["client"][0] == "198.51.100.7"


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer another-token"}])
def test_callers_without_a_token_of_the_file_are_refused(
    proxy: Proxy, headers: dict[str, str]
) -> None:
    with httpx2.Client(transport=proxy, base_url=f"http://d.localhost{PREFIX}") as stranger:
        assert stranger.post("/double", json={"value": 4}, headers=headers).status_code == 401
        assert stranger.get("/schema.json", headers=headers).status_code == 401
        assert stranger.get("/readyz", headers=headers).status_code == 200


def test_a_revoked_token_is_refused_on_open_connections_and_a_new_one_taken(
    caller: httpx2.Client, access: Access
) -> None:
    def calls(token: str) -> int:
        headers = {"authorization": f"Bearer {token}"}
        return caller.post("/double", json={"value": 4}, headers=headers).status_code

    try:
        assert calls(TOKEN) == 200
        access.write("dsk_another")
        _until(lambda: calls(TOKEN) == 401)
        assert calls("dsk_another") == 200

        access.write_text("{broken")
        _until(lambda: calls("dsk_another") == 401)
        assert caller.get("/readyz").status_code == 200

        access.path.unlink()
        assert calls("dsk_another") == 401
    finally:
        access.write(TOKEN)
    _until(lambda: calls(TOKEN) == 200)


def test_at_the_end_the_socket_is_gone_and_what_was_begun_is_answered(
    launch: Callable[..., Any], place: Path
) -> None:
    path = place / "ending"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    # What a killed server leaves is taken.
    server = launch("Behaving", unix_socket=str(path))
    transport = httpx2.HTTPTransport(uds=str(path))
    with httpx2.Client(transport=transport, base_url="http://any.example") as client:
        assert client.post("/echo", json={"value": 1}).json() == 1
        # What is no prefix is none: it would be in the page.
        page = client.get("/", headers={"x-forwarded-prefix": '/"><script>'})
        assert page.is_success
        assert "<script>" not in page.text
    assert server.stop() == 0
    assert not path.exists()
    assert not Path(f"{path}.lock").exists()


def _until(holds: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end_s, "It never came true."
        time.sleep(0.05)
