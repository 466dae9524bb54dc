"""A handler that calls another server with dosirak's client: what that call inherits."""

from __future__ import annotations

import asyncio
import json
import time

import httpx2
import pytest

import dosirak
from dosirak import AsyncHTTPClient, SyncHTTPClient
from dosirak.payload.wire import WireRequest
from dosirak.serving.composition import compose
from dosirak.spec.context import Context

SCHEMA = {
    "schema_version": 1,
    "name": "other",
    "apis": [
        {
            "name": "one",
            "route": "/one",
            "parameters": [],
            "returns": {"type": "integer"},
            "streams": False,
            "request_media_types": ["application/json"],
            "response_media_types": ["application/json"],
        }
    ],
}
TRACE = "00-12345678901234567890123456789012-1234567890123456-01"
SEEN: list[httpx2.Request] = []


def _answer(request: httpx2.Request) -> httpx2.Response:
    if request.url.path == "/schema.json":
        return httpx2.Response(200, json=SCHEMA)
    SEEN.append(request)
    return httpx2.Response(200, json=1)


@dosirak.service
class Onward:
    def __init__(self) -> None:
        transport = httpx2.MockTransport(_answer)
        self.sync = SyncHTTPClient("http://other", timeout_s=30, transport=transport)
        self.other = AsyncHTTPClient("http://other", timeout_s=30, transport=transport)

    @dosirak.api
    def from_a_thread(self) -> int:
        return self.sync.call("one")

    @dosirak.api
    async def from_the_loop(self) -> int:
        return await self.other.call("one")

    @dosirak.api
    def by_hand(self, context: dosirak.Context) -> dict[str, str]:
        return context.outgoing_headers()

    @dosirak.api
    def too_late(self) -> int:
        time.sleep(0.2)
        return self.sync.call("one")


async def _call(api: str, left_s: float) -> tuple[int, object]:
    dataplane = compose(Onward.spec, {})
    await dataplane.start()
    try:
        headers = {"traceparent": TRACE, "authorization": "Bearer mine"}
        context = Context("r-1", headers, deadline_s=time.monotonic() + left_s)
        answer = await dataplane.call(api, WireRequest(b"", "application/json"), context)
    finally:
        await dataplane.stop()
    return answer.status, json.loads(answer.body)


@pytest.mark.parametrize("api", ["from_a_thread", "from_the_loop"])
def test_the_time_the_trace_and_the_id_travel_and_the_credential_does_not(api):
    SEEN.clear()
    assert asyncio.run(_call(api, 12.0)) == (200, 1)
    (request,) = SEEN
    assert 0 < float(request.headers["x-request-timeout"]) <= 12
    assert request.headers["traceparent"] == TRACE
    assert request.headers["x-request-id"] == "r-1"
    assert "authorization" not in request.headers


def test_other_clients_are_given_the_same_by_hand():
    status, headers = asyncio.run(_call("by_hand", 12.0))
    assert status == 200
    assert 0 < float(headers.pop("x-request-timeout")) <= 12
    assert headers == {"traceparent": TRACE, "x-request-id": "r-1"}


def test_nobody_is_asked_when_the_callers_time_is_over():
    SEEN.clear()
    assert asyncio.run(_call("too_late", 0.1))[0] == 504
    assert SEEN == []


def test_outside_a_handler_nothing_is_inherited():
    SEEN.clear()
    with SyncHTTPClient("http://other", transport=httpx2.MockTransport(_answer)) as client:
        assert client.call("one") == 1
    assert "x-request-id" not in SEEN[0].headers
    assert Context().remaining_s is None
    assert Context(deadline_s=0.0).remaining_s == 0.0
