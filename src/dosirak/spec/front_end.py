"""Ways to author a service, found by entry point so that the core knows none of them.

A front end is a module registered in the group `dosirak.front_ends` with the names of `FrontEnd`.
The native front end is built in: an object with a `spec` attribute that is a `ServiceSpec`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, cast

from dosirak.spec.service_spec import ServiceSpec

GROUP = "dosirak.front_ends"


class FrontEnd(Protocol):
    """What a front-end module offers."""

    NAME: str

    def recognises(self, candidate: object) -> bool:
        """Whether `candidate`, found in a user's module, is a service written this way.

        Must be cheap and must not import the foreign library when the candidate is not its own.
        """
        ...

    def spec_of(self, candidate: object, *, target: str) -> ServiceSpec:
        """Describe a recognised class or instance; `target` is its `module:attribute`.

        Raises:
            InvalidService: the author's fault.
        """
        ...

    def recognises_directory(self, directory: Path) -> bool:
        """Whether `directory` is a saved service in this front end's own layout."""
        ...

    def spec_of_directory(self, directory: Path) -> ServiceSpec:
        """Read a recognised directory. Its code runs: the caller has decided to trust it.

        Raises:
            InvalidService: the directory does not hold what its description says.
        """
        ...


@cache
def front_ends() -> tuple[FrontEnd, ...]:
    """Load every registered front end, in the order of their names."""
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return tuple(cast(FrontEnd, point.load()) for point in points)


def front_end(name: str) -> FrontEnd | None:
    """Return the front end of this name, if it is installed."""
    return next((found for found in front_ends() if name == found.NAME), None)


def recognised(candidate: object) -> Iterator[FrontEnd]:
    """Yield the front ends that recognise `candidate`."""
    return (found for found in front_ends() if found.recognises(candidate))
