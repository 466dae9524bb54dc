"""Plain requests on their way to the pool, and what metrics and the access log are told of them.

One update of the metrics and one record of the log for all that one message answered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from dosirak.errors import DosirakError
from dosirak.observe.access_log import AccessLog, AccessRecords
from dosirak.observe.metrics import ServingMetrics
from dosirak.observe.traces import TRACEPARENT, TracedRequest, Tracer
from dosirak.payload.wire import Body
from dosirak.serving.answer_heads import revision_line
from dosirak.serving.calls import ApiDescription, ServiceDescription
from dosirak.serving.hot_protocol import HotRequest, HotRoute
from dosirak.serving.messages import AnswerBatch
from dosirak.serving.pending import PendingCall
from dosirak.serving.pool import Pool
from dosirak.serving.proxied import forwarded_client


@dataclass(frozen=True, slots=True)
class HotAccount:
    """Tells metrics, the access log and traces of the requests of one revision."""

    metrics: ServingMetrics
    access_log: AccessLog | None
    revision: str = ""
    tracer: Tracer | None = None
    scheme: str = "http"
    behind_proxy: bool = False

    def take_batch(
        self, api: ApiDescription, calls: Sequence[PendingCall], batch: AnswerBatch
    ) -> None:
        """Note one message answered, and its plain requests."""
        requests = [call for call in calls if isinstance(call, HotRequest) and not call.noted]
        began_s = batch.began_s
        if began_s:
            queues_s = [began_s - call.arrived_s for call in calls]
            self.metrics.stages.batch_ran(
                (api.name,), queues_s, batch.rows, batch.calls, batch.timings()
            )
        if requests:
            self.note(api, requests, batch, together=len(calls))

    def note(
        self,
        api: ApiDescription,
        requests: Iterable[HotRequest],
        batch: AnswerBatch | None = None,
        *,
        together: int = 1,
        error: str = "",
    ) -> None:
        """Note requests answered, by a worker in a message of `together` if there is one."""
        now_s = time.monotonic()
        is_proxied = self.behind_proxy
        durations: dict[int, list[float]] = {}
        entries: list[tuple[int, float, str, str, int, int, str]] = []
        for request in requests:
            request.noted = True
            took_s = now_s - request.arrived_s
            durations.setdefault(request.status, []).append(took_s)
            entries.append(
                (
                    request.status,
                    took_s,
                    request.request_id,
                    self.client_of(request) if is_proxied else request.connection.client,
                    len(request.body),
                    request.response_bytes,
                    request.plain.trace_id if request.trace is None else request.trace.trace_id,
                )
            )
            if self.tracer is not None and request.trace is not None:
                told = _traced(request, api, now_s, batch, together, error, self)
                self.tracer.end(request.trace, told)
        for status, values in durations.items():
            self.metrics.requests_ended(api.name, status, values)
        self.metrics.revision_answered(self.revision, len(entries))
        if self.access_log is not None:
            self.access_log.write_all(AccessRecords("POST", api.route, api.name, entries))

    def client_of(self, request: HotRequest) -> str:
        """Return who asked."""
        if self.behind_proxy:
            return forwarded_client(request.plain.wire.headers)
        return request.connection.client


class PooledRoute:
    """The plain requests of one api.

    Those answered with errors in one turn of the loop are noted together, after the last of them:
    when there is more to do than can be done, refusing must cost less than serving.
    """

    __slots__ = ("_account", "_api", "_failed", "_pool", "revision", "timeout_s")

    def __init__(
        self, api: ApiDescription, pool: Pool, account: HotAccount, timeout_s: float
    ) -> None:
        self._api = api
        self._pool = pool
        self._account = account
        self._failed: dict[str, list[HotRequest]] = {}
        self.timeout_s = timeout_s
        self.revision = revision_line(account.revision)

    def submit(self, request: HotRequest) -> None:
        """Take the request."""
        self._account.metrics.request_began()
        if self._account.tracer is not None:
            self._trace(request, self._account.tracer)
        try:
            self._pool.submit(self._api.name, request)
        except DosirakError as error:
            request.failed(error)

    def withdraw(self, request: HotRequest) -> None:
        """Nobody waits for it any more."""
        self._pool.withdraw(self._api.name, request)

    def _trace(self, request: HotRequest, tracer: Tracer) -> None:
        """Give the request its place in a trace, and tell the worker in its head."""
        headers = request.plain.wire.headers
        request.trace = trace = tracer.begin(headers)
        told = {**headers, TRACEPARENT: trace.traceparent}
        request.head = msgspec.structs.replace(request.plain.wire, headers=told)

    def note(self, request: HotRequest, batch: AnswerBatch | None = None) -> None:
        """Count and log a request that is not answered at the end of its batch, or without."""
        if not request.noted:
            self._account.note(self._api, [request], batch)

    def note_failure(self, status: int, body: Body) -> None:
        """Count an error that a worker answered."""
        self._account.metrics.error_passed_on(status, body)

    def note_error(self, request: HotRequest, error: DosirakError) -> None:
        """Count and log a request that was answered with an error of the front."""
        self._account.metrics.error_answered(self._api.name, error)
        if request.noted:
            return
        request.noted = True
        if not self._failed:
            asyncio.get_running_loop().call_soon(self._note_failed)
        self._failed.setdefault(error.code, []).append(request)

    def _note_failed(self) -> None:
        failed, self._failed = self._failed, {}
        for code, requests in failed.items():
            self._account.note(self._api, requests, error=code)


def _traced(
    request: HotRequest,
    api: ApiDescription,
    now_s: float,
    batch: AnswerBatch | None,
    requests: int,
    error: str,
    account: HotAccount,
) -> TracedRequest:
    return TracedRequest(
        method="POST",
        path=api.route,
        route=api.route,
        api=api.name,
        status=request.status,
        request_id=request.request_id,
        client=account.client_of(request),
        headers=request.plain.wire.headers,
        request_bytes=len(request.body),
        response_bytes=request.response_bytes,
        arrived_s=request.arrived_s,
        ended_s=now_s,
        began_s=batch.began_s if batch else 0.0,
        call_s=batch.compute_s if batch else 0.0,
        requests=requests,
        error=error,
        scheme=account.scheme,
    )


def hot_routes(
    description: ServiceDescription, pool: Pool, account: HotAccount, *, timeout_s: float
) -> dict[bytes, HotRoute]:
    """Return the routes whose plain requests need no application."""
    return {
        api.route.encode("ascii"): PooledRoute(
            api, pool, account, timeout_s if api.timeout_s is None else api.timeout_s
        )
        for api in description.apis
        if api.kind == "api" and api.runs != "alone" and "POST" in api.methods and _plain(api.route)
    }


def _plain(route: str) -> bool:
    return route.isascii() and "%" not in route
