"""Whatever bytes a server answers, a caller meets a result or a `DosirakError`, nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dosirak.client import AsyncHTTPClient, SyncHTTPClient
from dosirak.client.answer import Answer, error_of_answer
from dosirak.errors import DosirakError

# The server is the same for every example: it holds nothing that an example could leave behind.
one_server = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
header_bytes = st.binary(max_size=12).filter(lambda b: not set(b) & {0, 10, 13})
heads = st.builds(
    lambda status, headers, body, length: (
        b"HTTP/1.1 %d X\r\n" % status
        + b"".join(b"%b: %b\r\n" % (name, value) for name, value in headers)
        + (b"content-length: %d\r\n" % (len(body) + length))
        + b"\r\n"
        + body
    ),
    st.integers(0, 1100),
    st.lists(
        st.tuples(
            st.sampled_from(
                [b"content-type", b"retry-after", b"location", b"set-cookie", b"content-encoding"]
            ),
            header_bytes
            | st.sampled_from(
                [
                    b"gzip",
                    b"deflate",
                    b"br",
                    b"application/json",
                    b"text/event-stream",
                    b"image/png",
                ]
            )
            | st.sampled_from([b"application/x-npy", b"application/vnd.apache.arrow.stream"]),
        ),
        max_size=3,
    ),
    st.binary(max_size=40) | json_values.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([0, 0, 0, -1, 1]),
)
answers = st.binary(max_size=60) | heads


@pytest.fixture
def hostile(scripted: Callable[..., Any], kit: Any) -> Iterator[Any]:
    # Retry-After may ask for seconds: nothing here may be waited for.
    yield scripted(b"", schema=kit.schema_with(idempotent=False))


@one_server
@given(answer=answers)
def test_the_answer_to_a_call(hostile: Any, answer: bytes) -> None:
    hostile.script[:] = [answer]
    with SyncHTTPClient(hostile.url, retries=0) as client, contextlib.suppress(DosirakError):
        client.add(a=1)


@one_server
@given(answer=answers)
def test_the_answer_to_a_call_that_streams(hostile: Any, kit: Any, answer: bytes) -> None:
    hostile.schema = kit.schema_with(streams=True)
    hostile.script[:] = [answer]
    with SyncHTTPClient(hostile.url, retries=0) as client, contextlib.suppress(DosirakError):
        list(client.add(a=1))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(answer=answers)
def test_the_answer_to_an_asynchronous_call(hostile: Any, answer: bytes) -> None:
    async def main() -> None:
        async with AsyncHTTPClient(hostile.url, retries=0) as client:
            with contextlib.suppress(DosirakError):
                await client.add(a=1)

    hostile.script[:] = [answer]
    asyncio.run(main())


@one_server
@given(answer=answers)
def test_the_answer_about_a_task(hostile: Any, kit: Any, answer: bytes) -> None:
    hostile.schema = kit.schema_with(kind="task")
    hostile.script[:] = [kit.reply(b'{"task_id": "t"}'), answer]
    with SyncHTTPClient(hostile.url, retries=0) as client:
        task = client.add.submit(a=1)
        for ask in (task.status, lambda: task.get(wait_timeout_s=0.01), task.cancel, task.retry):
            with contextlib.suppress(DosirakError):
                ask()


def client_of(schema: bytes) -> SyncHTTPClient:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=schema if request.url.path == "/schema.json" else b"1")

    return SyncHTTPClient("http://x", transport=httpx2.MockTransport(answer))


@settings(max_examples=60, deadline=None)
@given(schema=st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_the_schema(schema: bytes) -> None:
    with client_of(schema) as client, contextlib.suppress(DosirakError):
        client.connect()


api_keys = st.sampled_from(
    ["name", "route", "kind", "streams", "methods", "doc", "parameters", "returns", "batch"]
)
schema_keys = st.sampled_from(
    [
        *("type", "items", "anyOf", "enum", "properties", "required", "default", "title", "$ref"),
        *("x-dosirak-type", "x-dosirak-dtype", "x-dosirak-shape", "x-dosirak-columns"),
    ]
)
type_schemas = st.dictionaries(
    schema_keys,
    json_values
    | st.sampled_from(["number", "object", "array", "string", "ndarray", "table", "image", "file"]),
    max_size=4,
)
parameters = st.fixed_dictionaries(
    {"name": st.text(max_size=6), "required": st.booleans(), "schema": type_schemas},
    optional={"root": st.booleans(), "keyword_only": st.booleans(), "default": json_values},
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    changes=st.dictionaries(api_keys, json_values, max_size=2),
    declared=st.lists(parameters, max_size=3),
    returns=type_schemas,
)
def test_the_schema_of_an_api(kit: Any, changes: Any, declared: Any, returns: Any) -> None:
    schema = kit.schema_with(**{"parameters": declared, "returns": returns, **changes})
    with client_of(json.dumps(schema).encode()) as client, contextlib.suppress(DosirakError):
        client.connect()
        for name in client.apis:
            client.call(name, 1)


@given(
    status=st.integers(300, 599),
    body=st.binary() | json_values.map(lambda value: json.dumps(value).encode()),
    headers=st.dictionaries(
        st.sampled_from(["content-type", "location", "retry-after"]), st.text()
    ),
)
def test_every_unsuccessful_answer_is_an_error_with_a_remedy(
    status: int, body: bytes, headers: dict[str, str]
) -> None:
    error = error_of_answer(Answer(status, headers, body), url="http://x/add")
    assert isinstance(error, DosirakError)
    assert error.message
    assert error.remedy


problem_lists = st.lists(
    st.dictionaries(st.sampled_from(["field", "reason", "x"]), json_values), max_size=3
)


@given(fields=problem_lists | json_values, code=st.text() | st.just("invalid_input"))
def test_every_error_body_is_read(fields: Any, code: str) -> None:
    body = json.dumps({"error": "No.", "code": code, "fields": fields}).encode()
    error = error_of_answer(Answer(400, {}, body), url="http://x/add")
    assert all(isinstance(part, str) for problem in error.fields for part in problem)
