"""Signals to open pages: for every change, and only while they may be told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request
from tests.unit.deployment.console.seeded import Seeded

from dosirak.deployment.api.access import Principal
from dosirak.deployment.asking import Asking
from dosirak.deployment.console.live import news, signals
from dosirak.errors import Unauthorized


def test_a_page_that_was_just_opened_is_told_everything():
    assert news(None, (4, 2)) == ["changed", "tick"]


def test_only_what_changed_is_told():
    assert news((4, 2), (4, 2)) == []
    assert news((4, 2), (5, 2)) == ["changed"]
    assert news((4, 2), (4, 3)) == ["tick"]


def _request(platform: Seeded) -> Request:
    async def receive() -> dict[str, str]:
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    application = platform.application()
    return Request(
        {"type": "http", "headers": [], "method": "GET", "path": "/live", "app": application},
        receive,
    )


async def _next(stream: AsyncIterator[bytes], wanted: bytes) -> None:
    async with asyncio.timeout(60):
        async for piece in stream:
            if wanted in piece:
                return
    raise AssertionError(wanted)


def test_a_change_and_a_step_of_traffic_are_told(platform: Seeded):
    platform.deploy("iris", "iris:1", scaling={"max_replicas": 4})

    async def listen() -> None:
        parts = platform.parts()
        stream = signals(_request(platform), parts, "iris", every_s=0.02)
        await _next(stream, b"event: tick")
        assert parts.onlookers.names() == {"iris"}
        platform.operations.scale(Asking(), "iris", replicas=2)
        await _next(stream, b"event: changed")
        platform.count()
        await _next(stream, b"event: tick")

    asyncio.run(listen())


def test_who_may_no_longer_read_is_let_go(platform: Seeded):
    async def listen() -> None:
        request = _request(platform)
        access = request.app.state.access

        def refuse(text: str) -> Principal:
            raise Unauthorized("It was revoked.", remedy="Use another one.")

        request.app.state.access = type(access)(refuse, access.note, require_tokens=True)
        async with asyncio.timeout(60):
            async for _ in signals(request, platform.parts(), "", every_s=0.02):
                pass

    asyncio.run(listen())
