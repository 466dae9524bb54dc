"""Telling others of the end of tasks: at least once, again after a failure, across restarts.

    the store's due deliveries ─claim─▶ POST ─▶ told │ due again later │ given up

What is due is kept in the store, in the same step that ends a task. A server that dies in between
leaves a delivery that is due again; a receiver knows a repetition by `webhook-id`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from dosirak.errors import DosirakError
from dosirak.observe.logs import ROOT_LOGGER
from dosirak.serving.task_store import Delivery
from dosirak.serving.webhooks import WebhookPlan, again_in_s, body_of, headers_of, key_of

if TYPE_CHECKING:
    from httpx2 import AsyncClient

# Longer than an attempt takes: another server must not begin one meanwhile.
HOLD_S = 60.0
_ATTEMPT_S = 15.0
_AT_ONCE = 4
_LOOK_EVERY_S = 1.0

_log = logging.getLogger(f"{ROOT_LOGGER}.serving.webhooks")

Claim = Callable[[], Awaitable[Delivery | None]]
End = Callable[[str, float | None], Awaitable[None]]


class WebhookSender:
    """Sends what is due.

    Args:
        plan: who may be told.
        claim: takes the next delivery that is due from the store.
        end: notes a delivery as ended, or as due again after a time.
        counted: told of each attempt: `delivered`, `failed` or `given_up`.
    """

    def __init__(
        self, plan: WebhookPlan, claim: Claim, end: End, counted: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._claim = claim
        self._end = end
        self._counted = counted
        self._due = asyncio.Event()

    def wake(self) -> None:
        """Look now: a task has ended."""
        self._due.set()

    async def run(self) -> None:
        """Send until cancelled."""
        # Only a server that sends webhooks pays for a client.
        import httpx2

        # No redirects and no proxies: a destination is exactly what was allowed.
        async with httpx2.AsyncClient(follow_redirects=False, trust_env=False) as client:
            key = key_of(self._plan.secret)
            async with asyncio.TaskGroup() as group:
                for _ in range(_AT_ONCE):
                    group.create_task(self._send_due(client, key))

    async def _send_due(self, client: AsyncClient, key: bytes) -> None:
        while True:
            try:
                delivery = await self._claim()
                if delivery is not None:
                    await self._deliver(client, key, delivery)
                    continue
            except Exception as error:
                # The store may be gone for a while; what is due stays so.
                shown = None if isinstance(error, DosirakError) else error
                _log.error("Webhooks wait: %s", error, exc_info=shown)
            self._due.clear()
            try:
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._due.wait()
            except TimeoutError:
                continue

    async def _deliver(self, client: AsyncClient, key: bytes, delivery: Delivery) -> None:
        status = await self._attempt(client, key, delivery)
        task_id = delivery.task.id
        wait_s = again_in_s(delivery.attempts, status, random.random())  # noqa: S311 - jitter
        if 200 <= status < 300:
            self._counted("delivered")
        elif wait_s is None:
            self._counted("given_up")
            _log.error("The webhook of task %s is given up (status %d).", task_id, status)
        else:
            self._counted("failed")
            _log.warning(
                "The webhook of task %s failed (status %d); again in %.0f s.",
                task_id,
                status,
                wait_s,
            )
        await self._end(task_id, wait_s)

    async def _attempt(self, client: AsyncClient, key: bytes, delivery: Delivery) -> int:
        """Return the status that a receiver answered; 0 when it did not."""
        import httpx2

        try:
            # What was allowed when it was submitted may not be any more.
            url = self._plan.destination(delivery.url)
        except DosirakError:
            return 410
        now_s = time.time()
        body = body_of(delivery, now_s)
        headers = headers_of(delivery.task.id, body, now_s=now_s, key=key)
        try:
            async with asyncio.timeout(_ATTEMPT_S):
                # Whatever it answers beside the status is not read.
                async with client.stream(
                    "POST", url, content=body, headers=headers, timeout=_ATTEMPT_S
                ) as response:
                    return response.status_code
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError, ValueError):
            return 0
