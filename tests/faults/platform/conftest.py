"""Platforms that are ended whatever a test does; load, ledger and table are those of serving."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "serving")]

import fault_table  # noqa: E402 - found by the line above
from deployed import Platform  # noqa: E402
from tests.faults.serving.conftest import on_loop, reached  # noqa: E402

__all__ = ["on_loop", "reached"]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Start a platform with a home of its own."""
    made = Platform(tmp_path_factory.mktemp("platform"))
    try:
        made.start()
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def bundles(platform: Platform) -> list[str]:
    """Seal two versions; the api `version` answers which."""
    return [platform.build(version) for version in (1, 2)]


@pytest.fixture
def name(request: pytest.FixtureRequest, platform: Platform) -> Iterator[str]:
    """Return a deployment's name that nobody else uses; it is deleted in the end."""
    chosen = "d" + hashlib.sha256(request.node.name.encode()).hexdigest()[:8]
    yield chosen
    platform.command("deployment", "delete", chosen, "--yes", expect=None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the full counts the time that they take."""
    for item in items:
        if item.path.parent == _HERE:
            item.add_marker(pytest.mark.timeout(300 + 20_000 * fault_table.SHARE))
