"""How workers come to be: forked from one that imported, each anew where that is not safe."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import psutil
import pytest
from tests.services.conftest import HERE, ServerProcess

from dosirak.serving.machine import this_machine
from dosirak.serving.worker_shares import ServiceNeeds, WorkerOptions, shares_of

TARGET = f"{HERE / 'forked.py'}:Forked"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def forked(home: Path) -> Iterator[ServerProcess]:
    """One server for the tests in their order; the last ends it."""
    server = ServerProcess(TARGET, home, {}, workers=2, worker_start="fork", drain_timeout_s=5)
    yield server
    server.end()


def _until(holds: Callable[[], bool], server: ServerProcess) -> None:
    deadline_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline_s, server.log()
        time.sleep(0.02)


def _imports(home: Path) -> list[str]:
    return (home / "imports").read_text().split()


def _ready(server: ServerProcess) -> bool:
    return len(server.workers) == 2 and _count(server) == 2


def _count(server: ServerProcess) -> float:
    lines = server.client.get("/metrics").text.splitlines()
    return sum(
        float(line.rpartition(" ")[2]) for line in lines if line.startswith("dosirak_workers_ready")
    )


def test_workers_are_forked_from_one_import(forked: ServerProcess, home: Path) -> None:
    origin = forked.call("origin").json()
    assert _imports(home) == [str(origin["imported_by"])]
    assert origin["pid"] in {worker.pid for worker in forked.workers}
    assert origin["pid"] != origin["imported_by"] == origin["parent"]
    assert len(forked.workers) == 2


def test_each_has_its_share_of_the_machine(forked: ServerProcess) -> None:
    shares = shares_of(this_machine(), [ServiceNeeds("Forked", 2)], WorkerOptions())
    found = forked.call("variable", name="OMP_NUM_THREADS").json()
    assert found == shares["Forked"][0].threads.get(
        "OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS")
    )


def test_a_killed_worker_is_replaced_without_another_import(
    forked: ServerProcess, home: Path
) -> None:
    killed = forked.workers[0]
    killed.kill()
    _until(lambda: killed not in forked.workers and _ready(forked), forked)
    assert len(_imports(home)) == 1
    assert "SIGKILL" in forked.log()


def test_workers_go_on_when_what_forked_them_is_killed(forked: ServerProcess, home: Path) -> None:
    before = {worker.pid for worker in forked.workers}
    psutil.Process(forked.call("origin").json()["imported_by"]).kill()
    _until(lambda: forked.call("origin").json()["parent"] != int(_imports(home)[0]), forked)
    assert all(psutil.pid_exists(pid) for pid in before)
    assert forked.call("origin").json()["pid"] in before
    # The next one that is needed comes from a new import.
    victim = psutil.Process(forked.call("origin").json()["pid"])
    victim.kill()
    _until(lambda: len(_imports(home)) == 2 and _count(forked) == 2, forked)
    assert "imported again" in forked.log()


def test_nothing_is_left_when_the_front_is_killed_not_even_what_hangs(
    forked: ServerProcess,
) -> None:
    tree = psutil.Process(forked.process.pid).children(recursive=True)
    tree += [process for process in map(_process, _survivors(forked)) if process is not None]

    def hang() -> None:
        with contextlib.suppress(httpx2.HTTPError):
            httpx2.post(f"{forked.url}/hold", json={}, timeout=60)

    caller = threading.Thread(target=hang)
    caller.start()
    _until(lambda: any(_is_busy(process) for process in tree), forked)
    forked.process.kill()
    forked.process.wait(20)
    caller.join(60)
    _until(lambda: not any(_is_alive(process) for process in tree), forked)


def test_a_service_that_cannot_be_forked_is_imported_by_each(tmp_path: Path) -> None:
    server = ServerProcess(
        TARGET, tmp_path, {"UNSAFE": "1"}, workers=2, worker_start="fork", pin_cpus=_can_pin()
    )
    try:
        origin = server.call("origin").json()
        assert origin["imported_by"] == origin["pid"]
        assert "not forked, though --worker-start fork asks for it" in server.log()
        assert set(_imports(tmp_path)) >= {str(worker.pid) for worker in server.workers}
        assert len(server.workers) == 2
        assert "each for itself: it has 1 more thread when" in server.log()
        if _can_pin():
            assert len(server.call("cpus").json()) <= len(os.sched_getaffinity(0)) // 2
        assert server.stop() == 0
    finally:
        server.end()


def test_a_reload_forks_from_the_edited_code(tmp_path: Path) -> None:
    file = tmp_path / "edited.py"
    code = (HERE / "forked.py").read_text()
    file.write_text(code)
    server = ServerProcess(f"{file}:Forked", tmp_path, {}, reload=True, worker_start="fork")
    try:
        before = server.call("origin").json()["imported_by"]
        file.write_text(code.replace('"pid": os.getpid()', '"pid": -os.getpid()'))
        assert server.until_report("Reloaded")["outcome"] == "swapped"
        after = server.call("origin").json()
        assert after["pid"] < 0
        assert after["imported_by"] != before
        _until(lambda: not psutil.pid_exists(before), server)
    finally:
        server.end()


def test_an_import_that_hangs_ends_with_the_start(tmp_path: Path) -> None:
    server = ServerProcess(TARGET, tmp_path, {"HANG": "1"}, start_timeout_s=2)
    try:
        assert "not ready within 2 s" in server.first["message"]
        assert server.process.wait(20) != 0
        # A slow machine may not even have come to the import.
        begun = _imports(tmp_path) if (tmp_path / "imports").exists() else []
        importers = [process for process in map(_process, map(int, begun)) if process is not None]
        _until(lambda: not any(map(_is_alive, importers)), server)
    finally:
        server.end()


def test_more_gpus_than_there_are_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "greedy.py"
    code = (HERE / "forked.py").read_text()
    file.write_text(code.replace("Resources(workers=2)", "Resources(gpu=1)"))
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    server = ServerProcess(f"{file}:Forked", tmp_path, hidden)
    try:
        assert server.first["code"] == "invalid_configuration"
        assert "1 GPU is asked for and there are none" in server.first["message"]
    finally:
        server.end()


def _can_pin() -> bool:
    return len(os.sched_getaffinity(0)) >= 2


def _survivors(server: ServerProcess) -> list[int]:
    return [int(pid) for pid in {server.call("origin").json()["pid"] for _ in range(8)}]


def _process(pid: int) -> psutil.Process | None:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid)
    return None


def _is_busy(process: psutil.Process) -> bool:
    before = sum(process.cpu_times()[:2])
    time.sleep(0.2)
    return sum(process.cpu_times()[:2]) - before >= 0.1


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
