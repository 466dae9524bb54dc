"""A store, and a third-party framework found by its entry point (`tests/fakes/plugins`)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dosirak.models.framework import framework, framework_names
from dosirak.store import Store

PLUGINS = Path(__file__).parents[2] / "fakes" / "plugins"


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(PLUGINS))
    framework.cache_clear()
    framework_names.cache_clear()
    yield
    framework.cache_clear()
    framework_names.cache_clear()
    sys.modules.pop("dosirak_tally", None)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store that the environment names."""
    monkeypatch.setenv("DOSIRAK_HOME", str(tmp_path / "home"))
    return Store(tmp_path / "home" / "store")


@pytest.fixture
def tally(plugins: None):
    """The class of models that the fake framework saves."""
    from dosirak_tally import Tally

    return Tally
