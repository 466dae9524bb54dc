"""Refusals of the hot path: each is answered at once, and told of once, with its neighbours."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import uvloop

import dosirak
from dosirak.errors import DosirakError, Overloaded, QuarantinedInput
from dosirak.observe.access_log import open_access_log
from dosirak.observe.metrics import ServingMetrics
from dosirak.serving.calls import ServiceDescription
from dosirak.serving.heads import HeadReader
from dosirak.serving.hot_protocol import HotServer
from dosirak.serving.hot_routes import HotAccount, PooledRoute
from dosirak.serving.http.options import HttpOptions
from dosirak.serving.pending import PendingCall

REQUEST = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody"


@dosirak.service
class Echo:
    @dosirak.api
    def echo(self, value: int) -> int:
        return value


class Pool:
    """Refuses everything, for the reasons given in turn."""

    def __init__(self, reasons: list[DosirakError]) -> None:
        self._reasons = reasons

    def submit(self, api: str, call: PendingCall) -> None:
        raise self._reasons.pop(0)

    def withdraw(self, api: str, call: PendingCall) -> None: ...


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return False


def test_refusals_of_one_turn_are_answered_at_once_and_each_is_noted_once() -> None:
    busy = [Overloaded("Too many.", remedy="Wait.") for _ in range(3)]
    reasons = [*busy, QuarantinedInput("It ends workers.", remedy="Send another.")]
    metrics, log = ServingMetrics(service="Echo", process=False), io.StringIO()

    async def scenario() -> list[bytes]:
        access_log = open_access_log("json", log)
        assert access_log is not None
        access_log.start()
        api = ServiceDescription.of(Echo.spec).apis[0]
        pool: Any = Pool(reasons)
        route = PooledRoute(api, pool, HotAccount(metrics, access_log), 60.0)
        routes, options = {b"/echo": route}, HttpOptions()
        server = HotServer(HeadReader(routes, options), routes, asyncio.Protocol, options)
        written = []
        for _ in range(4):
            connection, transport = server.connect(), Transport()
            connection.connection_made(transport)
            connection.data_received(REQUEST)
            written.append(transport.written)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        access_log.close()
        return written

    answers = uvloop.run(scenario())
    assert [answer[9:12] for answer in answers] == [b"429", b"429", b"429", b"422"]
    assert all(b"retry-after: 1" in answer for answer in answers[:3])
    told = metrics.render().decode()
    assert 'dosirak_rejections_total{api="echo",reason="queue_full"} 3.0' in told
    assert 'dosirak_rejections_total{api="echo",reason="quarantined"} 1.0' in told
    assert 'dosirak_request_duration_seconds_count{api="echo",status="429"} 3.0' in told
    assert "dosirak_requests_in_progress 0.0" in told
    logged = [json.loads(line) for line in log.getvalue().splitlines()]
    assert sorted(line["status"] for line in logged) == [422, 429, 429, 429]
    assert len({line["request_id"] for line in logged}) == 4
