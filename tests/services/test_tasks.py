"""Tasks: submitted, asked for, surviving whatever ends."""

from __future__ import annotations

import signal

import pytest


def _submit(server, api="work", **arguments):
    answer = server.client.post(f"/{api}/submit", json=arguments)
    assert answer.status_code == 200, answer.text
    return answer.json()["task_id"]


def _status(server, task_id, api="work"):
    return server.client.get(f"/{api}/status", params={"task_id": task_id}).json()["status"]


def _get(server, task_id, api="work"):
    return server.client.get(f"/{api}/get", params={"task_id": task_id})


def test_a_task_is_submitted_polled_and_answered(launch, until):
    server = launch("Working")
    task_id = _submit(server, seconds=0.3)
    assert _status(server, task_id) == "in_progress"
    assert _get(server, task_id).status_code == 202
    until(lambda: _status(server, task_id) == "success")
    assert _get(server, task_id).json() == "done"


def test_a_failed_task_answers_with_its_error(launch, until):
    server = launch("Working")
    task_id = _submit(server, "fail")
    until(lambda: _status(server, task_id, "fail") == "failure")
    answer = _get(server, task_id, "fail")
    assert (answer.status_code, answer.json()["error"]) == (400, "It cannot be done.")


def test_a_task_is_cancelled_before_it_ran(launch, tmp_path, until):
    server = launch("Working")
    first = _submit(server, seconds=1.0)
    marker = tmp_path / "marker"
    second = _submit(server, seconds=0.0, marker=str(marker))
    answer = server.client.put("/work/cancel", params={"task_id": second})
    assert answer.json()["status"] == "cancelled"
    until(lambda: _status(server, first) == "success")
    assert not marker.exists()
    assert server.client.put("/work/cancel", params={"task_id": first}).status_code == 409
    retried = server.client.post("/work/retry", params={"task_id": second}).json()["task_id"]
    until(lambda: _status(server, retried) == "success")
    assert marker.exists()


def test_results_survive_a_restart(launch, until):
    server = launch("Working")
    task_id = _submit(server, seconds=0.0)
    until(lambda: _status(server, task_id) == "success")
    server.stop()
    again = launch("Working")
    assert _get(again, task_id).json() == "done"


def test_tasks_that_a_crash_interrupted_run_again(launch, tmp_path, until):
    server = launch("Working")
    marker = tmp_path / "marker"
    running = _submit(server, seconds=1.0, marker=str(marker))
    waiting = _submit(server, seconds=0.0)
    until(marker.exists)
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    again = launch("Working")
    until(lambda: _status(again, running) == "success")
    until(lambda: _status(again, waiting) == "success")
    assert marker.read_text() == "xx"


def test_a_task_that_ends_every_worker_is_given_up(launch, tmp_path, until):
    server = launch("Working")
    marker = tmp_path / "marker"
    task_id = _submit(server, "crash", marker=str(marker))
    until(lambda: _status(server, task_id, "crash") == "failure", within_s=30)
    assert _get(server, task_id, "crash").json()["code"] == "worker_lost"
    assert len(marker.read_text()) == 2


def test_a_task_is_called_by_submitting_it(launch):
    server = launch("Working")
    answer = server.call("work", seconds=0.0)
    assert answer.status_code == 405
    assert "/work/submit" in answer.json()["remedy"]


def test_unknown_tasks_are_not_found(launch):
    server = launch("Working")
    assert _get(server, "nope").status_code == 404
    assert server.client.get("/work/status").status_code == 400


def test_a_request_that_does_not_fit_is_refused_when_it_is_submitted(launch):
    server = launch("Working")
    _submit(server, seconds=1.0)  # A busy handler does not hold up the look at the next request.
    for body in (b'{"seconds": ', b'{"seconds": "long"}', b'{"minutes": 1}'):
        answer = server.client.post("/work/submit", content=body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["code"] == "invalid_input"
        assert answer.json()["fields"]
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_with_tasks_ends_in_order(launch, number):
    server = launch("Working")
    _submit(server, seconds=0.0)
    assert server.stop(number) == 0
    assert "Traceback" not in server.log()
