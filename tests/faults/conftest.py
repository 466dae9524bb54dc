"""Shared by the fault tests: a server of operations, and what must hold of a store at any time."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "fakes" / "plugins")]

from tracing import Server  # noqa: E402 - found by the line above


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """Return a function that copies a template store to a place of its own."""
    number = 0

    def copy(template: Path) -> Path:
        nonlocal number
        shutil.rmtree(tmp_path / f"store{number}", ignore_errors=True)
        number += 1
        target = tmp_path / f"store{number}"
        if template.exists():
            shutil.copytree(template, target, symlinks=True)
        return target

    yield copy
