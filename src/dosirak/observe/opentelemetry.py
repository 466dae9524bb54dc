"""OpenTelemetry: the one file that knows it (`dosirak[otel]`).

The front sends the spans of requests; a worker makes the call's span current while user code runs,
so that spans of the author's own, and whatever the author calls, join the trace. Where to, how many
and under which name is said by the standard `OTEL_…` variables. Nothing here fails a server: what
cannot be had is said once in the log.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Any

from dosirak.observe.logs import ROOT_LOGGER
from dosirak.observe.traces import Trace, TracedRequest, Tracer, wanted_exporter

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import SpanContext

# How long an end waits for spans to be sent: a collector that is gone must not keep a server.
_CLOSE_S = 2.0
_log = logging.getLogger(f"{ROOT_LOGGER}.traces")


def open_tracer(service: str, environment: Mapping[str, str]) -> Tracer | None:
    """Return what makes the front's spans; None when nobody asks for them, or they cannot be sent.

    Args:
        service: the name of the service, unless the environment has one.
        environment: the variables of the process.
    """
    opened = _open_provider(service, environment, complain=True)
    return None if opened is None else _RequestTracer(*opened)


class _RequestTracer:
    """Makes the spans of requests after the fact."""

    def __init__(self, provider: TracerProvider, processor: SpanProcessor) -> None:
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._processor = processor
        self._scope = InstrumentationScope("dosirak.serving")
        self._sampler = provider.sampler
        self._ids = provider.id_generator
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, headers: Mapping[str, str]) -> Trace:
        """Give a request its place: in its caller's trace, or in a new one."""
        from opentelemetry.trace import SpanKind, get_current_span

        caller = None
        if "traceparent" in headers:
            caller = self._propagator.extract(headers)
        parent = get_current_span(caller).get_span_context() if caller is not None else None
        known = parent is not None and parent.is_valid
        number = parent.trace_id if parent and known else self._ids.generate_trace_id()
        result = self._sampler.should_sample(
            caller,
            number,
            "request",
            SpanKind.SERVER,
            {},
            (),
            parent.trace_state if parent else None,
        )
        sampled = result.decision.is_sampled()
        call_id = self._ids.generate_span_id()
        trace_id = f"{number:032x}"
        return Trace(
            trace_id=trace_id,
            traceparent=f"00-{trace_id}-{call_id:016x}-{sampled:02x}",
            server_id=self._ids.generate_span_id(),
            call_id=call_id,
            parent_id=parent.span_id if parent and known else 0,
            sampled=sampled,
            state=headers.get("tracestate", "") if known else "",
        )

    def end(self, trace: Trace, request: TracedRequest) -> None:
        """Make its spans; they are dropped when too many wait to be sent."""
        if not trace.sampled:
            return
        # The wall clock now, less what has passed: all processes of a machine share both clocks.
        wall_ns = time.time_ns() - time.monotonic_ns()
        arrived_ns = wall_ns + int(request.arrived_s * 1e9)
        ended_ns = wall_ns + int(request.ended_s * 1e9)
        self._emit_server(trace, request, arrived_ns, ended_ns)
        if request.began_s:
            began_ns = max(arrived_ns, wall_ns + int(request.began_s * 1e9))
            called_ns = min(ended_ns, began_ns + int(request.call_s * 1e9))
            queue_id = self._ids.generate_span_id()
            self._emit_child(trace, queue_id, "queue", (arrived_ns, began_ns), {})
            attributes = {"dosirak.api": request.api, "dosirak.batch.requests": request.requests}
            name = f"call {request.api}"
            self._emit_child(trace, trace.call_id, name, (began_ns, called_ns), attributes)

    def close(self) -> None:
        """Send what is waiting, for a moment at most."""
        _close(self._provider)

    def _emit_server(
        self, trace: Trace, request: TracedRequest, arrived_ns: int, ended_ns: int
    ) -> None:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanKind, Status, StatusCode

        failed = request.status >= 500 or bool(request.error)
        span = ReadableSpan(
            f"{request.method} {request.route}" if request.route else request.method,
            context=_span_context(trace, trace.server_id),
            parent=_span_context(trace, trace.parent_id, remote=True) if trace.parent_id else None,
            resource=self._provider.resource,
            attributes=_server_attributes(request),
            kind=SpanKind.SERVER,
            status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
            start_time=arrived_ns,
            end_time=ended_ns,
            instrumentation_scope=self._scope,
        )
        self._processor.on_end(span)

    def _emit_child(
        self,
        trace: Trace,
        span_id: int,
        name: str,
        from_to_ns: tuple[int, int],
        attributes: Mapping[str, str | int],
    ) -> None:
        from opentelemetry.sdk.trace import ReadableSpan

        span = ReadableSpan(
            name,
            context=_span_context(trace, span_id),
            parent=_span_context(trace, trace.server_id),
            resource=self._provider.resource,
            attributes=attributes,
            start_time=from_to_ns[0],
            end_time=from_to_ns[1],
            instrumentation_scope=self._scope,
        )
        self._processor.on_end(span)


def _span_context(trace: Trace, span_id: int, *, remote: bool = False) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags, TraceState

    state = TraceState.from_header([trace.state]) if trace.state else TraceState()
    return SpanContext(
        int(trace.trace_id, 16), span_id, remote, TraceFlags(TraceFlags.SAMPLED), state
    )


def _server_attributes(request: TracedRequest) -> dict[str, str | int]:
    """Return what the semantic conventions for HTTP servers name, and two of our own."""
    host, _, port = request.headers.get("host", "").rpartition(":")
    if not port.isdigit():
        host, port = request.headers.get("host", ""), ""
    attributes: dict[str, str | int] = {
        "http.request.method": request.method,
        "url.path": request.path,
        "url.scheme": request.scheme,
        "http.response.status_code": request.status,
        "network.protocol.name": "http",
        "http.request.body.size": request.request_bytes,
        "http.response.body.size": request.response_bytes,
        "http.route": request.route,
        "server.address": host,
        "client.address": request.client,
        "user_agent.original": request.headers.get("user-agent", ""),
        "dosirak.api": request.api,
        "dosirak.request_id": request.request_id,
    }
    if port:
        attributes["server.port"] = int(port)
    if request.error or request.status >= 500:
        attributes["error.type"] = request.error or str(request.status)
    return {name: value for name, value in attributes.items() if value != ""}


class Propagation:
    """Makes a request's span the current one of a worker's thread or task."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.baggage.propagation import W3CBaggagePropagator
        from opentelemetry.propagators.composite import CompositePropagator
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._propagator = CompositePropagator(
            [TraceContextTextMapPropagator(), W3CBaggagePropagator()]
        )

    def attach(self, headers: Mapping[str, str]) -> Any:
        """Make the span that these headers name current; return what `detach` needs."""
        from opentelemetry import context

        return context.attach(self._propagator.extract(headers))

    def detach(self, token: Any) -> None:
        """Make the span current that was so before."""
        from opentelemetry import context

        context.detach(token)

    def close(self) -> None:
        """Send the spans of user code that are waiting, for a moment at most."""
        _close(self._provider)


def open_propagation(service: str, environment: Mapping[str, str]) -> Propagation | None:
    """Return what makes spans current in a worker; None when nobody asks for traces.

    Spans that user code makes are sent where the front's are, unless it set up a provider itself.
    """
    opened = _open_provider(service, environment, complain=False)
    if opened is None:
        return None
    from opentelemetry import trace

    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(opened[0])
    return Propagation(opened[0])


def outgoing_headers() -> dict[str, str]:
    """Return the headers that continue the current span's trace; none where there is none."""
    headers: dict[str, str] = {}
    # Where nobody imported it there is no current span.
    if "opentelemetry.trace" in sys.modules:
        from opentelemetry import propagate

        propagate.inject(headers)
    return headers


def _open_provider(
    service: str, environment: Mapping[str, str], *, complain: bool
) -> tuple[TracerProvider, SpanProcessor] | None:
    wanted = wanted_exporter(environment)
    if not wanted:
        return None
    problem = _unable(wanted, environment)
    if not problem:
        try:
            return _make_provider(service, wanted)
        except Exception as error:
            # Variables that do not fit each other; whoever set them looks for spans, and here.
            problem = f"{error}. Correct the OTEL_ variables."
    if complain:
        _log.warning("No traces are sent: %s", problem)
    return None


def _unable(wanted: str, environment: Mapping[str, str]) -> str:
    if wanted not in ("otlp", "console"):
        return f"OTEL_TRACES_EXPORTER={wanted} is not known. Use otlp, console or none."
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
    )
    if wanted == "otlp" and protocol != "http/protobuf":
        return (
            f"OTLP is sent as http/protobuf, not as {protocol}. Unset OTEL_EXPORTER_OTLP_PROTOCOL."
        )
    needed = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
    try:
        for name in needed:
            import_module(name)
    except ImportError:
        return "OpenTelemetry is not installed. Install it with: pip install 'dosirak[otel]'."
    return ""


def _make_provider(service: str, wanted: str) -> tuple[TracerProvider, SpanProcessor]:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    # The name in the environment wins over ours.
    resource = Resource.create({}).merge(Resource({"service.name": service}))
    resource = resource.merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter() if wanted == "otlp" else ConsoleSpanExporter()
    # It queues, drops what is too much, and sends from a thread of its own.
    processor = BatchSpanProcessor(exporter)
    provider.add_span_processor(processor)
    return provider, processor


def _close(provider: TracerProvider) -> None:
    closing = Thread(target=provider.shutdown, name="traces-close", daemon=True)
    closing.start()
    closing.join(_CLOSE_S)
