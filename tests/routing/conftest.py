"""One Envoy for all tests of a module, ended whatever they do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The load and the ledger are those of the fault suite.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "faults" / "serving")]

from routed import Replica, Routed  # noqa: E402 - found by the line above


@pytest.fixture(scope="module")
def routed() -> Iterator[Routed]:
    """A router without deployments."""
    one = Routed()
    try:
        one.router.ensure_running()
        yield one
    finally:
        one.close()


@pytest.fixture(scope="module")
def a(routed: Routed) -> Replica:
    """A replica."""
    return routed.replica("a")


@pytest.fixture(scope="module")
def b(routed: Routed) -> Replica:
    """Another one."""
    return routed.replica("b")
