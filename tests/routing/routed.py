"""One real Envoy with its table, and the replicas behind it."""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.router.envoy_router import EnvoyRouter
from dosirak.deployment.router.ports import is_free
from dosirak.deployment.router.settings import RouterSettings
from dosirak.deployment.routing import RoutedDeployment, RoutedRevision, RoutingTable, Upstream

HERE = Path(__file__).parent


def free_port() -> int:
    """Return a port that nobody has now, and that no connection is given as its own."""
    while True:
        port = random.randint(20_000, 32_000)
        if is_free("127.0.0.1", port):
            return port


def until(holds: Callable[[], bool], within_s: float = 30.0) -> None:
    """Wait until something holds."""
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, "it did not come to hold"
        time.sleep(0.01)


class Replica:
    """A process of `upstream.py`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.socket = folder / f"{name}.sock"
        self.notes = folder / f"{name}.notes"
        self.start()

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        command = [sys.executable, "-I", str(HERE / "upstream.py"), str(self.socket), self.name]
        self.process = subprocess.Popen([*command, str(self.notes)])
        until(self.accepts)

    def accepts(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    @property
    def upstream(self) -> Upstream:
        return Upstream(self.name, str(self.socket))

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def noted(self) -> list[str]:
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    def end(self) -> None:
        self.process.kill()
        self.process.wait(10)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Routed:
    """A router, its home and its table."""

    def __init__(self, **settings: Any) -> None:
        # Not pytest's own directory: the path of a socket must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="dosirak-router-"))
        self.settings = RouterSettings(**{"port": free_port(), "drain_timeout_s": 2.0, **settings})
        self.router = EnvoyRouter(PlatformPaths(self.folder / "home"), self.settings)
        self.replicas: list[Replica] = []
        self.table: dict[str, RoutedDeployment] = {}

    @property
    def port(self) -> int:
        return self.settings.port

    @property
    def log(self) -> list[dict[str, Any]]:
        path = self.folder / "home/platform/router/access.log"
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def replica(self, name: str) -> Replica:
        self.replicas.append(Replica(self.folder, name))
        return self.replicas[-1]

    def put(self, *deployments: RoutedDeployment) -> int:
        """Put deployments into the table; return once requests follow it."""
        self.table |= {one.name: one for one in deployments}
        return self.apply()

    def apply(self) -> int:
        version = self.router.apply(RoutingTable(tuple(self.table.values())))
        until(lambda: self.router.applied_version() >= version)
        return version

    def ask(
        self,
        path: str,
        headers: dict[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
        port: int | None = None,
        timeout_s: float = 30.0,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=timeout_s)
        try:
            connection.putrequest(
                method, path, skip_host="Host" in (headers or {}), skip_accept_encoding=True
            )
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            head = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, head, answer.read())
        finally:
            connection.close()

    def close(self) -> None:
        for replica in self.replicas:
            if replica.process.poll() is None:
                replica.signal(signal.SIGCONT)
            replica.end()
        self.router.stop()
        shutil.rmtree(self.folder)


def revision(number: int, weight: int, *replicas: Replica, **more: Any) -> RoutedRevision:
    return RoutedRevision(number, weight, tuple(one.upstream for one in replicas), **more)
