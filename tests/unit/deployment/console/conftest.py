"""A platform with pages and no deployment, and a browser without scripts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient
from tests.unit.deployment.console.seeded import Seeded, seeded
from tests.unit.deployment.platform_on_paper import store

from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state.database import open_state
from dosirak.store import Store

__all__ = ["store"]


@pytest.fixture(scope="module")
def _seeded(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[Seeded]:
    """One for a file: to open a database and build an application takes longer than most tests."""
    paths = PlatformPaths(tmp_path_factory.mktemp("console"))
    state = open_state(paths)
    yield seeded(paths, state, store, "http://127.0.0.1:1")
    state.close()


@pytest.fixture(scope="module")
def _browsers(_seeded: Seeded) -> dict[bool, TestClient]:
    return {need: client_of(_seeded, require_tokens=need) for need in (False, True)}


@pytest.fixture
def platform(_seeded: Seeded) -> Iterator[Seeded]:
    """An empty platform."""
    yield _seeded
    _seeded.empty()


@pytest.fixture
def browser(_browsers: dict[bool, TestClient], platform: Seeded) -> TestClient:
    """A browser at a control plane that wants no tokens."""
    return _browsers[False]


@pytest.fixture
def stranger(_browsers: dict[bool, TestClient], platform: Seeded) -> Iterator[TestClient]:
    """A browser at a control plane that wants tokens."""
    yield _browsers[True]
    _browsers[True].cookies.clear()


def client_of(platform: Seeded, *, require_tokens: bool = False) -> TestClient:
    return TestClient(
        platform.application(require_tokens=require_tokens),
        base_url="http://127.0.0.1:8801",
        follow_redirects=False,
        raise_server_exceptions=False,
    )
