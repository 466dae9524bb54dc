"""Servers that are ended whatever a test does, and the table that figures go to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

sys.path[:0] = [str(Path(__file__).parent)]

import cores  # noqa: E402 - found by the line above
import fault_table  # noqa: E402 - found by the line above
from fault_table import Row  # noqa: E402
from served import Served  # noqa: E402


@pytest.fixture
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """Start servers of `victims.py`."""
    started: list[Served] = []

    def start(target: str, *options: str, **more: Any) -> Served:
        server = Served(target, tmp_path_factory.mktemp("served"), *options, **more)
        started.append(server)
        return server

    yield start
    for server in started:
        server.end()


@pytest.fixture
def reached(request: pytest.FixtureRequest) -> Iterator[Callable[..., None]]:
    """Note a figure for the table, which is written as soon as the test is over."""
    rows: list[Row] = []

    def note(fault: str, done: str, must: str, reached: str, holds: bool) -> None:
        print(f"{fault} | {done} | {must} | {reached} | {holds}")
        rows.append(Row(fault, done, must, reached, holds))

    yield note
    if rows and fault_table.SHARE > 0:
        fault_table.write(request.node.name, rows)


@pytest.fixture
def on_loop() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine on uvloop, apart from servers that have a core of their own."""

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        with cores.on_load_core():
            return uvloop.run(work)

    return run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the full counts the time that they take: hours, all in all."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(300 + 20_000 * fault_table.SHARE))
