"""What a server says of itself: health, metrics, the schemas, and the page to try the apis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import msgspec

from dosirak.observe import metrics as metric_names
from dosirak.observe.health import Health
from dosirak.observe.metrics import ServingMetrics
from dosirak.serving.calls import Calls, ServiceDescription
from dosirak.serving.http.exchange import Exchange
from dosirak.serving.http.openapi import openapi_document
from dosirak.serving.http.routes import Answer, Endpoint
from dosirak.serving.proxied import prefix_of

_PAGE_POLICY = (
    b"content-security-policy",
    b"default-src 'self'; img-src 'self' blob:; media-src 'self' blob:; base-uri 'none';"
    b" form-action 'none'; frame-ancestors 'none'",
)
_PAGE_FILES = {
    "/": ("try.html", "text/html; charset=utf-8"),
    "/-/try.css": ("try.css", "text/css; charset=utf-8"),
    "/-/api_forms.js": ("api_forms.js", "text/javascript; charset=utf-8"),
    "/-/try.js": ("try.js", "text/javascript; charset=utf-8"),
    "/-/icon.svg": ("icon.svg", "image/svg+xml"),
}


def information_endpoints(
    description: ServiceDescription, calls: Calls, metrics: ServingMetrics, *, revision: str = ""
) -> list[Endpoint]:
    """Return every endpoint that is not an api's."""
    own = {"revision": revision} if revision else {}
    schema = msgspec.json.encode({**description.schema, **own})
    openapi = openapi_document(description)
    return [
        Endpoint("/livez", {"GET": _probe(calls, lambda health: health.live, own)}),
        Endpoint("/readyz", {"GET": _probe(calls, lambda health: health.ready, own)}),
        Endpoint(
            "/healthz", {"GET": _probe(calls, lambda health: health.live and health.ready, own)}
        ),
        Endpoint("/metrics", {"GET": _metrics(metrics)}),
        Endpoint("/schema.json", {"GET": _constant(schema, "application/json")}),
        Endpoint("/openapi.json", {"GET": _openapi(openapi)}),
        *(
            Endpoint(path, {"GET": _page(_page_file(name), media_type)})
            for path, (name, media_type) in _PAGE_FILES.items()
        ),
    ]


def _openapi(document: dict[str, Any]) -> Answer:
    plain = msgspec.json.encode(document)

    async def answer(exchange: Exchange) -> None:
        prefix = prefix_of(exchange.scope)
        own = {**document, "servers": [{"url": prefix}]}
        body = msgspec.json.encode(own) if prefix else plain
        await exchange.send_whole(200, "application/json", body)

    return answer


def _page(content: bytes, media_type: str) -> Answer:
    """Answer with a file of the page, its links under the caller's prefix."""

    async def answer(exchange: Exchange) -> None:
        prefix = prefix_of(exchange.scope).encode("ascii")
        links = media_type.startswith("text/html") and prefix
        body = content.replace(b'="/', b'="' + prefix + b"/") if links else content
        await exchange.send_whole(200, media_type, body, [_PAGE_POLICY])

    return answer


def _page_file(name: str) -> bytes:
    return files("dosirak.serving.http").joinpath("try_page", name).read_bytes()


def _constant(
    body: bytes, media_type: str, headers: list[tuple[bytes, bytes]] | None = None
) -> Answer:
    async def answer(exchange: Exchange) -> None:
        await exchange.send_whole(200, media_type, body, headers or [])

    return answer


def _probe(calls: Calls, holds: Callable[[Health], bool], own: Mapping[str, str]) -> Answer:
    async def answer(exchange: Exchange) -> None:
        health = calls.health()
        ok = holds(health)
        body = msgspec.json.encode(
            {"status": "ok" if ok else "unavailable", "reason": health.reason, **own}
        )
        await exchange.send_whole(
            200 if ok else 503, "application/json", body, [(b"cache-control", b"no-store")]
        )

    return answer


def _metrics(metrics: ServingMetrics) -> Answer:
    async def answer(exchange: Exchange) -> None:
        await exchange.send_whole(
            200, metric_names.CONTENT_TYPE, metrics.render(), [(b"cache-control", b"no-store")]
        )

    return answer
