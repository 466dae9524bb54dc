"""A service that says what it knows of the trace that it is called in."""

from __future__ import annotations

from collections.abc import Iterator

from opentelemetry import trace

import dosirak
from dosirak.observe.opentelemetry import outgoing_headers

tracer = trace.get_tracer(__name__)


@dosirak.service(resources=dosirak.Resources(threads=2))
class Traced:
    @dosirak.api
    def told(self, context: dosirak.Context) -> str:
        return context.headers.get("traceparent", "")

    @dosirak.api
    def within(self) -> dict[str, str]:
        """Make a span; return what our client would send from here."""
        with tracer.start_as_current_span("own"):
            return outgoing_headers()

    @dosirak.api
    async def within_async(self) -> dict[str, str]:
        with tracer.start_as_current_span("own"):
            return outgoing_headers()

    @dosirak.api
    def within_stream(self) -> Iterator[str]:
        for _ in range(2):
            yield outgoing_headers()["traceparent"]

    @dosirak.api(batchable=True)
    def joined(self, values: list[int]) -> list[bool]:
        return [trace.get_current_span().get_span_context().is_valid for _ in values]

    @dosirak.api
    def fail(self) -> int:
        raise ValueError
