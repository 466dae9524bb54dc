"""Real servers as processes, stopped whatever a test does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

HERE = Path(__file__).parent


class ServerProcess:
    """One `serve` in a process of its own."""

    def __init__(
        self,
        target: str,
        home: Path,
        environment: dict[str, str],
        *,
        served: str | None = None,
        **options: Any,
    ) -> None:
        # A name is one of `targets.py`; anything else is what `serve` takes.
        named = target.isidentifier()
        where = f"{HERE / 'targets.py'}:{target}" if named else target
        arguments = {"target": served or where, "port": 0, **options}
        self._log = (home / f"{time.monotonic_ns()}.log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "launch.py"), json.dumps(arguments)],
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "DOSIRAK_HOME": str(home), **environment},
            text=True,
        )
        self.first = self.next_report()
        self.url = self.first.get("url", "")
        self.place = ""
        self.client = httpx2.Client(base_url=self.url or "http://127.0.0.1", timeout=30)

    def next_report(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"event": "Nothing"}

    def until_report(self, event: str) -> dict[str, Any]:
        """Return the next report of a kind; fail when the server ends before it."""
        while (report := self.next_report())["event"] != event:
            assert report["event"] != "Nothing", self.log()
        return report

    @property
    def workers(self) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if _is_worker(child)]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def call(self, api: str, /, **arguments: Any) -> httpx2.Response:
        return self.client.post(f"/{api}", json=arguments)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)

    def log(self) -> str:
        self._log.flush()
        return Path(self._log.name).read_text()

    def end(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        self.process.stdout.close()
        self._log.close()


def _is_worker(process: psutil.Process) -> bool:
    try:
        # What forks them has the same command, and another name.
        return "dosirak.serving.worker" in process.cmdline() and process.name() != "dosirak-import"
    except psutil.Error:
        return False  # It ended meanwhile.


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start servers; a target's name in `targets.py` (or `served`), then options of `serve`."""
    started: list[ServerProcess] = []

    def start(
        target: str, *, environment: dict[str, str] | None = None, **options: Any
    ) -> ServerProcess:
        server = ServerProcess(target, tmp_path, environment or {}, **options)
        started.append(server)
        return server

    yield start
    for server in started:
        server.end()


@pytest.fixture(scope="module")
def launch_shared(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., ServerProcess]]:
    """Start servers for a module's tests, as `launch` does for one."""
    started: list[ServerProcess] = []

    def start(
        target: str,
        *,
        home: Path | None = None,
        environment: dict[str, str] | None = None,
        **options: Any,
    ) -> ServerProcess:
        home = home or tmp_path_factory.mktemp("home")
        server = ServerProcess(target, home, environment or {}, **options)
        started.append(server)
        return server

    yield start
    for server in started:
        server.end()


@pytest.fixture(scope="module")
def batching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server of `Batching` for a module's tests; each must leave it answering."""
    server = ServerProcess("Batching", tmp_path_factory.mktemp("home"), {})
    yield server
    server.end()


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server of `Working` for a module's tests; each must leave it answering."""
    tasks = {"max_waiting": 20}
    server = ServerProcess("Working", tmp_path_factory.mktemp("home"), {}, tasks=tasks)
    yield server
    server.end()


@pytest.fixture(scope="module", params=["Beside", "Apart", "Remote"])
def composed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server for each place of a dependency; each test must leave it answering."""
    home = tmp_path_factory.mktemp("home")
    started: list[ServerProcess] = []
    # What is misspelt is said, and so is a store of tasks that nobody uses.
    environment = {"DOSIRAK_DEPENDS_WROKER": "http://127.0.0.1:1"}
    tasks = {"store_url": "redis://127.0.0.1:1/0"}
    if request.param == "Remote":
        # The same as `Apart`, but for what the environment says.
        elsewhere = ServerProcess(
            "Worker", home, {}, served=f"{HERE / 'composed.py'}:Worker", token="of-the-other"
        )
        started.append(elsewhere)
        environment |= {
            "DOSIRAK_DEPENDS_WORKER": elsewhere.url,
            "DOSIRAK_DEPENDS_WORKER_TOKEN": "of-the-other",
        }
    name = "Apart" if request.param == "Remote" else request.param
    target = f"{HERE / 'composed.py'}:{name}"
    server = ServerProcess(name, home, environment, served=target, tasks=tasks)
    server.place = request.param
    started.append(server)
    yield server
    for one in started:
        one.end()


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait until something holds; fail when it does not within a generous time."""

    def wait(holds: Callable[[], bool], within_s: float = 20.0) -> None:
        deadline = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < deadline, "it did not come to hold"
            time.sleep(0.02)

    return wait
