"""A platform with pages and no deployment, and a browser without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.unit.deployment.console.seeded import Seeded, seeded
from tests.unit.deployment.platform_on_paper import store

from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.state.database import open_state
from dosirak.store import Store

__all__ = ["store"]


@pytest.fixture
def platform(tmp_path: Path, store: Store) -> Iterator[Seeded]:
    paths = PlatformPaths(tmp_path / "home")
    state = open_state(paths)
    yield seeded(paths, state, store, "http://127.0.0.1:1")
    state.close()


@pytest.fixture
def browser(platform: Seeded) -> TestClient:
    return client_of(platform)


def client_of(platform: Seeded, *, require_tokens: bool = False) -> TestClient:
    return TestClient(
        platform.application(require_tokens=require_tokens),
        base_url="http://127.0.0.1:8801",
        follow_redirects=False,
        raise_server_exceptions=False,
    )
