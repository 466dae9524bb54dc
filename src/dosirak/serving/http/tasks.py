"""The endpoints of a task: submit, status, get, retry, cancel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

import msgspec

from dosirak.errors import RequestError
from dosirak.serving.calls import ApiDescription
from dosirak.serving.http.exchange import Exchange
from dosirak.serving.http.routes import Answer, Endpoint
from dosirak.serving.task_queue import TaskQueue
from dosirak.serving.task_store import TaskRecord, as_json


def task_endpoints(api: ApiDescription, queue: TaskQueue) -> list[Endpoint]:
    """Return the endpoints of one task."""

    async def submit(exchange: Exchange) -> None:
        request = await exchange.read()
        wrong = await queue.check(api.name, request, exchange.request_id)
        if wrong is not None:
            await exchange.answer(wrong)
            return
        # Who has gone would submit it again: it is not kept for nobody.
        record = await exchange.while_connected(queue.submit(api.name, request))
        await _send_task(exchange, record)

    async def get(exchange: Exchange) -> None:
        await exchange.answer(await queue.result(api.name, _task_id(exchange)))

    def about(operation: Callable[[str, str], Awaitable[TaskRecord]]) -> Answer:
        async def answer(exchange: Exchange) -> None:
            await _send_task(exchange, await operation(api.name, _task_id(exchange)))

        return answer

    def endpoint(name: str, method: str, answer: Answer) -> Endpoint:
        return Endpoint(f"{api.route}/{name}", {method: answer}, label=api.name)

    return [
        Endpoint(
            api.route,
            {},
            label=api.name,
            remedy=f"This is a task: POST to {api.route}/submit.",
        ),
        endpoint("submit", "POST", submit),
        endpoint("status", "GET", about(queue.status)),
        endpoint("get", "GET", get),
        endpoint("retry", "POST", about(queue.retry)),
        endpoint("cancel", "PUT", about(queue.cancel)),
    ]


async def _send_task(exchange: Exchange, record: TaskRecord) -> None:
    await exchange.send_whole(200, "application/json", msgspec.json.encode(as_json(record)))


def _task_id(exchange: Exchange) -> str:
    try:
        ids = parse_qs(exchange.query, max_num_fields=10).get("task_id", [])
    except ValueError:
        ids = []
    if len(ids) != 1 or len(ids[0]) > 128:
        raise RequestError("The query needs one task_id.", remedy="Add ?task_id=<id>.")
    return ids[0]
