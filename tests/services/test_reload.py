"""Another revision in the place of the one that serves: nothing lost, nothing half."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from dosirak import bundles, models
from dosirak.store import Store

ADMIN = {"Authorization": "Bearer of-the-house"}
SWAPS = int(os.environ.get("DOSIRAK_TEST_SWAPS", "5"))
SERVICE = """
import dosirak, time
from collections.abc import Iterator

@dosirak.service(resources=dosirak.Resources(threads=2))
class Stamp:
    model = dosirak.model("stamp:latest")

    @dosirak.api
    def stamp(self, value: int) -> list[int]:
        return [value, self.model["number"]]

    @dosirak.api
    async def on_loop(self, value: int) -> list[int]:
        return [value, self.model["number"]]

    @dosirak.api(batchable=True, max_batch_size=8)
    def joined(self, values: list[int]) -> list[list[int]]:
        return [[value, self.model["number"]] for value in values]

    @dosirak.api
    def count(self, upto: int, pause_s: float) -> Iterator[int]:
        for _ in range(upto):
            time.sleep(pause_s)
            yield self.model["number"]
"""
HANGING = SERVICE.replace(
    "    @dosirak.api",
    "    @dosirak.on_start\n    def wait(self):\n        time.sleep(3600)\n\n    @dosirak.api",
    1,
)


def save_stamp(home: Path, number: int) -> str:
    model = models.save("stamp", {"number": number}, allow_pickle=True, store=Store(home / "store"))
    return str(model.reference)


@pytest.fixture
def stamping(launch: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Start a server of the service above, its model's number 0."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "service.py").write_text(SERVICE)
    save_stamp(tmp_path, 0)

    def start(**options: Any) -> Any:
        path = str(tmp_path / "project" / "service.py")
        return launch(path, admin_token="of-the-house", **options)

    return start


@pytest.fixture
def load() -> Iterator[Load]:
    started = Load()
    yield started
    started.finish()


class Load:
    """Clients that go on asking, each on a connection of its own, with a ledger of what came."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str, str]] = []
        self.lost: list[object] = []
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def begin(self, url: str, apis: tuple[str, ...], *, clients: int = 6) -> None:
        for number in range(clients):
            api = apis[number % len(apis)]
            thread = threading.Thread(target=self._ask, args=(url, api, number * 10**6))
            self._threads.append(thread)
            thread.start()

    def finish(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, url: str, api: str, value: int) -> None:
        joined = api == "joined"
        with httpx2.Client(base_url=url, timeout=60) as client:
            while not self._stop.is_set():
                value += 1
                body = {"values": [value]} if joined else {"value": value}
                try:
                    answer = client.post(f"/{api}", json=body)
                    result = answer.json()
                    got, number = result[0] if joined else result
                except Exception as error:
                    self.lost.append((api, value, error))
                    return
                if got != value or answer.status_code != 200:
                    self.lost.append((api, value, result))
                revision = answer.headers["x-dosirak-revision"]
                self.answers.append((number, revision, api))


def reload(server: Any, **order: Any) -> httpx2.Response:
    return server.client.post("/admin/reload", json=order, headers=ADMIN, timeout=120)


def test_a_reload_serves_the_newer_model_and_says_so_everywhere(stamping, tmp_path):
    server = stamping()
    before = server.call("stamp", value=1)
    assert before.json() == [1, 0]
    exact = save_stamp(tmp_path, 1)
    outcome = reload(server).json()
    assert outcome["outcome"] == "swapped"
    assert outcome["models"] == {"model": exact}
    assert outcome["previous"] == before.headers["x-dosirak-revision"] == server.first["revision"]
    assert exact in outcome["changes"][0]
    for api in ("stamp", "on_loop"):
        after = server.call(api, value=2)
        assert after.json() == [2, 1]
        assert after.headers["x-dosirak-revision"] == outcome["revision"]
    assert server.client.get("/readyz").json()["revision"] == outcome["revision"]
    assert server.client.get("/schema.json").json()["revision"] == outcome["revision"]
    metrics = server.client.get("/metrics").text
    assert f'dosirak_revision_info{{revision="{outcome["revision"]}"' in metrics
    assert f'dosirak_revision_requests_total{{revision="{outcome["revision"]}"}}' in metrics
    assert 'dosirak_reloads_total{outcome="swapped"} 1.0' in metrics
    assert server.client.get("/admin/reload", headers=ADMIN).json()["last"] == outcome


def test_a_reload_of_the_same_content_changes_nothing(stamping):
    server = stamping()
    workers = {worker.pid for worker in server.workers}
    outcome = reload(server).json()
    assert outcome["outcome"] == "unchanged"
    assert outcome["revision"] == outcome["previous"] == server.first["revision"]
    assert {worker.pid for worker in server.workers} == workers


def test_old_workers_go_when_they_have_nothing_left(stamping, tmp_path, until):
    server = stamping()
    old = server.workers[0]
    save_stamp(tmp_path, 1)
    assert reload(server).json()["outcome"] == "swapped"
    until(lambda: not old.is_running())
    assert len(server.workers) == 1


def test_concurrent_reloads_come_one_after_the_other(stamping, tmp_path):
    server = stamping()
    save_stamp(tmp_path, 1)
    with ThreadPoolExecutor(3) as callers:
        outcomes = [
            call.result().json() for call in [callers.submit(reload, server) for _ in range(3)]
        ]
    assert sorted(outcome["outcome"] for outcome in outcomes) == [
        "swapped", "unchanged", "unchanged",
    ]  # fmt: skip
    assert len({outcome["revision"] for outcome in outcomes}) == 1


def test_a_revision_that_cannot_start_is_refused_and_the_old_one_serves_on(
    stamping, tmp_path, load
):
    server = stamping()
    load.begin(server.url, ("stamp",), clients=2)
    (tmp_path / "project" / "service.py").write_text(SERVICE + "\nraise RuntimeError('a slip')\n")
    answer = reload(server)
    assert (answer.status_code, answer.json()["code"]) == (409, "reload_refused")
    assert "a slip" in answer.json()["error"]
    state = server.client.get("/admin/reload", headers=ADMIN).json()
    assert state["last"]["outcome"] == "refused"
    assert state["revision"] == server.first["revision"]
    assert server.call("stamp", value=5).json() == [5, 0]
    load.finish()
    assert load.lost == []
    assert {revision for _, revision, _ in load.answers} == {server.first["revision"]}
    assert len(server.workers) == 1


def test_a_revision_that_is_never_ready_is_refused(stamping, tmp_path):
    server = stamping(start_timeout_s=8.0)
    (tmp_path / "project" / "service.py").write_text(HANGING)
    answer = reload(server)
    assert (answer.status_code, answer.json()["code"]) == (409, "reload_refused")
    assert "not ready within 8 s" in answer.json()["error"]
    assert server.call("stamp", value=5).json() == [5, 0]


def _swap_under_load(server: Any, home: Path, load: Load, until: Any, swaps: int) -> None:
    load.begin(server.url, ("stamp", "joined", "on_loop"))
    until(lambda: len(load.answers) > 100)
    revisions = {0: server.first["revision"]}
    for number in range(1, swaps + 1):
        save_stamp(home, number)
        outcome = reload(server).json()
        assert outcome["outcome"] == "swapped", outcome
        revisions[number] = outcome["revision"]
        # From the answer of the reload on, every new request meets the new revision.
        assert server.call("stamp", value=1).json() == [1, number]
    done = len(load.answers)
    until(lambda: len(load.answers) > done + 100)
    load.finish()
    print(f"{swaps} swaps, {len(load.answers)} requests, {len(load.lost)} lost")
    assert load.lost == []
    assert {number for number, _, _ in load.answers} == set(range(swaps + 1))
    assert all(revisions[number] == revision for number, revision, _ in load.answers)
    until(lambda: len(server.workers) == 1)


def test_swaps_under_load_lose_nothing_and_no_request_sees_two_revisions(
    stamping, tmp_path, load, until
):
    _swap_under_load(stamping(), tmp_path, load, until, SWAPS)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hundred_swaps_under_load_lose_nothing(stamping, tmp_path, load, until):
    _swap_under_load(stamping(), tmp_path, load, until, max(100, SWAPS))


def test_a_stream_that_has_begun_ends_where_it_began(stamping, tmp_path, until):
    server = stamping()
    old = server.workers[0]
    body = {"upto": 40, "pause_s": 0.1}
    with server.client.stream("POST", "/count", json=body) as stream:
        lines = stream.iter_lines()
        first = [next(lines) for _ in range(3)]
        save_stamp(tmp_path, 1)
        assert reload(server).json()["outcome"] == "swapped"
        assert server.call("stamp", value=1).json() == [1, 1]
        assert old.is_running()
        text = "\n".join([*first, *lines])
    assert text.count("data: 0") == 40
    assert "data: 1" not in text
    until(lambda: not old.is_running())


def test_what_an_old_revision_has_left_is_cut_off_in_the_end(stamping, tmp_path, until):
    server = stamping(drain_timeout_s=1.0)
    old = server.workers[0]
    with server.client.stream("POST", "/count", json={"upto": 600, "pause_s": 0.1}) as stream:
        lines = stream.iter_lines()
        next(lines)
        save_stamp(tmp_path, 1)
        assert reload(server).json()["outcome"] == "swapped"
        rest = list(lines)
    assert "event: error" in rest
    assert "event: end" not in rest
    until(lambda: not old.is_running())
    assert server.call("stamp", value=1).json() == [1, 1]


def test_routes_and_schemas_change_together(stamping, tmp_path, load, until):
    server = stamping()
    load.begin(server.url, ("joined",), clients=2)
    changed = SERVICE.replace("def stamp(self, value: int)", "def mark(self, value: str)")
    changed = changed.replace("return [value, self", "return [len(value), self", 1)
    (tmp_path / "project" / "service.py").write_text(changed)
    assert reload(server).json()["outcome"] == "swapped"
    assert server.call("mark", value="abc").json() == [3, 0]
    assert server.call("stamp", value=1).status_code == 404
    assert set(server.client.get("/openapi.json").json()["paths"]) == {
        "/mark", "/on_loop", "/joined", "/count",
    }  # fmt: skip
    load.finish()
    assert load.lost == []


def test_a_body_that_comes_slowly_is_answered_by_the_revision_that_its_head_met(stamping, tmp_path):
    server = stamping()
    body = b'{"value": 1}'
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        head = b"POST /stamp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body[:3])
        changed = SERVICE.replace("def stamp(", "def mark(")
        (tmp_path / "project" / "service.py").write_text(changed)
        time.sleep(2.0)  # What comes slowly has gone to the application by now.
        assert reload(server).json()["outcome"] == "swapped"
        assert server.call("stamp", value=1).status_code == 404
        connection.sendall(body[3:])
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert server.first["revision"].encode() in answer


def _build(home: Path, version: str, store: Store) -> str:
    bundle = bundles.build(home / "project", target="service.py", version=version, store=store)
    return str(bundle.reference)


def test_a_named_target_goes_to_another_version_and_back(launch, tmp_path):
    save_stamp(tmp_path, 1)
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "service.py").write_text(SERVICE)
    store = Store(tmp_path / "store")
    one = _build(tmp_path, "one", store)
    save_stamp(tmp_path, 2)
    two = _build(tmp_path, "two", store)
    server = launch("stamp:latest", admin_token="of-the-house")
    assert server.call("stamp", value=1).json() == [1, 2]
    back = reload(server, target=one).json()
    assert (back["outcome"], back["target"]) == ("swapped", one)
    assert server.call("stamp", value=1).json() == [1, 1]
    state = server.client.get("/admin/reload", headers=ADMIN).json()
    assert state["previous_target"] == two
    again = reload(server, target=state["previous_target"]).json()
    assert again["revision"] == server.first["revision"]
    for elsewhere in ("other:one", str(tmp_path), "service.py", "stamp:one:two"):
        answer = reload(server, target=elsewhere)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input"), elsewhere


def test_a_watched_store_is_followed_and_a_return_is_kept(launch, tmp_path, until):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "service.py").write_text(SERVICE)
    save_stamp(tmp_path, 0)
    server = launch(
        str(tmp_path / "project" / "service.py"), admin_token="of-the-house", watch=True
    )
    assert server.first["watched"] == ["stamp:latest"]
    exact = save_stamp(tmp_path, 1)
    done = server.until_report("Reloaded")
    assert done["outcome"] == "swapped"
    assert exact in done["changes"][0]
    assert server.call("stamp", value=1).json() == [1, 1]
    # The author's files are not watched for this.
    service = tmp_path / "project" / "service.py"
    service.write_text(SERVICE.replace("[value, self", "[-value, self", 1))
    time.sleep(1.0)
    assert server.call("stamp", value=1).json() == [1, 1]


def test_a_server_that_is_not_told_to_watch_does_not(stamping, tmp_path):
    server = stamping()
    save_stamp(tmp_path, 1)
    time.sleep(1.0)
    assert server.call("stamp", value=1).json() == [1, 0]


def test_the_development_loop_follows_edits_models_and_settings(stamping, tmp_path):
    server = stamping(reload=True)
    service = tmp_path / "project" / "service.py"
    service.write_text(SERVICE.replace("[value, self", "[10 * value, self", 1))
    assert server.until_report("Reloading")["reason"] == "service.py changed"
    assert server.until_report("Reloaded")["outcome"] == "swapped"
    assert server.call("stamp", value=1).json() == [10, 0]

    service.write_text("this is no Python")
    refused = server.until_report("Reloaded")
    assert refused["outcome"] == "refused"
    assert "SyntaxError" in refused["error"]
    assert server.call("stamp", value=1).json() == [10, 0]

    (tmp_path / "project" / "more.py").write_text("FACTOR = 100\n")
    service.write_text(
        "from more import FACTOR\n" + SERVICE.replace("[value, self", "[FACTOR * value, self", 1)
    )
    while server.until_report("Reloaded")["outcome"] != "swapped":
        pass
    assert server.call("stamp", value=1).json() == [100, 0]

    (tmp_path / "project" / "more.py").write_text("FACTOR = 1000\n")
    assert server.until_report("Reloaded")["outcome"] == "swapped"
    assert server.call("stamp", value=1).json() == [1000, 0]

    save_stamp(tmp_path, 7)
    done = server.until_report("Reloaded")
    assert (done["outcome"], server.call("stamp", value=1).json()) == ("swapped", [1000, 7])

    (tmp_path / "project" / "dosirak.toml").write_text('description = "new"\n')
    assert server.until_report("Reloading")["reason"] == "dosirak.toml changed"


SLOW = """
import dosirak, time
{imports}

@dosirak.service
class Slow:
    @dosirak.on_start
    def wait(self):
        time.sleep(3.0)

    @dosirak.api
    def value(self) -> int:
        return {value}
"""


@pytest.mark.parametrize("edited", ["service.py", "sub/helper.py"])
def test_an_edit_within_a_reload_that_watches_more_is_not_lost(launch, tmp_path, edited):
    project = tmp_path / "project"
    (project / "sub").mkdir(parents=True)
    (project / "sub" / "helper.py").write_text("H = 2\n")
    service = project / "service.py"
    service.write_text(SLOW.format(imports="", value=1))
    server = launch(str(service), reload=True)
    service.write_text(SLOW.format(imports="from sub.helper import H", value="H"))
    server.until_report("Reloading")
    time.sleep(2.0)  # Its code is imported, and it is still waiting.
    if edited == "service.py":
        service.write_text(SLOW.format(imports="from sub.helper import H", value="H + 1"))
    else:
        (project / edited).write_text("H = 3\n")
    assert server.until_report("Reloaded")["outcome"] == "swapped"
    assert server.until_report("Reloading")["reason"] == f"{edited} changed"
    assert server.until_report("Reloaded")["outcome"] == "swapped"
    assert server.call("value").json() == 3


def test_a_worker_that_ends_is_replaced_by_one_of_its_own_revision(stamping, tmp_path, until):
    server = stamping()
    save_stamp(tmp_path, 1)
    old = server.workers[0]
    old.kill()
    psutil.wait_procs([old], timeout=10)
    until(lambda: [worker.pid for worker in server.workers] not in ([], [old.pid]))
    assert server.call("stamp", value=1).json() == [1, 0]


def test_the_admin_routes_need_their_own_token(launch):
    server = launch("Behaving", token="for-the-callers", admin_token="of-the-house")
    for method in ("GET", "POST"):
        for headers in ({}, {"Authorization": "Bearer for-the-callers"}):
            answer = server.client.request(method, "/admin/reload", headers=headers)
            assert answer.status_code == 401
        opened = server.client.request(method, "/admin/reload", headers=ADMIN)
        assert opened.status_code == 200
    refused = server.client.post("/echo", json={"value": 1}, headers=ADMIN)
    assert refused.status_code == 401
    foreign = {**ADMIN, "Origin": "https://evil.example"}
    assert server.client.post("/admin/reload", headers=foreign).status_code == 403
    for wrong in (b"{", b"[]", b'{"target": 1}', b'{"command": "x"}'):
        answer = server.client.post("/admin/reload", content=wrong, headers=ADMIN)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")


def test_the_admin_routes_are_closed_without_a_token_of_their_own(launch):
    server = launch("Behaving")
    answer = server.client.post("/admin/reload")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "--admin-token-file" in answer.json()["remedy"]


def test_a_signal_within_a_reload_ends_the_server_in_order(stamping, tmp_path, until):
    server = stamping()
    (tmp_path / "project" / "service.py").write_text(HANGING)

    answers: list[httpx2.Response] = []
    caller = threading.Thread(target=lambda: answers.append(reload(server)))
    caller.start()
    until(lambda: len(server.workers) == 2)
    workers = server.workers
    assert server.stop() == 0, server.log()
    caller.join()
    assert (answers[0].status_code, answers[0].json()["code"]) == (503, "unavailable")
    assert not any(worker.is_running() for worker in workers)


DRIFTING = """
import os

class Drifting:
    def __init__(self, drifts):
        self.drifts = drifts

    def predict(self, rows):
        offset = float(os.environ.get("DRIFT", "0")) if self.drifts else 0.0
        return [row[0] + offset for row in rows]
"""
GUESS = """
import dosirak
import drifting_model

@dosirak.service
class Guess:
    model = dosirak.model("guess:latest")

    @dosirak.api
    def guess(self, value: float) -> float:
        return float(self.model.predict([[value]])[0])
"""


def test_a_version_that_fails_its_golden_examples_is_never_served(launch, tmp_path, monkeypatch):
    project = tmp_path / "project"
    project.mkdir()
    (project / "drifting_model.py").write_text(DRIFTING)
    (project / "service.py").write_text(GUESS)
    monkeypatch.syspath_prepend(str(project))
    import drifting_model  # pyright: ignore[reportMissingImports]

    def save(*, drifts: bool) -> str:
        model = drifting_model.Drifting(drifts)
        store = Store(tmp_path / "store")
        saved = models.save("guess", model, examples=[[1.0]], allow_pickle=True, store=store)
        return str(saved.reference)

    first = save(drifts=False)
    server = launch(
        str(project / "service.py"),
        admin_token="of-the-house",
        watch=True,
        environment={"DRIFT": "5"},
    )
    save(drifts=True)  # It answers otherwise where the server runs.
    refused = server.until_report("Reloaded")
    assert refused["outcome"] == "refused"
    assert "example" in refused["error"]
    assert reload(server).json()["code"] == "reload_refused"
    assert server.until_report("Reloaded")["outcome"] == "refused"
    state = server.client.get("/admin/reload", headers=ADMIN).json()
    assert (state["models"], state["revision"]) == ({"model": first}, server.first["revision"])
    assert server.call("guess", value=2.0).json() == 2.0
    # What was refused is not tried again by itself; what is newer is.
    save(drifts=False)
    assert server.until_report("Reloaded")["outcome"] in ("swapped", "unchanged")


def test_a_model_that_is_served_by_name_is_followed_and_a_return_is_kept(
    launch, tmp_path, monkeypatch
):
    linear = pytest.importorskip("sklearn.linear_model")

    def save(slope: float) -> str:
        model = linear.LinearRegression().fit([[0.0], [1.0]], [0.0, slope])
        store = Store(tmp_path / "store")
        return str(models.save("line", model, examples=[[2.0]], store=store).reference)

    first = save(1.0)
    server = launch("line:latest", admin_token="of-the-house", watch=True)
    assert server.first["watched"] == ["line:latest"]
    second = save(2.0)
    assert server.until_report("Reloaded")["changes"] == [f"{first} → {second}"]
    assert reload(server, target=first).json()["revision"] == server.first["revision"]
    time.sleep(6.0)  # The store has been looked at since, whether or not anything was told.
    assert server.client.get("/admin/reload", headers=ADMIN).json()["target"] == first
    third = save(3.0)
    server.until_report("Reloaded")
    assert server.until_report("Reloaded")["changes"] == [f"{first} → {third}"]


def test_a_model_that_is_served_by_name_never_becomes_the_bundle_of_that_name(launch, tmp_path):
    linear = pytest.importorskip("sklearn.linear_model")
    store = Store(tmp_path / "store")

    def save(slope: float, version: str) -> None:
        model = linear.LinearRegression().fit([[0.0], [1.0]], [0.0, slope])
        models.save("line", model, examples=[[2.0]], version=version, store=store)

    save(1.0, "1")
    server = launch("line:latest", admin_token="of-the-house", watch=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "service.py").write_text(
        "import dosirak\n\n@dosirak.service\nclass Other:\n"
        "    @dosirak.api\n    def other(self, value: int) -> int:\n        return value\n"
    )
    for version in ("1", "2"):
        bundles.build(tmp_path / "other", name="line", version=version, store=store)
    assert reload(server).json()["outcome"] == "unchanged"
    assert reload(server, target="line:1").json()["outcome"] == "unchanged"
    assert reload(server, target="line:2").status_code == 409
    save(2.0, "3")
    while (done := server.until_report("Reloaded"))["outcome"] != "swapped":
        pass
    assert done["changes"] == ["line:1 → line:3"]
    assert server.call("other", value=1).status_code == 404


TASKS = """
import dosirak, time

@dosirak.service
class Stamp:
    model = dosirak.model("stamp:latest")

    @dosirak.task
    def work(self, seconds: float) -> int:
        time.sleep(seconds)
        return self.model["number"]
"""


def test_a_task_ends_where_it_began_and_the_next_is_the_new_revisions(stamping, tmp_path, until):
    (tmp_path / "project" / "service.py").write_text(TASKS)
    server = stamping()

    def submit(seconds: float) -> str:
        answer = server.client.post("/work/submit", json={"seconds": seconds})
        return answer.json()["task_id"]

    def result(task: str) -> int | None:
        answer = server.client.get("/work/get", params={"task_id": task})
        return answer.json() if answer.status_code == 200 else None

    running = submit(5.0)
    time.sleep(0.5)
    save_stamp(tmp_path, 1)
    assert reload(server).json()["outcome"] == "swapped"
    waiting = submit(0.0)
    until(lambda: result(waiting) is not None)
    assert result(waiting) == 1
    until(lambda: result(running) is not None)
    assert result(running) == 0
