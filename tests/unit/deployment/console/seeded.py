"""A control plane to look at: real state and pages, a router of numbers, a replica that answers.

python -m tests.unit.deployment.console.seeded        serves it on 127.0.0.1:8801
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from fastapi import FastAPI

from dosirak.deployment.administration import Administration
from dosirak.deployment.api.application import build_application
from dosirak.deployment.api.token_access import access_of
from dosirak.deployment.changes import Asked, BundlePin, create, update
from dosirak.deployment.configuration import DeploymentConfiguration
from dosirak.deployment.console.console_parts import ConsoleParts
from dosirak.deployment.console.mounting import mount_console
from dosirak.deployment.console.sessions import Sessions
from dosirak.deployment.control.traffic_collector import Onlookers
from dosirak.deployment.control.traffic_history import STEP_S, Counted, TrafficHistory
from dosirak.deployment.ledger import Ledger
from dosirak.deployment.operations import PlatformOperations
from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.platform_facts import PlatformFacts
from dosirak.deployment.records import (
    Deployment,
    DeploymentState,
    Event,
    Replica,
    ReplicaPhase,
    RolloutPhase,
)
from dosirak.deployment.rollout import advance
from dosirak.deployment.routing import RevisionTraffic
from dosirak.deployment.state import tables
from dosirak.deployment.state.database import PlatformState
from dosirak.store import Store
from dosirak.targets.service_options import validate_service_options


@dataclass
class Logs:
    """Lines of replicas, as a target keeps them; `follow` goes on until it is closed."""

    lines: dict[str, list[str]] = field(default_factory=dict)
    closed: bool = False

    def logs(self, replica: str, *, follow: bool = False, lines: int = 200) -> Iterator[str]:
        kept = self.lines.setdefault(replica, [])
        shown = max(0, len(kept) - lines)
        while True:
            while shown < len(kept):
                yield kept[shown]
                shown += 1
            if not follow or self.closed:
                return
            time.sleep(0.05)


@dataclass
class Seeded:
    """Everything behind the pages, and what a test may do to it."""

    paths: PlatformPaths
    state: PlatformState
    operations: PlatformOperations
    administration: Administration
    history: TrafficHistory
    logs: Logs
    sessions: Sessions

    def application(self, *, require_tokens: bool = False) -> FastAPI:
        facts = PlatformFacts("0", 1, "http://127.0.0.1:8801", self.operations.router_url, 1.0)
        access = access_of(
            self.administration, self.operations.clock, require_tokens=require_tokens
        )
        application = build_application(self.operations, self.administration, access, facts)
        mount_console(application, self.parts())
        return application

    def parts(self) -> ConsoleParts:
        return ConsoleParts(
            operations=self.operations,
            history=self.history,
            onlookers=Onlookers(),
            sessions=self.sessions,
            administration=self.administration,
        )

    def empty(self) -> None:
        """Have nothing again."""
        with self.state.transaction() as transaction:
            for table in reversed(tables.metadata.sorted_tables):
                if table is not tables.turn:
                    transaction.write(table.delete())
        self.paths.audit_log.unlink(missing_ok=True)
        self.history.__init__()  # the application holds this one
        self.logs.lines.clear()

    def deploy(
        self, name: str, bundle: str, *, ready: int = 1, note: str = "", **configuration: object
    ) -> None:
        """Have a deployment with its first revision serving."""
        self.deploy_all([name], bundle, ready=ready, note=note, **configuration)

    def deploy_all(
        self,
        names: list[str],
        bundle: str,
        *,
        ready: int = 1,
        note: str = "",
        **configuration: object,
    ) -> None:
        """Have several, written at once."""
        now, pin = self.operations.clock(), self._pin(bundle)
        wanted = DeploymentConfiguration.model_validate(configuration)
        with self.state.transaction() as transaction:
            for name in names:
                change = create(name, pin, wanted, Asked(now - 7000, note=note))
                assert change.revision is not None
                replicas = tuple(self._replica(name, 1, index) for index in range(ready))
                deployment = replace(change.deployment, replicas=max(1, ready))
                state = DeploymentState(deployment, {1: change.revision}, replicas)
                after, events = _advanced(state, now)
                transaction.put_deployment(after)
                transaction.add_revision(change.revision)
                for replica in replicas:
                    transaction.put_replica(replica)
                for event in (*change.events, *events):
                    transaction.add_event(event)

    def coming(self, name: str, bundle: str, *, ready: int = 1) -> None:
        """Have a second revision on its way."""
        with self.state.transaction() as transaction:
            state = transaction.state(name)
            latest = state.revisions[state.deployment.latest_revision]
            asked = Asked(self.operations.clock() - 60)
            change = update(state.deployment, latest, asked, bundle=self._pin(bundle))
            assert change.revision is not None
            transaction.put_deployment(change.deployment)
            transaction.add_revision(change.revision)
            for event in change.events:
                transaction.add_event(event)
        self.add_replicas(name, change.revision.number, ready)
        self.advance(name)

    def add_replicas(self, name: str, revision: int, count: int) -> None:
        with self.state.transaction() as transaction:
            for index in range(count):
                transaction.put_replica(self._replica(name, revision, index))

    def _replica(self, name: str, revision: int, index: int) -> Replica:
        now = self.operations.clock()
        made = Replica(
            id=f"{name[-9:]}{revision}{index}".ljust(16, "0"),
            deployment=name,
            revision=revision,
            phase=ReplicaPhase.READY,
            started_at=now - 6900 + 1000 * revision,
            since_at=now - 6800 + 1000 * revision,
            ready_at=now - 6800,
            pid=4000 + index,
        )
        self.logs.lines[made.id] = [
            f"{at} INFO dosirak.serving: answered request {at}" for at in range(40)
        ]
        return made

    def advance(self, name: str) -> None:
        """Move a rollout on as the controller would."""
        with self.state.transaction() as transaction:
            after, events = _advanced(transaction.state(name), self.operations.clock())
            transaction.put_deployment(after)
            for event in events:
                transaction.add_event(event)

    def fail(self, name: str, reason: str) -> None:
        """Have the rollout under way fail."""
        now = self.operations.clock()
        with self.state.transaction() as transaction:
            deployment = transaction.deployment(name)
            assert deployment.rollout is not None
            ended = replace(deployment.rollout, phase=RolloutPhase.FAILED, reason=reason)
            transaction.put_deployment(replace(deployment, rollout=ended))
            transaction.add_event(Event(now, name, "rollout_failed", reason))

    def count(
        self, steps: int = 1, *, per_second: float = 40.0, until: float | None = None
    ) -> None:
        """Have so many steps of traffic for every revision that has a replica."""
        with self.state.reading() as reading:
            replicas = reading.replicas()
        keys = sorted({(one.deployment, one.revision) for one in replicas if one.phase.alive})
        end = until or self.operations.clock()
        for step in range(steps):
            at = end - STEP_S * (steps - 1 - step)
            self.history.take(
                Counted(
                    tuple(_traffic(key, at, per_second) for key in keys),
                    {
                        key: sum((one.deployment, one.revision) == key for one in replicas)
                        for key in keys
                    },
                    {key: 6 + 5 * math.sin(at / 40) for key in keys},
                ),
                at,
            )

    def _pin(self, bundle: str) -> BundlePin:
        name, version = bundle.split(":")
        found = {
            (one.name, one.version): one.digest for one in self.operations.store.entries("bundles")
        }
        return BundlePin(bundle, found.get((name, version), "0" * 64))


def _advanced(state: DeploymentState, now: float) -> tuple[Deployment, list[Event]]:
    """Ask again until nothing moves by itself, as the controller does."""
    told: list[Event] = []
    while True:
        after, events = advance(state, now, routed=True)
        told += events
        if after == state.deployment:
            return after, told
        state = replace(state, deployment=after)


def _traffic(key: tuple[str, int], at: float, per_second: float) -> RevisionTraffic:
    # A counter of a rate that swings: its integral, so that it only grows.
    share = per_second * (1 + len(key[0]) % 5) / key[1]
    since = at - 1_700_000_000
    # The slopes of both waves stay below one together: a counter never goes back.
    counted = share * (since - 90 * math.cos(since / 300) - 5 * math.cos(since / 10 + len(key[0])))
    wave = 1 + 0.4 * math.sin(at / 70) + 0.1 * math.sin(at / 7)
    return RevisionTraffic(
        deployment=key[0],
        revision=key[1],
        requests=int(counted),
        errors=int(counted * 0.012) if key[0].startswith("fraud") else 0,
        in_flight=int(3 * wave),
        latency_ms={"p50": 4.1 * wave, "p95": 11.8 * wave, "p99": 27.0 * wave},
    )


def seeded(paths: PlatformPaths, state: PlatformState, store: Store, router_url: str) -> Seeded:
    """Return an empty platform."""
    ledger = Ledger.of(paths, state)
    logs = Logs()
    operations = PlatformOperations(
        state=state,
        store=store,
        ledger=ledger,
        wake=lambda: None,
        clock=time.time,
        log_source=logs,
        router_url=router_url,
        check_options=validate_service_options,
    )
    administration = Administration(state, paths, ledger, lambda: None)
    return Seeded(paths, state, operations, administration, TrafficHistory(), logs, Sessions())
