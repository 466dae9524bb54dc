"""What requests meet: the routes of one revision, and how many requests are within them."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import ASGIApp

REVISION_HEADER = b"x-dosirak-revision"


@dataclass(slots=True)
class ServedRoutes:
    """The routes of one revision.

    Attributes:
        routes: finds the endpoint of a path and answers.
        revision: said with every answer; empty where there is only ever one.
        in_progress: requests that began here and have not been answered to their end.
    """

    routes: ASGIApp
    revision: str = ""
    in_progress: int = 0
