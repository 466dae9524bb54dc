"""The controller over a real database, a place and a router on paper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.deployment.simulated import bundle

from dosirak.deployment import changes
from dosirak.deployment.configuration import DeploymentConfiguration
from dosirak.deployment.control.controller import Controller
from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.routing import RoutingTable, Upstream
from dosirak.deployment.state.database import PlatformState, open_state
from dosirak.deployment.target import SeenReplica


class _Place:
    """A target: each replica that it was told to start lives and, if said so, is ready."""

    def __init__(self) -> None:
        self.alive = {"unknown": True}
        self.killed: list[str] = []

    def look(self) -> Mapping[str, SeenReplica]:
        return {
            name: SeenReplica(
                replica=name,
                alive=True,
                ready=ready,
                stage="serving",
                upstream=Upstream(name, socket_path=f"/{name}"),
            )
            for name, ready in self.alive.items()
        }

    def start(self, order: str) -> None:
        self.alive.setdefault(order, False)

    def kill(self, replica: str) -> None:
        self.killed.append(replica)


class _Router:
    """A router that takes up every table at once."""

    def __init__(self) -> None:
        self.tables: list[RoutingTable] = []

    def ensure_running(self) -> None:
        pass

    def apply(self, table: RoutingTable) -> int:
        self.tables.append(table)
        return len(self.tables)

    def applied_version(self) -> int:
        return len(self.tables)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[PlatformState]:
    opened = open_state(PlatformPaths(tmp_path))
    yield opened
    opened.close()


class _Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def _controller(state: PlatformState, place: Any, router: Any, clock: _Clock) -> Controller:
    return Controller(
        state,
        place,
        router,
        orders=lambda _state, replica: replica.id,  # type: ignore[arg-type, return-value]
        idempotent_paths=lambda _revision: (),
        publish_access=lambda _access: None,
        note_uses=lambda _uses: None,
        clock=clock,
    )


def _with_deployment(state: PlatformState) -> None:
    made = changes.create("iris", bundle(), DeploymentConfiguration(), changes.Asked(1000.0))
    assert made.revision is not None
    with state.transaction() as transaction:
        transaction.put_deployment(made.deployment)
        transaction.add_revision(made.revision)


def test_what_the_database_has_forgotten_serves_until_what_it_knows_is_ready(
    state: PlatformState,
) -> None:
    _with_deployment(state)
    place, router = _Place(), _Router()
    controller = _controller(state, place, router, _Clock())
    for _ in range(3):
        controller.turn()
    assert len(place.alive) == 2
    assert router.tables == []
    place.alive = dict.fromkeys(place.alive, True)
    controller.turn()
    (table,) = router.tables
    (revision,) = table.deployments[0].revisions
    assert [upstream.replica for upstream in revision.upstreams] == list(place.alive)[1:]


def test_the_wait_for_it_has_an_end(state: PlatformState) -> None:
    _with_deployment(state)
    place, router, clock = _Place(), _Router(), _Clock()
    controller = _controller(state, place, router, clock)
    controller.turn()
    clock.now += 61.0
    controller.turn()
    assert len(router.tables) == 1


def test_without_strangers_the_table_is_told_at_once(state: PlatformState) -> None:
    _with_deployment(state)
    place, router = _Place(), _Router()
    place.alive.clear()
    _controller(state, place, router, _Clock()).turn()
    assert len(router.tables) == 1
