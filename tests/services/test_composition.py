"""Services that depend on others, as real processes: in one worker, in others, elsewhere."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from dosirak import models
from dosirak.store import Store

COMPOSED = Path(__file__).parent / "composed.py"
TRACE = "00-12345678901234567890123456789012-1234567890123456-01"


@pytest.fixture
def apart(launch: Callable[..., Any]) -> Any:
    return launch("Apart", served=f"{COMPOSED}:Apart")


def test_each_service_runs_where_it_was_said(composed: Any) -> None:
    caller, called = composed.call("pids").json()
    base = int(composed.call("where").json()["pid"])
    assert (caller == called) == (composed.place == "Beside")
    assert base not in (caller, called)
    here = {caller} if composed.place == "Remote" else {caller, called, base}
    assert here == {worker.pid for worker in composed.workers}


def test_where_each_service_runs_and_what_is_not_used_is_said_at_the_start(composed: Any) -> None:
    log = composed.log()
    place = {
        "Beside": "worker in the worker of its caller",
        "Apart": "worker in 1 worker of its own",
        "Remote": "worker at http://127.0.0.1:",
    }[composed.place]
    (line,) = [line for line in log.splitlines() if "depends on:" in line]
    assert place in line
    assert "DOSIRAK_DEPENDS_WROKER names no service" in log
    assert "DOSIRAK_DEPENDS_WORKER" in log
    assert "--task-store (DOSIRAK_TASK_STORE) is not used" in log


def test_every_kind_of_call_is_answered_alike(composed: Any) -> None:
    assert composed.call("twice", x=2.5).json() == 5.0
    assert composed.call("twice_each", xs=[1, 2, 3]).json() == [2.0, 4.0, 6.0]
    assert composed.call("twice_by_futures", xs=[1, 2, 3]).json() == [2.0, 4.0, 6.0]
    assert composed.call("later", seconds=0.01).json() == 0.01
    assert composed.call("later_from_a_thread", seconds=0.01).json() == 0.01
    assert composed.call("counts", upto=40).json() == [*range(40), *range(40)]
    assert composed.call("first_of_many").json() == 0
    lines = composed.client.post(
        "/pass_on", json={"upto": 40}, headers={"accept": "application/x-ndjson"}
    ).text.split()
    assert [int(line) for line in lines] == [*range(40), *range(40)]


def test_the_stages_of_a_dependencys_calls_are_measured_and_its_costs_known(
    composed: Any,
) -> None:
    for _ in range(3):
        composed.call("twice", x=2.5)
        composed.call("later", seconds=0.0)
    text = composed.client.get("/metrics").text
    for api in ("twice", "later"):
        for stage in ("queue", "decode", "compute", "encode"):
            name = f"dosirak_dependency_{stage}_duration_seconds_count"
            is_there = f'{name}{{api="{api}",service="worker"}}' in text
            assert is_there == (composed.place == "Apart"), (api, stage)
    base = 'dosirak_dependency_handler_calls_total{api="where",service="base"}'
    composed.call("where")
    assert (base in composed.client.get("/metrics").text) == (composed.place != "Remote")


def test_errors_arrive_as_what_they_were(composed: Any) -> None:
    assert composed.call("what_fails").json() == ["service_error", "invalid_input"]
    refused = composed.call("refuse", value=7)
    assert refused.status_code == 400
    assert refused.json()["code"] == "invalid_input"
    assert refused.json()["error"] == "7 is refused."
    last = composed.client.post(
        "/pass_on", json={"upto": 1, "fail": True}, headers={"accept": "application/x-ndjson"}
    ).text.split("\n")[-2]
    assert '"code":"invalid_input"' in last


def test_request_id_and_trace_travel_two_levels_and_credentials_do_not(
    composed: Any,
) -> None:
    headers = {"x-request-id": "r-42", "traceparent": TRACE, "authorization": "Bearer t"}
    found = composed.client.post("/where", json={}, headers=headers).json()
    assert (found["request_id"], found["traceparent"]) == ("r-42", TRACE)
    assert found["authorization"] == ""


def test_the_deadline_of_the_caller_bounds_the_call(composed: Any) -> None:
    late = composed.client.post(
        "/later", json={"seconds": 30}, headers={"x-request-timeout": "0.3"}
    )
    assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
    assert composed.call("twice", x=1).json() == 2.0


def test_a_call_that_nobody_waits_for_is_cancelled_in_the_other_service(
    composed: Any, tmp_path: Path, until: Callable[..., None]
) -> None:
    marker = tmp_path / "marker"
    with pytest.raises(Exception, match="timed out"):
        composed.client.post("/later", json={"seconds": 30, "marker": str(marker)}, timeout=0.5)
    until(marker.exists)
    assert marker.read_text() == "cancelled"


def test_a_call_that_would_block_the_loop_is_refused(composed: Any) -> None:
    assert composed.call("blocks_the_loop").status_code == 500
    assert "to_async.pid" in composed.log()


def test_calls_of_many_callers_are_joined_in_the_workers_of_the_other(
    apart: Any,
) -> None:
    xs = list(range(40))
    assert apart.call("twice_each", xs=xs).json() == [2.0 * x for x in xs]
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda x: apart.call("twice_each", xs=[x, x]).json(), xs))
    assert answers == [[2.0 * x, 2.0 * x] for x in xs]
    sizes = apart.call("batch_sizes").json()
    assert sum(sizes) == 120
    # One caller's calls go together, and those of different callers too.
    assert max(sizes[:3]) >= 30
    assert len(sizes) < 40


def test_a_sync_caller_is_told_of_the_deadline_before_it_passes_for_a_hang(
    apart: Any,
) -> None:
    pid = apart.call("pids").json()[0]
    late = apart.client.post("/block", json={"seconds": 2}, headers={"x-request-timeout": "0.3"})
    # Who is told in time may still answer in time, with what it made of it.
    assert late.status_code == 504 or late.json() == "deadline_exceeded"
    # The calling thread came back, and its worker is still the same.
    assert apart.call("pids").json()[0] == pid


def test_an_idempotent_call_is_repeated_when_the_other_worker_ends(
    apart: Any, tmp_path: Path
) -> None:
    caller, called = apart.call("pids").json()
    after = apart.call("die_once", marker=str(tmp_path / "once"))
    assert after.status_code == 200
    assert after.json() not in (caller, called)
    assert apart.call("die_for_good", marker=str(tmp_path / "good")).json() == "worker_lost"
    assert apart.call("pids").json()[0] == caller


def test_a_caller_that_ends_takes_its_calls_with_it(
    apart: Any, tmp_path: Path, until: Callable[..., None]
) -> None:
    marker = tmp_path / "marker"
    caller, called = apart.call("pids").json()
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(
            lambda: apart.client.post(
                "/later",
                json={"seconds": 30, "marker": str(marker)},
                headers={"x-request-timeout": "3"},
            )
        )
        until(lambda: apart.call("twice", x=1).json() == 2.0)
        os.kill(caller, signal.SIGKILL)
        until(marker.exists)
        asking.result()
    assert apart.call("pids").json()[1] == called


def test_a_dependency_that_cannot_start_keeps_the_server_from_starting(
    launch: Callable[..., Any],
) -> None:
    failed = launch("ApartBroken", served=f"{COMPOSED}:ApartBroken")
    assert failed.first["event"] == "Error"
    assert "'broken' raised OSError: no disk" in failed.first["message"]


def test_the_workers_of_a_dependency_end_with_the_server(apart: Any) -> None:
    workers = [worker.pid for worker in apart.workers]
    assert len(workers) == 3
    assert apart.stop() == 0
    assert not any(psutil.pid_exists(pid) for pid in workers)


def test_the_server_is_not_ready_while_a_dependency_is_not(
    apart: Any, until: Callable[..., None]
) -> None:
    assert apart.client.get("/readyz").status_code == 200
    os.kill(apart.call("pids").json()[1], signal.SIGKILL)
    until(lambda: apart.client.get("/readyz").status_code == 503)
    until(lambda: apart.client.get("/readyz").status_code == 200)


STAMPED = """
import dosirak


@dosirak.service
class Low:
    model = dosirak.model("stamp:latest")

    @dosirak.api
    async def number(self) -> int:
        return self.model["number"]


@dosirak.service
class Top:
    low = dosirak.depends(Low, workers=1)

    @dosirak.api
    def number(self) -> int:
        return self.low.number()
"""


def test_a_reload_takes_the_dependencies_with_it_and_loses_no_call(
    launch: Callable[..., Any], tmp_path: Path, until: Callable[..., None]
) -> None:
    store = Store(tmp_path / "store")
    (tmp_path / "stamped.py").write_text(STAMPED)
    models.save("stamp", {"number": 0}, allow_pickle=True, store=store)
    path = str(tmp_path / "stamped.py")
    server = launch("stamped", served=path, admin_token="of-the-house")
    before = {worker.pid for worker in server.workers}
    seen: list[int] = []
    models.save("stamp", {"number": 1}, allow_pickle=True, store=store)
    with ThreadPoolExecutor(1) as threads:
        reload = threads.submit(
            server.client.post,
            "/admin/reload",
            headers={"Authorization": "Bearer of-the-house"},
        )
        while not reload.done() or 1 not in seen:
            answer = server.call("number")
            assert answer.status_code == 200, answer.text
            seen.append(answer.json())
        assert reload.result().status_code == 200, reload.result().text
    assert seen == sorted(seen)
    assert seen[0] == 0
    until(lambda: not before & {worker.pid for worker in server.workers})
    assert len(server.workers) == 2
