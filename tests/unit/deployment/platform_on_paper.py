"""A platform without a controller: real state, real store, the whole application."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from dosirak import bundles
from dosirak.deployment.administration import Administration
from dosirak.deployment.api.application import build_application
from dosirak.deployment.api.token_access import access_of
from dosirak.deployment.ledger import Ledger
from dosirak.deployment.operations import PlatformOperations
from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.platform_facts import PlatformFacts
from dosirak.deployment.state import tables
from dosirak.deployment.state.database import PlatformState, open_state
from dosirak.store import Store
from dosirak.targets.service_options import validate_service_options

SERVICE = """
import dosirak

@dosirak.service
class Iris:
    @dosirak.api
    def predict(self, value: int) -> int:
        return value + {number}
"""


@dataclass
class Logs:
    """Lines of replicas, as a target keeps them."""

    lines: dict[str, list[str]] = field(default_factory=dict)

    def logs(self, replica: str, *, follow: bool = False, lines: int = 200) -> Iterator[str]:
        return iter(self.lines.get(replica, [])[-lines:] if lines else [])


@dataclass
class Clock:
    at: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.at


@dataclass
class Platform:
    """Everything behind the API, and what a test may see of it."""

    paths: PlatformPaths
    state: PlatformState
    operations: PlatformOperations
    administration: Administration
    clock: Clock
    logs: Logs
    woken: list[None]

    def empty(self) -> None:
        """Forget everything."""
        with self.state.transaction() as transaction:
            for table in reversed(tables.metadata.sorted_tables):
                if table is not tables.turn:
                    transaction.write(table.delete())
        self.paths.audit_log.unlink(missing_ok=True)
        self.logs.lines.clear()
        self.woken.clear()
        self.clock.at = Clock.at

    def client(self, *, token: str = "", require_tokens: bool = False) -> TestClient:
        facts = PlatformFacts("0", 1, "http://127.0.0.1:8801", "http://127.0.0.1:8800", 1.0)
        access = access_of(self.administration, self.clock, require_tokens=require_tokens)
        application = build_application(self.operations, self.administration, access, facts)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return TestClient(
            application,
            base_url="http://127.0.0.1:8801",
            headers=headers,
            raise_server_exceptions=False,
        )


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two versions of a service, sealed once for all tests."""
    root = tmp_path_factory.mktemp("projects")
    found = Store(root / "store")
    for number in (1, 2):
        project = root / str(number)
        project.mkdir()
        (project / "service.py").write_text(SERVICE.format(number=number))
        bundles.build(project, version=str(number), store=found)
    return found


@pytest.fixture(scope="module")
def _paper(
    tmp_path_factory: pytest.TempPathFactory, store: Store
) -> Iterator[tuple[Platform, TestClient]]:
    """One for a file: to build the application takes longer than most tests."""
    with on_paper(tmp_path_factory.mktemp("paper"), store) as found, found.client() as shared:
        yield found, shared


@pytest.fixture
def platform(_paper: tuple[Platform, TestClient]) -> Iterator[Platform]:
    """An empty platform."""
    yield _paper[0]
    _paper[0].empty()


@pytest.fixture
def client(_paper: tuple[Platform, TestClient], platform: Platform) -> TestClient:
    """A client of the empty platform."""
    return _paper[1]


@contextmanager
def on_paper(home: Path, store: Store) -> Iterator[Platform]:
    """Open the platform of a home."""
    clock = Clock()
    paths = PlatformPaths(home)
    state = open_state(paths, clock=clock)
    ledger = Ledger.of(paths, state)
    logs, woken = Logs(), list[None]()
    operations = PlatformOperations(
        state=state,
        store=store,
        ledger=ledger,
        wake=lambda: woken.append(None),
        clock=clock,
        log_source=logs,
        router_url="http://127.0.0.1:8800",
        check_options=validate_service_options,
    )
    administration = Administration(state, paths, ledger, lambda: woken.append(None))
    yield Platform(paths, state, operations, administration, clock, logs, woken)
    state.close()


@pytest.fixture(scope="module")
def shared_client(_paper: tuple[Platform, TestClient]) -> TestClient:
    """A client for tests that leave everything as it is."""
    return _paper[1]


def created(client: TestClient, name: str = "iris", **configuration: Any) -> dict[str, Any]:
    body = {"name": name, "bundle": "iris:1", "configuration": configuration}
    answer = client.post("/api/v1/deployments", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


@contextmanager
def served(platform: Platform) -> Iterator[str]:
    """Serve the API on a socket; yield its address."""
    application = platform.client().app
    config = uvicorn.Config(
        application, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)
