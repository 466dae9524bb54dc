"""BentoML's clients: dosirak's, with the names of arguments that BentoML 1 gave them."""

from __future__ import annotations

from typing import Any

from dosirak import client


class SyncHTTPClient(client.SyncHTTPClient):
    """A service, called like a local object; see `dosirak.SyncHTTPClient`.

    Args:
        url: the service's address.
        timeout: the longest time for one call, in seconds; None: no limit.
        server_ready_timeout: how long to wait for readiness before the first use.
        token: sent as a bearer token.
        options: as `dosirak.SyncHTTPClient` has them.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float | None = 30.0,
        server_ready_timeout: float | None = None,
        token: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(url, token=token, **_named(options, timeout, server_ready_timeout))


class AsyncHTTPClient(client.AsyncHTTPClient):
    """A service, called like a local asynchronous object; see `SyncHTTPClient`."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float | None = 30.0,
        server_ready_timeout: float | None = None,
        token: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(url, token=token, **_named(options, timeout, server_ready_timeout))


def _named(
    options: dict[str, Any], timeout: float | None, server_ready_timeout: float | None
) -> dict[str, Any]:
    return {"timeout_s": timeout, "ready_timeout_s": server_ready_timeout, **options}
