"""The client against dosirak's own server: every kind of payload there and back."""

from __future__ import annotations

import asyncio
import pydoc
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import uvicorn
from PIL import Image

import dosirak
from dosirak.client import AsyncHTTPClient, SyncHTTPClient
from dosirak.errors import DeadlineExceeded, DosirakError, InvalidInput, ServiceError, UsageError
from dosirak.serving.application import create_application


@dosirak.service
class Payloads:
    """A service that takes and gives everything."""

    @dosirak.api
    def double(self, values: np.ndarray) -> np.ndarray:
        """Double every value."""
        return values * 2

    @dosirak.api
    def sums(self, table: pd.DataFrame, *, scale: float = 1.0) -> np.ndarray:
        return table.sum(axis=1).to_numpy() * scale

    @dosirak.api
    def rows(self, count: int) -> pd.DataFrame:
        return pd.DataFrame({"n": range(count), "name": [f"row {n}" for n in range(count)]})

    @dosirak.api
    def describe(self, words: list[str]) -> dict[str, int]:
        return {word: len(word) for word in words}

    @dosirak.api
    def size(self, document: Path) -> int:
        return document.stat().st_size

    @dosirak.api
    def echo(self, data: bytes, /) -> bytes:
        return data

    @dosirak.api
    def turn(self, picture: Image.Image) -> Image.Image:
        return picture.rotate(90, expand=True)

    @dosirak.api
    def count(self, to: int, fail: bool = False) -> Iterator[int]:
        yield from range(to)
        if fail:
            raise ValueError("secret")

    @dosirak.api
    def sleep(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    @dosirak.api
    def fail(self) -> int:
        raise ValueError("secret")

    @dosirak.api
    def close(self, door: str) -> str:
        return f"{door} closed"

    @dosirak.task
    def train(self, rounds: int) -> float:
        return rounds / 2


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    application = create_application(Payloads.spec, {})
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning", loop="asyncio"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture(params=["socket", "in process"])
def client(request: pytest.FixtureRequest) -> Iterator[SyncHTTPClient]:
    if request.param == "socket":
        with SyncHTTPClient(request.getfixturevalue("url"), ready_timeout_s=30) as found:
            yield found
    else:
        with Payloads.test_client() as found:
            yield found


def test_arrays_go_and_come_exactly_and_lists_are_taken_for_them(client: SyncHTTPClient) -> None:
    values = np.array([[1.5, float("nan")], [float("inf"), -0.0]])
    doubled = client.double(values=values)
    assert isinstance(doubled, np.ndarray)
    np.testing.assert_array_equal(doubled, values * 2)
    np.testing.assert_array_equal(client.double([1, 2, 3]), [2, 4, 6])


def test_tables_go_and_come(client: SyncHTTPClient) -> None:
    table = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})
    np.testing.assert_array_equal(client.sums(table), [1.5, 3.5])
    np.testing.assert_array_equal(client.sums(table=table, scale=2.0), [3.0, 7.0])
    rows = client.rows(count=2)
    assert isinstance(rows, pd.DataFrame)
    assert rows.to_dict("records") == [{"n": 0, "name": "row 0"}, {"n": 1, "name": "row 1"}]


def test_plain_values_go_and_come(client: SyncHTTPClient) -> None:
    assert client.describe(words=["ab", "c"]) == {"ab": 2, "c": 1}


def test_files_go_as_paths_file_objects_and_bytes(client: SyncHTTPClient, tmp_path: Path) -> None:
    file = tmp_path / "document.txt"
    file.write_bytes(b"12345")
    assert client.size(document=file) == 5
    assert client.size(document=b"123") == 3
    with file.open("rb") as opened:
        assert client.size(document=opened) == 5
    assert client.echo(b"\x00\xff") == b"\x00\xff"


def test_images_go_and_come(client: SyncHTTPClient) -> None:
    turned = client.turn(picture=Image.new("RGB", (4, 2), "red"))
    assert isinstance(turned, Image.Image)
    assert turned.size == (2, 4)


def test_streams_come_item_by_item_and_end_with_their_error(client: SyncHTTPClient) -> None:
    assert list(client.count(to=3)) == [0, 1, 2]
    items = client.count(to=2, fail=True)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(ServiceError) as caught:
        next(items)
    assert "secret" not in str(caught.value)


def test_errors_keep_their_class(client: SyncHTTPClient) -> None:
    with pytest.raises(ServiceError) as caught:
        client.fail()
    assert "secret" not in str(caught.value)
    with pytest.raises((InvalidInput, UsageError)):
        client.describe(words=3)
    with pytest.raises((InvalidInput, UsageError)):
        client.describe(wrong=1)


def test_a_deadline_is_kept(url: str) -> None:
    with SyncHTTPClient(url, timeout_s=0.5) as client:
        client.connect()
        with pytest.raises(DeadlineExceeded):
            client.sleep(seconds=2.0)


def test_tasks_run_to_their_end(client: SyncHTTPClient) -> None:
    task = client.train.submit(rounds=3)
    assert task.get(wait_timeout_s=60) == 1.5
    assert isinstance(task.status(), str)
    assert client.train(rounds=4) == 2.0
    assert task.retry().get(wait_timeout_s=60) == 1.5
    with pytest.raises(DosirakError):
        task.cancel()


def test_names_signatures_and_help_are_the_authors(client: SyncHTTPClient) -> None:
    assert client.api_close(door="red") == "red closed"
    page = pydoc.plain(pydoc.render_doc(client.double))
    assert "Double every value." in page
    assert "values" in page
    assert "(table: pandas" in pydoc.plain(pydoc.render_doc(client.sums))
    assert {"double", "sums", "train", "api_close"} <= set(dir(client))


def test_the_asynchronous_client_does_the_same(url: str) -> None:
    async def main() -> None:
        async with AsyncHTTPClient(url) as client:
            np.testing.assert_array_equal(await client.double([1, 2]), [2, 4])
            assert [item async for item in client.count(to=3)] == [0, 1, 2]
            assert await (await client.train.submit(rounds=3)).get(wait_timeout_s=60) == 1.5
            with pytest.raises(ServiceError):
                await client.fail()

    asyncio.run(main())
