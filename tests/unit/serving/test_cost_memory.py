"""What calls cost is remembered from one run of a server to the next, and never in the way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dosirak.serving.batching import Waiting
from dosirak.serving.calls import ApiDescription
from dosirak.serving.cost_curve import CostCurve
from dosirak.serving.cost_memory import CostMemory
from dosirak.serving.dispatcher import Dispatcher, DispatchReport
from dosirak.serving.flights import Lane

API = ApiDescription(
    "predict", "/predict", "api", ("POST",), True, None, "joined", max_batch_rows=100, p95_s=0.1
)


def curve() -> CostCurve:
    learned = CostCurve()
    for rows in (1, 10, 50):
        learned.observe(rows, 0.010 + 0.001 * rows)
    return learned


def test_a_replica_that_starts_again_is_tuned_from_its_first_batch(tmp_path: Path) -> None:
    CostMemory(tmp_path / "costs").keep("abc", {"predict": curve()})
    lane = Lane(API)
    assert lane.waiting() == Waiting()
    lane.teach(CostMemory(tmp_path / "costs").recall("abc")["predict"])
    # Two calls of 40 rows, 50 ms each, fit into the promise of 100 ms.
    assert lane.most_rows == pytest.approx(40, abs=1)
    assert lane.waiting().call_s is not None


def test_each_revision_has_its_own(tmp_path: Path) -> None:
    memory = CostMemory(tmp_path)
    memory.keep("abc", {"predict": curve()})
    assert memory.recall("def") == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"predict": 1}',
        b'{"predict": {"weight": -1.0, "rows": 1.0}}',
        b'{"predict": {"weight": 1.0, "rows": 0.0, "seconds": 1.0}}',
    ],
)
def test_a_file_that_says_nothing_sound_is_not_believed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "abc.json").write_bytes(content)
    assert CostMemory(tmp_path).recall("abc") == {}


def test_a_disk_that_refuses_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "costs").write_text("a file where the directory should be")
    memory = CostMemory(tmp_path / "costs")
    memory.keep("abc", {"predict": curve()})
    assert memory.recall("abc") == {}


def test_the_oldest_are_forgotten(tmp_path: Path) -> None:
    memory = CostMemory(tmp_path)
    for number in range(260):
        memory.keep(f"r{number}", {"predict": curve()})
    assert len(list(tmp_path.iterdir())) == 256


def test_a_dispatcher_hands_on_what_it_was_taught() -> None:
    async def run() -> dict[str, CostCurve]:
        report = DispatchReport(lambda: None, lambda *_: None)
        dispatcher = Dispatcher(report, hang_grace_s=1.0)
        dispatcher.add_api(API)
        dispatcher.teach({"predict": curve(), "gone": curve()})
        return dispatcher.learned()

    assert asyncio.run(run()) == {"predict": curve()}
