"""Continuous batches over real processes: streams that come, go, fail and lose their worker."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


def _items(lines: Iterator[str]) -> list[Any]:
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


def _count(server: Any, name: str, upto: int, start: int = 0) -> tuple[list[Any], str]:
    """Return the data of a stream, and its last event."""
    body = {"name": name, "upto": upto, "start": start}
    with server.client.stream("POST", "/count", json=body) as answer:
        lines = list(answer.iter_lines())
    return _items(iter(lines)), next(line for line in reversed(lines) if line.startswith("event"))


def _sets(steps: Path) -> list[set[str]]:
    return [set(line.split()) for line in steps.read_text().splitlines()]


def test_streams_share_steps_and_come_go_fail_and_outlive_their_worker(
    launch: Callable[..., Any], tmp_path: Path, until: Callable[..., Any]
) -> None:
    steps = tmp_path / "steps"
    steps.touch()
    server = launch("Continuous", environment={"STEPS": str(steps)})

    def seen(name: str) -> int:
        return sum(name in members for members in _sets(steps))

    with ThreadPoolExecutor(8) as callers:
        # Beside one that goes on until its client leaves, others of different length.
        body = {"name": "left", "upto": 10**9}
        with server.client.stream("POST", "/count", json=body) as leaving:
            # Held: an iterator that is dropped closes the connection.
            lines = leaving.iter_lines()
            assert next(lines) == "data: 1"
            short = callers.submit(_count, server, "short", 3)
            long = callers.submit(_count, server, "long", 60)
            assert short.result() == ([1, 2, 3, {}], "event: end")
            bad = callers.submit(_count, server, "bad", 20, -15)
            items, last = bad.result()
            assert (items[:2], last) == ([-14, -13], "event: error")
            assert items[2]["code"] == "service_error"
            late = callers.submit(_count, server, "late", 5)
            assert late.result() == ([1, 2, 3, 4, 5, {}], "event: end")
        assert long.result() == ([*range(1, 61), {}], "event: end")
        until(lambda: _count(server, "after", 3) and "left" not in _sets(steps)[-1])
        sets = _sets(steps)
        assert max(map(len, sets)) == 3
        assert any({"left", "long"} <= members for members in sets)
        together = Counter(name for members in sets if len(members) > 1 for name in members)
        # Whoever came while others ran joined them.
        assert {"left", "long", "short", "bad", "late"} <= set(together)

        worker = server.call("pid").json()
        endless = [callers.submit(_count, server, f"endless{at}", 10**9) for at in range(2)]
        until(lambda: seen("endless0") and seen("endless1"))
        os.kill(worker, signal.SIGKILL)
        for one in endless:
            items, last = one.result()
            assert last == "event: error"
            assert items[-1]["code"] == "worker_lost"
        assert _count(server, "again", 2) == ([1, 2, {}], "event: end")
        assert server.call("pid").json() != worker
