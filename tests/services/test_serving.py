"""Start, answer, stop: a service served by real processes."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import psutil


def test_a_service_starts_answers_and_stops(launch, tmp_path):
    goodbye = tmp_path / "goodbye"
    server = launch("Behaving", environment={"GOODBYE": str(goodbye)})
    assert server.first["event"] == "Serving"
    assert server.call("echo", value=7).json() == 7
    workers = server.workers
    assert server.stop() == 0
    assert goodbye.read_text() == "stopped"
    assert not any(worker.is_running() for worker in workers)


def test_probes_and_descriptions_are_served(launch):
    server = launch("Behaving")
    for path in ("/livez", "/readyz", "/healthz"):
        assert server.client.get(path).status_code == 200
    schema = server.client.get("/schema.json").json()
    assert schema["name"] == "behaving"
    assert "echo" in {api["name"] for api in schema["apis"]}
    assert "/echo" in server.client.get("/openapi.json").json()["paths"]
    assert server.client.get("/").headers["content-type"].startswith("text/html")


def test_metrics_count_requests_by_api_and_status_and_never_by_path(launch):
    server = launch("Behaving")
    server.call("echo", value=1)
    server.call("echo", value="x")
    server.client.get("/a-path-that-nobody-serves")
    text = server.client.get("/metrics").text
    assert 'dosirak_request_duration_seconds_count{api="echo",status="200"} 1.0' in text
    assert 'dosirak_request_duration_seconds_count{api="echo",status="400"} 1.0' in text
    assert 'dosirak_request_duration_seconds_count{api="-",status="404"} 1.0' in text
    assert 'dosirak_compute_duration_seconds_count{api="echo"}' in text
    assert "a-path-that-nobody-serves" not in text


def test_every_request_is_one_line_of_the_access_log(launch, until):
    server = launch("Behaving", access_log="json")
    server.client.post("/echo", json={"value": 1}, headers={"X-Request-Id": "my-id-1"})
    until(lambda: "my-id-1" in server.log())
    record = json.loads(next(line for line in server.log().splitlines() if "my-id-1" in line))
    assert (record["method"], record["path"], record["status"]) == ("POST", "/echo", 200)
    assert record["api"] == "echo"


def test_calls_spread_over_workers(launch):
    server = launch("Behaving", workers=2)
    assert {server.call("pid").json() for _ in range(8)} == {
        worker.pid for worker in server.workers
    }


def test_what_a_start_hook_put_into_the_state_is_there_in_every_worker(launch):
    server = launch("Behaving", workers=2)
    assert {server.call("started").json() for _ in range(8)} == {
        worker.pid for worker in server.workers
    }


def test_a_free_port_is_reported_and_a_taken_one_names_its_holder(launch):
    first = launch("Behaving")
    second = launch("Behaving", port=first.port)
    assert second.process.wait(10) == 2
    assert second.first["code"] == "invalid_configuration"
    assert f"Port {first.port} is in use by process {first.process.pid}." in second.first["message"]


def test_serving_to_others_without_a_token_is_refused(launch):
    server = launch("Behaving", host="0.0.0.0")
    assert server.process.wait(10) == 2
    assert "token" in server.first["message"]


def test_a_service_that_cannot_start_says_why(launch):
    server = launch("Unstartable")
    assert server.process.wait(10) == 8
    assert "no such device" in server.first["message"]
    assert "Traceback" in server.log()


def test_a_memory_limit_that_a_worker_is_over_at_its_start_is_refused(launch):
    server = launch("Behaving", worker_memory_limit_bytes=2**20)
    assert server.process.wait(20) == 2
    assert server.first["code"] == "invalid_configuration"
    assert "when it is ready, and may hold 1 MiB" in server.first["message"]


def test_a_service_that_is_written_wrongly_needs_no_traceback(launch):
    server = launch("os")
    assert server.process.wait(10) == 2
    assert "is not a service" in server.first["message"]
    assert "Traceback" not in server.log()


def test_a_model_that_is_missing_needs_no_traceback(launch):
    server = launch("WithoutItsModel")
    assert server.process.wait(10) == 3
    assert server.first["code"] == "model_not_found"
    assert "Traceback" not in server.log()


def test_a_hook_that_raises_stops_the_start(launch):
    server = launch("BadHook", workers=2)
    assert server.process.wait(10) == 8
    assert "the licence has expired" in server.first["message"]


def test_a_worker_that_ends_while_starting_stops_the_start(launch):
    server = launch("DiesAtStart")
    assert server.process.wait(10) == 8
    assert server.first["code"] == "service_error"


def test_a_missing_target_is_not_found(launch):
    server = launch("NoSuchClass")
    assert server.process.wait(10) != 0
    assert server.first["event"] == "Error"


def test_a_request_in_progress_is_finished_after_sigterm(launch):
    server = launch("Behaving")
    answers = []
    caller = threading.Thread(target=lambda: answers.append(server.call("wait", seconds=1.0)))
    caller.start()
    time.sleep(0.3)
    assert server.stop() == 0
    caller.join()
    assert answers[0].json() == 1.0


def test_draining_says_not_ready_first(launch):
    server = launch("Behaving")
    with httpx2.Client(base_url=server.url) as other:
        other.get("/readyz")
        caller = threading.Thread(target=lambda: server.call("wait", seconds=1.0))
        caller.start()
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        server.next_report()
        answer = other.get("/readyz")
        assert answer.status_code == 503
        assert answer.headers["connection"] == "close"
        caller.join()
    assert server.process.wait(20) == 0


def test_sigterm_under_load_loses_nothing(launch, until):
    server = launch("Behaving", workers=2)
    stop, lost, answered = threading.Event(), [], []

    def call_on(number: int) -> None:
        value = number * 1_000_000
        with httpx2.Client(base_url=server.url, timeout=30) as client:
            while not stop.is_set():
                value += 1
                try:
                    answer = client.post("/echo", json={"value": value})
                except httpx2.ConnectError:
                    return  # Refused before it was sent: the server is gone.
                except httpx2.HTTPError as error:
                    lost.append(error)
                    return
                (answered if answer.json() == value else lost).append(value)

    callers = [threading.Thread(target=call_on, args=(number,)) for number in range(8)]
    for caller in callers:
        caller.start()
    until(lambda: len(answered) > 200)
    exit_code = server.stop()
    stop.set()
    for caller in callers:
        caller.join()
    assert lost == []
    assert exit_code == 0, server.log()


def test_a_second_signal_ends_at_once_and_leaves_no_orphan(launch):
    server = launch("Behaving")
    workers = server.workers
    caller = threading.Thread(target=lambda: _ignoring(server.call, "wait", seconds=60))
    caller.start()
    time.sleep(0.3)
    server.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert server.stop(signal.SIGINT) == 130
    psutil.wait_procs(workers, timeout=10)
    assert not any(worker.is_running() for worker in workers)
    caller.join()


def test_workers_end_with_a_front_that_is_killed(launch):
    server = launch("Behaving", workers=2)
    workers = server.workers
    server.process.kill()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []


def test_a_drain_is_bounded_and_who_is_cut_off_is_told(launch, until):
    # Two fronts: the connections are those of either.
    server = launch("Behaving", drain_timeout_s=0.5, fronts=2, access_log="json")
    # On a thread, by the hot path, and on the loop, by the application.
    calls = [*["wait"] * 6, "wait_on_loop"]
    with ThreadPoolExecutor(len(calls)) as callers:
        url, body = server.url, {"seconds": 60}
        asked = [
            callers.submit(httpx2.post, f"{url}/{api}", json=body, timeout=60) for api in calls
        ]
        until(lambda: "dosirak_requests_in_progress 8.0" in server.client.get("/metrics").text)
        server.client.close()
        assert server.stop() == 0
        answers = [one.result() for one in asked]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["connection"] == "close"
    lines = [json.loads(line) for line in server.log().splitlines()]
    assert [line["status"] for line in lines if line.get("api") in calls] == [503] * len(calls)
    warned = [line["message"] for line in lines if line.get("level") == "warning"]
    assert "7 calls were cut off after 0.5 s (--drain-timeout-s)." in warned


def test_a_disconnect_cancels_the_call(launch, tmp_path, until):
    server = launch("Behaving")
    marker = tmp_path / "marker"
    body = json.dumps({"seconds": 60, "marker": str(marker)}).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            b"POST /wait_on_loop HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        time.sleep(0.3)
    until(marker.exists)
    assert marker.read_text() == "cancelled"


def _ignoring(function, *args, **kwargs) -> None:
    with contextlib.suppress(httpx2.HTTPError):
        function(*args, **kwargs)


def test_a_drain_waits_for_a_stream_that_has_begun(launch):
    server = launch("Streaming")
    body = {"upto": 15, "pause_s": 0.1}
    with server.client.stream("POST", "/count", json=body) as stream:
        lines = stream.iter_lines()
        first = next(lines)
        server.process.send_signal(signal.SIGTERM)
        text = "\n".join([first, *lines])
    assert "data: 14" in text
    assert "event: end" in text
    assert server.process.wait(20) == 0


def test_a_drain_delay_says_not_ready_and_still_takes_connections(launch, until):
    server = launch("Behaving", drain_delay_s=2.0)
    server.process.send_signal(signal.SIGTERM)
    server.next_report()
    until(lambda: httpx2.get(f"{server.url}/readyz").status_code == 503)
    assert httpx2.post(f"{server.url}/echo", json={"value": 5}).json() == 5
    assert server.process.wait(20) == 0


def test_a_drain_is_bounded_once_and_not_for_each_step(launch):
    server = launch("Streaming", drain_timeout_s=1.5, access_log="json")
    streams = []

    def take() -> None:
        with (
            contextlib.suppress(httpx2.HTTPError),
            httpx2.stream(
                "POST", f"{server.url}/count", json={"upto": 600, "pause_s": 0.1}, timeout=30
            ) as stream,
        ):
            streams.extend(stream.iter_lines())

    caller = threading.Thread(target=take)
    caller.start()
    time.sleep(1.0)
    began_s = time.monotonic()
    assert server.stop() == 0
    # Requests are cut off after 1.5 s; the stop hooks have as long again. Three steps would be 4.5.
    assert time.monotonic() - began_s < 4.0
    caller.join()
    assert json.loads(streams[-2].removeprefix("data: "))["code"] == "unavailable"
    logged = [json.loads(line) for line in server.log().splitlines() if '"/count"' in line]
    assert [(line["status"], line["error"]) for line in logged] == [(200, "unavailable")]
