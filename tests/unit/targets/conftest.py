"""One home with one tiny sealed bundle, and what runs its replicas."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dosirak import bundles
from dosirak.deployment.configuration import DeploymentConfiguration
from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.target import ReplicaOrder, SeenReplica
from dosirak.store import Store
from dosirak.targets.local import LocalTarget

SERVICE = '''"""A tiny service that can misbehave."""
import os
import subprocess
import sys
import time
from pathlib import Path

import dosirak


@dosirak.service(resources=dosirak.Resources(threads=4))
class Tiny:
    """Doubles numbers."""

    @dosirak.on_start
    def start(self) -> None:
        print("hello from the start hook", flush=True)

    @dosirak.api
    def double(self, value: int) -> int:
        return 2 * value

    @dosirak.api
    def variable(self, name: str) -> str:
        return os.environ.get(name, "")

    @dosirak.api
    def pids(self) -> list[int]:
        return [os.getpid(), os.getppid()]

    @dosirak.api
    def leave_behind(self) -> int:
        sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
        return subprocess.Popen(sleep, start_new_session=True).pid

    @dosirak.api
    def wait(self, seconds: float, marker: str) -> str:
        Path(marker).touch()
        time.sleep(seconds)
        return "done"

    @dosirak.api
    def shout(self, times: int) -> int:
        for number in range(times):
            print(f"line {number} " + "x" * 90, flush=True)
        return times
'''


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """A home with a short path, as sockets want it."""
    folder = Path(tempfile.mkdtemp(prefix="dsk-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def bundle_id(home: Path) -> str:
    project = home / "project"
    project.mkdir()
    (project / "service.py").write_text(SERVICE)
    return bundles.build(project, store=Store(home / "store")).id


@pytest.fixture(autouse=True)
def environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOSIRAK_HOME", str(home))
    monkeypatch.setenv("DOSIRAK_TOKEN", "of-the-control-plane")


class Place:
    """A `LocalTarget` and what tests do with it."""

    numbers = itertools.count(1)

    def __init__(self, home: Path, bundle_id: str) -> None:
        self.paths = PlatformPaths(home)
        self.target = LocalTarget(self.paths)
        self.bundle_id = bundle_id
        self.begun: list[str] = []

    def order(self, **changes: Any) -> ReplicaOrder:
        """Return an order with a new id; `configuration` and `environment` as said."""
        configuration = DeploymentConfiguration(
            **{"drain_timeout_s": 10, **changes.pop("configuration", {})}
        )
        values: dict[str, Any] = {
            "replica": f"tiny-{next(self.numbers)}",
            "deployment": "tiny",
            "revision": 1,
            "bundle_id": self.bundle_id,
            "configuration": configuration,
            "environment": {},
        }
        order = ReplicaOrder(**{**values, **changes})
        self.begun.append(order.replica)
        return order

    def started(self, **changes: Any) -> str:
        """Start a replica and return its id."""
        order = self.order(**changes)
        self.target.start(order)
        return order.replica

    def ready(self, **changes: Any) -> str:
        """Start a replica, and return its id once it is ready."""
        replica = self.started(**changes)
        self.until(replica, lambda seen: seen.ready or not seen.alive)
        assert self.seen(replica).ready, self.seen(replica)
        return replica

    def seen(self, replica: str) -> SeenReplica:
        return self.target.look()[replica]

    def until(self, replica: str, holds: Callable[[SeenReplica], bool]) -> SeenReplica:
        end_s = time.monotonic() + 60
        while not holds(seen := self.seen(replica)):
            assert time.monotonic() < end_s, seen
            time.sleep(0.02)
        return seen

    def ended(self, replica: str) -> SeenReplica:
        return self.until(replica, lambda seen: not seen.alive)

    def call(self, replica: str, api: str, **arguments: Any) -> Any:
        upstream = self.seen(replica).upstream
        assert upstream is not None
        transport = httpx2.HTTPTransport(uds=upstream.socket_path)
        with httpx2.Client(transport=transport, base_url="http://replica", timeout=30) as client:
            answer = client.post(f"/{api}", json=arguments)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def log(self, replica: str) -> str:
        return "\n".join(self.target.logs(replica, lines=1000))

    @staticmethod
    def is_running(pid: int) -> bool:
        """Whether there is such a process, a zombie excepted."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] != "Z"

    @staticmethod
    def wait_for(holds: Callable[[], bool]) -> None:
        end_s = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < end_s, "It never came true."
            time.sleep(0.02)

    def wait_until_gone(self, *pids: int) -> None:
        self.wait_for(lambda: not any(map(self.is_running, pids)))

    def close(self) -> None:
        for replica in self.begun:
            with contextlib.suppress(Exception):
                self.target.kill(replica)
                self.ended(replica)
                self.target.forget(replica)
        self.target.close()


@pytest.fixture
def place(home: Path, bundle_id: str) -> Iterator[Place]:
    place = Place(home, bundle_id)
    yield place
    place.close()


@pytest.fixture(scope="module")
def shared_place(home: Path, bundle_id: str) -> Iterator[Place]:
    """One for a module; the replicas that its tests share live in it."""
    place = Place(home, bundle_id)
    yield place
    place.close()
