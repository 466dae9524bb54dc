"""Tasks: submitted, asked for, surviving whatever ends."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

SECRET = b"0123456789abcdef0123456789abcdef"
WRITTEN_SECRET = "whsec_" + base64.b64encode(SECRET).decode()


class Receiver:
    """Takes webhooks; answers the first ones with the given statuses, the others with 204."""

    def __init__(self, *statuses: int) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self._statuses = list(statuses)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.received.append(({k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(receiver._statuses.pop(0) if receiver._statuses else 204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    opened = Receiver(500)
    yield opened
    opened.close()


def _submit(server, api="work", **arguments):
    answer = server.client.post(f"/{api}/submit", json=arguments)
    assert answer.status_code == 200, answer.text
    return answer.json()["task_id"]


def _status(server, task_id, api="work"):
    return server.client.get(f"/{api}/status", params={"task_id": task_id}).json()["status"]


def _get(server, task_id, api="work"):
    return server.client.get(f"/{api}/get", params={"task_id": task_id})


def test_a_task_is_submitted_polled_and_answered(working, until):
    server = working
    task_id = _submit(server, seconds=0.3)
    assert _status(server, task_id) == "in_progress"
    assert _get(server, task_id).status_code == 202
    until(lambda: _status(server, task_id) == "success")
    assert _get(server, task_id).json() == "done"


def test_a_failed_task_answers_with_its_error(working, until):
    server = working
    task_id = _submit(server, "fail")
    until(lambda: _status(server, task_id, "fail") == "failure")
    answer = _get(server, task_id, "fail")
    assert (answer.status_code, answer.json()["error"]) == (400, "It cannot be done.")


def test_a_task_is_cancelled_before_it_ran(working, tmp_path, until):
    server = working
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


def test_a_task_is_called_by_submitting_it(working):
    server = working
    answer = server.call("work", seconds=0.0)
    assert answer.status_code == 405
    assert "/work/submit" in answer.json()["remedy"]


def test_unknown_tasks_are_not_found(working):
    server = working
    assert _get(server, "nope").status_code == 404
    assert server.client.get("/work/status").status_code == 400


def test_a_request_that_does_not_fit_is_refused_when_it_is_submitted(working):
    server = working
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


def test_one_task_too_many_is_refused_with_its_reason(working, until):
    ids = [_submit(working, seconds=1.0)]
    answer = working.client.get("/work/status", params={"task_id": ids[0]})
    while answer.status_code == 200:
        assert len(ids) <= 20
        answer = working.client.post("/work/submit", json={"seconds": 0.0})
        ids += [answer.json()["task_id"]] if answer.status_code == 200 else []
    assert (answer.status_code, answer.json()["code"]) == (429, "overloaded")
    assert answer.headers["retry-after"]
    assert "20 tasks" in answer.json()["error"]
    assert 'reason="queue_full"' in working.client.get("/metrics").text
    until(lambda: all(_status(working, task_id) == "success" for task_id in ids))


def test_no_webhook_is_sent_where_none_is_allowed(working):
    for url, status in (("https://example.com/", 403), ("ftp://example.com/", 400)):
        answer = working.client.post(
            "/work/submit", json={"seconds": 0}, headers={"X-Task-Webhook": url}
        )
        assert answer.status_code == status


def test_results_survive_a_restart_and_who_asked_is_told_until_it_is_heard(launch, receiver, until):
    options = {"webhooks": {"allowed": [f"{receiver.url}/hooks"], "secret": WRITTEN_SECRET}}
    server = launch("Working", tasks=options)
    headers = {"X-Task-Webhook": f"{receiver.url}/hooks/mine?a=b"}
    task_id = server.client.post("/work/submit", json={"seconds": 0.0}, headers=headers).json()[
        "task_id"
    ]
    until(lambda: receiver.received)
    until(lambda: 'outcome="failed"' in server.client.get("/metrics").text)
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    again = launch("Working", tasks=options)
    assert _get(again, task_id).json() == "done"
    until(lambda: len(receiver.received) == 2)
    for told, body in receiver.received:
        signed = f"{told['webhook-id']}.{told['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.digest(SECRET, signed, hashlib.sha256)).decode()
        assert (told["webhook-id"], told["webhook-signature"]) == (task_id, f"v1,{expected}")
        said = json.loads(body)
        assert said["type"] == "task.success"
        assert (said["data"]["task_id"], said["data"]["result"]) == (task_id, "done")
    until(lambda: 'outcome="delivered"' in again.client.get("/metrics").text)


def test_servers_share_tasks_in_redis_and_take_over_from_one_that_is_killed(
    launch, redis_url, tmp_path, until
):
    options = {"store_url": redis_url, "lease_s": 1.5}
    first, second = launch("Working", tasks=options), launch("Working", tasks=options)
    markers = [tmp_path / "one", tmp_path / "other"]
    # One thread each: when both have begun, each server runs one.
    running = [_submit(first, seconds=1.5, marker=str(marker)) for marker in markers]
    until(lambda: all(marker.exists() for marker in markers))
    assert [_status(second, task_id) for task_id in running] == ["in_progress"] * 2
    waiting = [_submit(first, seconds=0.0) for _ in range(5)]
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    for task_id in (*running, *waiting):
        until(lambda task_id=task_id: _status(second, task_id) == "success")
        assert _get(second, task_id).json() == "done"
    assert sorted(marker.read_text() for marker in markers) == ["x", "xx"]
    cancelled = _submit(second, seconds=60.0, marker=str(tmp_path / "last"))
    until((tmp_path / "last").exists)
    assert second.client.put("/work/cancel", params={"task_id": cancelled}).status_code == 200
    assert second.stop() == 0
