"""A service as it stands behind a proxy: an api, a stream, a task and a mounted application."""

from __future__ import annotations

import json
from collections.abc import Iterator

import dosirak


async def mirror(scope, receive, send) -> None:
    """Say what an application is told."""
    told = {name: scope[name] for name in ("path", "root_path", "scheme", "client")}
    body = json.dumps(told).encode()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@dosirak.mount("/mirror", mirror)
@dosirak.service(resources=dosirak.Resources(threads=2))
class Proxied:
    """Stands behind a proxy."""

    @dosirak.api
    def double(self, value: int) -> int:
        return 2 * value

    @dosirak.api
    def count(self, to: int) -> Iterator[int]:
        yield from range(to)

    @dosirak.task
    def later(self, value: int) -> int:
        return value + 1
