"""Crashes, hangs and errors of user code stay where they happen."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest


def test_an_error_of_user_code_is_neutral_to_the_caller_and_whole_in_the_log(launch, until):
    server = launch("Misbehaving")
    answer = server.call("boom")
    assert answer.status_code == 500
    assert answer.json()["code"] == "service_error"
    assert "secret" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    until(lambda: "a secret of the server" in server.log())
    assert answer.json()["request_id"] in server.log()


def test_leaving_in_a_handler_ends_no_worker(launch):
    server = launch("Misbehaving")
    before = server.workers[0].pid
    assert server.call("leave").status_code == 500
    assert server.workers[0].pid == before


def test_an_error_meant_for_the_caller_reaches_it(launch):
    server = launch("Behaving")
    answer = server.call("refuse", value=3)
    assert answer.status_code == 400
    assert answer.json()["error"] == "3 is refused."
    assert answer.json()["remedy"] == "Give up."


def test_a_result_of_the_wrong_type_is_the_services_fault(launch):
    server = launch("Misbehaving")
    answer = server.call("wrong")
    assert (answer.status_code, answer.json()["code"]) == (500, "result_error")


def test_a_stopped_worker_holds_up_nobody_while_another_goes_on(launch, tmp_path, until):
    server = launch("Misbehaving", workers=2)
    marker = tmp_path / "marker"
    victim = server.workers[0].pid
    with ThreadPoolExecutor(4) as callers:
        calls = [
            callers.submit(server.call, "slowly", seconds=0.5, marker=str(marker)) for _ in range(4)
        ]
        until(lambda: marker.exists() and len(marker.read_text()) >= 2)
        os.kill(victim, signal.SIGSTOP)
        try:
            answers = [call.result() for call in calls]
            until(
                lambda: server.client.get("/readyz").json()["reason"] == "1 of 2 workers are ready."
            )
        finally:
            os.kill(victim, signal.SIGCONT)
    assert [answer.status_code for answer in answers] == [200] * 4
    until(lambda: server.client.get("/readyz").json()["reason"] == "2 of 2 workers are ready.")
    # It was never ended, and what it answered late was nobody's.
    assert victim in {worker.pid for worker in server.workers}
    for _ in range(4):
        answer = server.call("slowly", seconds=0.0, marker=str(marker))
        assert answer.status_code == 200


def test_a_killed_worker_loses_no_idempotent_call(launch, tmp_path, until):
    server = launch("Misbehaving", workers=2)
    marker = tmp_path / "marker"
    with ThreadPoolExecutor(4) as callers:
        calls = [
            callers.submit(server.call, "slowly", seconds=0.5, marker=str(marker)) for _ in range(4)
        ]
        until(lambda: marker.exists() and len(marker.read_text()) == 4)
        victim = server.workers[0].pid
        os.kill(victim, signal.SIGKILL)
        answers = [call.result() for call in calls]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert victim not in {answer.json() for answer in answers}
    until(lambda: server.client.get("/readyz").json()["reason"] == "2 of 2 workers are ready.")
    assert "dosirak_retries_total" in server.client.get("/metrics").text


def test_one_worker_that_crashes_is_waited_for(launch, tmp_path):
    server = launch("Misbehaving")
    assert server.call("crash_once", marker=str(tmp_path / "marker")).status_code == 200


def test_a_call_with_effects_is_not_repeated(launch, tmp_path):
    server = launch("Misbehaving", workers=2)
    answer = server.call("crash_once_with_effect", marker=str(tmp_path / "marker"))
    assert (answer.status_code, answer.json()["code"]) == (502, "worker_lost")
    assert "not repeated" in answer.json()["remedy"]


def test_a_request_that_always_crashes_takes_two_workers_and_no_more(launch, until):
    server = launch("Misbehaving", workers=2)
    assert server.call("crash").json()["code"] == "worker_lost"
    until(lambda: server.client.get("/readyz").json()["reason"] == "2 of 2 workers are ready.")
    assert server.call("echo", value=1).json() == 1


@pytest.mark.parametrize("api", ["hang", "hang_holding_the_lock"])
def test_a_hang_meets_its_deadline_and_its_worker_is_replaced(launch, until, api):
    server = launch("Misbehaving", hang_grace_s=0.5)
    before = server.workers[0].pid
    answer = server.call(api)
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert "X-Request-Timeout" not in answer.json()["remedy"]
    until(lambda: [worker.pid for worker in server.workers] not in ([], [before]))
    assert server.call("echo", value=1).json() == 1


def test_a_caller_in_a_hurry_ends_no_worker_and_nobody_elses_call(launch):
    server = launch("Behaving", hang_grace_s=0.2)
    before = [worker.pid for worker in server.workers]
    hurried = server.client.post(
        "/wait", json={"seconds": 2.0}, headers={"X-Request-Timeout": "0.1"}
    )
    assert hurried.status_code == 504
    assert hurried.json()["remedy"].startswith("Allow more time with X-Request-Timeout")
    assert server.call("wait", seconds=0.1).status_code == 200
    assert [worker.pid for worker in server.workers] == before


def test_a_caller_may_shorten_its_own_deadline(launch):
    server = launch("Behaving")
    answer = server.client.post(
        "/wait", json={"seconds": 3.0}, headers={"X-Request-Timeout": "0.1"}
    )
    assert answer.status_code == 504
    refused = server.client.post("/echo", json={"value": 1}, headers={"X-Request-Timeout": "never"})
    assert refused.status_code == 400


def test_answers_never_go_to_another_caller(launch):
    server = launch("Behaving", workers=2)

    def call_on(number: int) -> int:
        with httpx2.Client(base_url=server.url, timeout=30) as client:
            return sum(
                client.post("/echo", json={"value": value}).json() != value
                for value in range(number * 1000, number * 1000 + 60)
            )

    killer = threading.Timer(0.3, lambda: os.kill(server.workers[0].pid, signal.SIGKILL))
    killer.start()
    with ThreadPoolExecutor(6) as callers:
        assert sum(callers.map(call_on, range(6))) == 0
    killer.join()


@pytest.mark.parametrize("api", ["crash_on", "crash_on_loop"])
def test_an_input_that_ends_workers_is_refused_before_it_ends_a_third(launch, until, api):
    server = launch("Misbehaving")
    assert server.call(api, value=666).json()["code"] == "worker_lost"
    until(lambda: server.client.get("/readyz").status_code == 200)
    worker = server.workers[0].pid
    for _ in range(3):
        answer = server.call(api, value=666)
        assert (answer.status_code, answer.json()["code"]) == (422, "quarantined_input")
    assert server.call(api, value=667).json() == 667
    assert server.workers[0].pid == worker


def test_those_who_shared_a_batch_with_it_are_not_refused(launch):
    server = launch("Batching")
    with ThreadPoolExecutor(8) as callers:
        values = [666 if number == 3 else number for number in range(8)] * 3
        answers = list(callers.map(lambda v: server.call("double", values=[v]), values))
    for value, answer in zip(values, answers, strict=True):
        if value == 666:
            assert answer.json()["code"] in ("worker_lost", "quarantined_input")
        else:
            assert answer.json() == [2 * value]


def test_a_quarantine_can_be_turned_off(launch, until):
    server = launch("Misbehaving", quarantine_after=0)
    for _ in range(3):
        assert server.call("crash_on", value=666).json()["code"] == "worker_lost"


def test_a_worker_that_holds_too_much_is_replaced_and_no_call_is_lost(launch, until):
    server = launch(
        "Misbehaving",
        worker_memory_limit_bytes=300 * 2**20,
        worker_memory_hard_limit_bytes=4 * 2**30,
    )
    old = server.call("hoard", mebibytes=320).json()
    pids: set[int] = set()

    def replaced() -> bool:
        answer = server.call("slowly", seconds=0.05, marker=os.devnull)
        assert answer.status_code == 200
        pids.add(answer.json())
        return answer.json() != old

    until(replaced)
    assert old in pids or len(pids) == 1
    until(lambda: old not in [worker.pid for worker in server.workers])
    assert len(server.workers) == 1
    text = server.client.get("/metrics").text
    assert 'dosirak_worker_restarts_total{reason="memory limit"} 1.0' in text


def test_a_worker_over_the_hard_limit_is_ended(launch, until):
    server = launch(
        "Misbehaving",
        worker_memory_limit_bytes=200 * 2**20,
        worker_memory_hard_limit_bytes=250 * 2**20,
    )
    old = server.call("hoard", mebibytes=300).json()
    until(lambda: [worker.pid for worker in server.workers] not in ([], [old]))
    until(lambda: server.client.get("/readyz").status_code == 200)
    assert server.call("echo", value=1).json() == 1
    assert "holds" in server.log()
