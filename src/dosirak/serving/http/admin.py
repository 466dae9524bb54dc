"""Routes for whoever runs the server: reload, and what the last reload came to.

The guard lets in who connects from this machine and carries the admin token; the service's own
token does not open them.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from dosirak.errors import FieldProblem, InvalidInput
from dosirak.serving.http.exchange import Exchange
from dosirak.serving.http.routes import Endpoint
from dosirak.serving.reloads import ReloadOrder, ReloadOutcome, ReloadState

_NOT_KEPT = [(b"cache-control", b"no-store")]


class Reloads(Protocol):
    """Something that can put another revision in the place of the one that serves."""

    async def reload(self, order: ReloadOrder) -> ReloadOutcome:
        """Serve what the order names; answer when it is served, or say why it is not.

        Raises:
            ReloadRefused: the new revision cannot be served; the old one serves on.
            InvalidInput: the order names what this server may not be turned to.
            Overloaded: too many reloads wait.
        """
        ...

    def state(self) -> ReloadState:
        """Say what is served and how the last reload ended."""
        ...


def admin_endpoints(reloads: Reloads) -> list[Endpoint]:
    """Return the endpoints of `guard.ADMIN_PATHS`."""

    async def reload(exchange: Exchange) -> None:
        request = await exchange.read()
        outcome = await reloads.reload(_order(bytes(request.body)))
        await _send(exchange, outcome)

    async def state(exchange: Exchange) -> None:
        await _send(exchange, reloads.state())

    return [Endpoint("/admin/reload", {"POST": reload, "GET": state})]


def _order(body: bytes) -> ReloadOrder:
    if not body.strip():
        return ReloadOrder()
    try:
        return msgspec.json.decode(body, type=ReloadOrder)
    except msgspec.DecodeError as error:
        raise InvalidInput(
            "The body is not an order to reload.",
            remedy='Send nothing, or {"target": "name:version"}.',
            fields=[FieldProblem("", str(error))],
        ) from error


async def _send(exchange: Exchange, value: object) -> None:
    await exchange.send_whole(200, "application/json", msgspec.json.encode(value), _NOT_KEPT)
