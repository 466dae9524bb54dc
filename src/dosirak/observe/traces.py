"""Traces, as far as they need no library: who wants them, ids, and what is said of a request.

A request's span is made when it has been answered, from the times that the front and the worker
noted anyway; only the ids are made when it arrives, because the worker is told them. The file
`opentelemetry` sends spans on; where nobody asks for traces there is no `Tracer` and nothing to do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

TRACEPARENT = "traceparent"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?", re.ASCII)
_NONE = "0" * 32


@dataclass(frozen=True, slots=True)
class Trace:
    """A request's place in a trace.

    Attributes:
        trace_id: 32 hexadecimal digits.
        traceparent: the W3C header that says so to whoever is called for the request; the span it
            names is the call's.
        server_id: the id of the request's own span.
        call_id: the id of the span of the call in the worker.
        parent_id: the id of the caller's span; 0 when the trace begins here.
        sampled: whether spans are sent.
        state: the caller's W3C `tracestate`.
    """

    trace_id: str
    traceparent: str
    server_id: int
    call_id: int
    parent_id: int
    sampled: bool
    state: str


@dataclass(frozen=True, slots=True)
class TracedRequest:
    """What a trace says of a request that was answered; times are of `time.monotonic()`.

    Attributes:
        route: the path as the service declares it; empty when there is nothing there.
        began_s: when a worker began with it, or with its message; 0 when none did.
        call_s: how long that took.
        requests: how many the message had.
        error: the code of the error that the front answered with, or that ended a stream.
        scheme: `https` where the connection was encrypted up to here.
    """

    method: str
    path: str
    route: str
    api: str
    status: int
    request_id: str
    client: str
    headers: Mapping[str, str]
    request_bytes: int
    response_bytes: int
    arrived_s: float
    ended_s: float
    began_s: float
    call_s: float
    requests: int = 1
    error: str = ""
    scheme: str = "http"


class Tracer(Protocol):
    """Makes spans of requests and sends them on, from a thread of its own."""

    def begin(self, headers: Mapping[str, str]) -> Trace:
        """Give a request its place: in its caller's trace, or in a new one."""
        ...

    def end(self, trace: Trace, request: TracedRequest) -> None:
        """Make its spans; they are dropped when too many wait to be sent."""
        ...

    def close(self) -> None:
        """Send what is waiting, for a moment at most."""
        ...


def trace_id_of(traceparent: str) -> str:
    """Return the trace id in a W3C `traceparent`; empty when it is none."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return found[1] if found and found[1] != _NONE else ""


def wanted_exporter(environment: Mapping[str, str]) -> str:
    """Return where OpenTelemetry's standard variables ask for spans to go; empty for nowhere.

    `OTEL_TRACES_EXPORTER` says it, else an endpoint does: without either nothing is sent, although
    the specification would send to this machine then.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ""
    named = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if named:
        return "" if named == "none" else named
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return "otlp" if any(environment.get(name, "").strip() for name in endpoints) else ""
