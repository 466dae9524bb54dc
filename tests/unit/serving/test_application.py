"""A service as an ASGI application, without a socket; and what it says of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any

import httpx2
import numpy as np
import pandas as pd
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

import dosirak
from dosirak.serving.application import create_application


@dosirak.service
class Described:
    """Every kind of parameter."""

    @dosirak.api(batchable=True)
    def predict(
        self, flowers: Annotated[pd.DataFrame, dosirak.Columns("sepal", "petal")]
    ) -> np.ndarray:
        """Predict.

        Row by row."""
        return np.zeros(len(flowers))

    @dosirak.api
    def root(self, value: dict[str, list[int]], /) -> int:
        return len(value)

    @dosirak.api
    def greet(self, name: str = "you", times: int = 1) -> str:
        return f"hello {name} " * times

    @dosirak.task
    def train(self, epochs: int) -> str:
        return "done"


def _with_client(use: Any) -> Any:
    async def run() -> Any:
        application = create_application(Described.spec, {})
        transport = httpx2.ASGITransport(app=application)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            try:
                return await use(client)
            finally:
                await application.stop()

    return asyncio.run(run())


def test_it_answers_without_a_lifespan():
    async def use(client: httpx2.AsyncClient) -> Any:
        return (await client.post("/greet", json={"name": "Min"})).json()

    assert _with_client(use) == "hello Min "


def test_tasks_run_in_memory():
    async def use(client: httpx2.AsyncClient) -> Any:
        task = (await client.post("/train/submit", json={"epochs": 1})).json()
        query = {"task_id": task["task_id"]}
        async with asyncio.timeout(20):
            while (await client.get("/train/get", params=query)).status_code == 202:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return (await client.get("/train/get", params=query)).json()

    assert _with_client(use) == "done"


def test_the_openapi_document_is_valid_and_whole():
    async def use(client: httpx2.AsyncClient) -> Any:
        return (await client.get("/openapi.json")).json()

    document = _with_client(use)
    OpenAPIV31SpecValidator(document).validate()
    assert {"/predict", "/root", "/greet", "/train/submit", "/train/get"} <= set(document["paths"])
    predict = document["paths"]["/predict"]["post"]
    schema = predict["requestBody"]["content"]["application/json"]["schema"]
    assert list(schema["properties"]) == ["flowers"]
    assert predict["summary"] == "Predict."
    greet = document["paths"]["/greet"]["post"]["requestBody"]
    assert greet["required"] is False
    assert greet["content"]["application/json"]["schema"]["properties"]["times"]["default"] == 1


def test_the_page_loads_nothing_from_elsewhere():
    async def use(client: httpx2.AsyncClient) -> list[str]:
        paths = ["/", "/-/try.css", "/-/try.js", "/-/api_forms.js", "/-/icon.svg"]
        return [(await client.get(path)).text for path in paths]

    html, css, *javascript, _ = _with_client(use)
    assert "http" not in html.replace("https://www.w3.org", "")
    assert "url(" not in css
    assert "innerHTML" not in "".join(javascript)
    assert "style=" not in html


def test_lifespan_starts_and_stops_it():
    async def run() -> list[str]:
        application = create_application(Described.spec, {})
        incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        sent: list[str] = []

        async def send(message: Any) -> None:
            sent.append(message["type"])

        incoming.put_nowait({"type": "lifespan.startup"})
        incoming.put_nowait({"type": "lifespan.shutdown"})
        await application({"type": "lifespan"}, incoming.get, send)
        return sent

    assert asyncio.run(run()) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_service_that_cannot_start_fails_its_lifespan():
    @dosirak.service
    class Broken:
        def __init__(self) -> None:
            raise OSError("no such device")

        @dosirak.api
        def echo(self, value: int) -> int:
            return value

    async def run() -> list[str]:
        sent: list[str] = []

        async def receive() -> dict[str, Any]:
            return {"type": "lifespan.startup"}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        with pytest.raises(dosirak.errors.ServiceError):
            await create_application(Broken.spec, {})({"type": "lifespan"}, receive, send)
        return sent

    assert asyncio.run(run()) == ["lifespan.startup.failed"]


@dosirak.service
class Breaking:
    @dosirak.api
    def tell(self, words: int) -> Iterator[str]:
        yield "one"
        raise ValueError(words)


def test_a_stream_that_breaks_says_the_id_under_which_the_reason_is_logged():
    with Breaking.test_client() as client, pytest.raises(dosirak.errors.ServiceError) as caught:
        list(client.tell(words=2))
    assert caught.value.request_id
