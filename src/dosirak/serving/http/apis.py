"""The endpoint of one api: read the request, pass it on undecoded, send what comes back."""

from __future__ import annotations

import time

from dosirak.errors import RequestError
from dosirak.observe.metrics import ServingMetrics
from dosirak.payload.wire import WireResponse
from dosirak.serving.calls import ApiDescription, Calls
from dosirak.serving.http.exchange import Exchange
from dosirak.serving.http.options import HttpOptions
from dosirak.serving.http.routes import Endpoint
from dosirak.serving.lateness import TIMEOUT_HEADER
from dosirak.serving.problems import status_headers
from dosirak.spec.context import Context


def api_endpoint(
    api: ApiDescription, calls: Calls, *, options: HttpOptions, metrics: ServingMetrics
) -> Endpoint:
    """Return the endpoint that answers calls of `api`."""

    async def answer(exchange: Exchange) -> None:
        request = await exchange.read()
        context = Context(
            request_id=exchange.request_id,
            headers=exchange.headers,
            deadline_s=time.monotonic() + time_allowed_s(exchange, api, options),
        )
        timings = exchange.timings
        arrived_s = time.monotonic()
        response = await exchange.while_connected(calls.call(api.name, request, context, timings))
        if not timings.shared:
            timings.queue_s = max(0.0, timings.began_s - arrived_s)
            metrics.stages.call_timed((api.name,), timings)
        if isinstance(response, WireResponse) and response.status >= 400:
            metrics.error_passed_on(response.status, response.body)
            exchange.extra_headers += [
                (name.encode("ascii"), value.encode("ascii"))
                for name, value in status_headers(response.status)
            ]
        await exchange.answer(response)

    return Endpoint(api.route, dict.fromkeys(api.methods, answer), label=api.name)


def time_allowed_s(exchange: Exchange, api: ApiDescription, options: HttpOptions) -> float:
    """Return how long the call may take: the api's or the server's limit, or less if asked.

    Raises:
        RequestError: the caller's own limit is not a positive number of seconds.
    """
    allowed_s = options.timeout_s if api.timeout_s is None else api.timeout_s
    asked = exchange.headers.get(TIMEOUT_HEADER)
    if asked is None:
        return allowed_s
    try:
        asked_s = float(asked)
    except ValueError:
        asked_s = 0.0
    if not asked_s > 0.0:
        raise RequestError(
            "X-Request-Timeout is not a positive number of seconds.",
            remedy="Send a number such as 2.5, or leave the header out.",
        )
    return min(allowed_s, asked_s)
