"""Health checks and scrapes come every few seconds: the access log is told of what went wrong."""

from __future__ import annotations

import asyncio
import io
import json

import httpx2

import dosirak
from dosirak.observe.access_log import open_access_log
from dosirak.observe.metrics import ServingMetrics
from dosirak.serving.calls import ServiceDescription
from dosirak.serving.composition import compose
from dosirak.serving.http.application import create_http_application
from dosirak.serving.http.options import HttpOptions

ROUTINE = ("/livez", "/readyz", "/healthz", "/metrics")


@dosirak.service
class Greeter:
    @dosirak.api
    def greet(self) -> str:
        return "hello"


def _logged(*paths: str, started: bool) -> list[tuple[str, int]]:
    """Return path and status of what was written of these requests."""

    async def run() -> None:
        calls = compose(Greeter.spec, {})
        application = create_http_application(
            ServiceDescription.of(Greeter.spec),
            calls,
            options=HttpOptions(allowed_hosts=None),
            metrics=ServingMetrics(service="Greeter", process=False),
            access_log=log,
        )
        if started:
            await calls.start()
        transport = httpx2.ASGITransport(app=application)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            for path in paths:
                await client.get(path)
        if started:
            await calls.stop()

    output = io.StringIO()
    log = open_access_log("json", output)
    assert log is not None
    log.start()
    asyncio.run(run())
    log.close()
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    return [(line["path"], line["status"]) for line in lines]


def test_what_is_asked_as_usual_is_not_written():
    assert _logged(*ROUTINE, "/schema.json", started=True) == [("/schema.json", 200)]


def test_a_health_check_that_is_not_answered_with_success_is_written():
    assert _logged("/metrics", "/readyz", started=False) == [("/readyz", 503)]
