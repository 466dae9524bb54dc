"""What requests meet: the routes of one revision, and how many requests are within them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.types import ASGIApp

from dosirak.errors import ApiNotFound
from dosirak.serving.http.exchange import Exchange
from dosirak.serving.http.mounts import MountEndpoint

REVISION_HEADER = b"x-dosirak-revision"


def _leave_none() -> None:
    pass


@dataclass(slots=True)
class ServedRoutes:
    """The routes of one revision.

    Attributes:
        routes: finds the endpoint of a path and answers.
        revision: said with every answer; empty where there is only ever one.
        in_progress: requests that began here and have not been answered to their end.
        mounts: the endpoints of mounted applications.
        leave_sockets: has every WebSocket closed.
    """

    routes: ASGIApp
    revision: str = ""
    in_progress: int = 0
    mounts: Sequence[MountEndpoint] = ()
    leave_sockets: Callable[[], None] = _leave_none

    def takes_sockets(self, path: str) -> bool:
        """Whether a WebSocket may be opened at a path."""
        return any(mount.takes_sockets and mount.covers(path) for mount in self.mounts)

    async def answer_socket(self, exchange: Exchange) -> None:
        """Serve a WebSocket (see `MountEndpoint.answer`).

        Raises:
            ApiNotFound: no application is mounted there.
        """
        near = [mount for mount in self.mounts if mount.covers(exchange.path)]
        if not near:
            raise ApiNotFound("There is nothing at this path.", remedy="See /schema.json.")
        await max(near, key=lambda mount: len(mount.path)).answer(exchange)
