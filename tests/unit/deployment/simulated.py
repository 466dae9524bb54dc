"""A place and a router that exist on paper, under a clock that only `tick` moves.

The real controller's order of things: look, decide, write down, do, route. Revisions named in
`broken` never become ready; a replica takes `START_TICKS` to become ready and a told one
`STOP_TICKS` to end; the router takes up a table one tick later.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from dosirak.deployment.changes import Asked, BundlePin, Change, create
from dosirak.deployment.configuration import DeploymentConfiguration
from dosirak.deployment.observed import observe
from dosirak.deployment.plan import Deed, Surroundings, plan, starts_needed
from dosirak.deployment.records import (
    Deployment,
    DeploymentState,
    Event,
    ReplicaPhase,
    Revision,
)
from dosirak.deployment.rollout import advance
from dosirak.deployment.routes import table_of
from dosirak.deployment.routing import RoutedDeployment, Upstream
from dosirak.deployment.target import SeenReplica

START_TICKS = 3
STOP_TICKS = 2
TICK_S = 0.5


@dataclass
class Place:
    """Replicas on paper: how many ticks each has lived, and whether it was told to stop."""

    age: dict[str, int] = field(default_factory=dict[str, int])
    revision: dict[str, int] = field(default_factory=dict[str, int])
    told: dict[str, int] = field(default_factory=dict[str, int])
    ended: dict[str, str] = field(default_factory=dict[str, str])

    def look(self) -> dict[str, SeenReplica]:
        return {
            name: SeenReplica(
                replica=name,
                alive=name not in self.ended,
                ready=name not in self.ended and self.age[name] >= START_TICKS,
                stage="serving",
                upstream=Upstream(name, socket_path=f"/{name}"),
                reason=self.ended.get(name, ""),
            )
            for name in self.age
        }

    def serving(self) -> set[str]:
        return {name for name, seen in self.look().items() if seen.ready}


@dataclass
class World:
    """One deployment and everything around it."""

    state: DeploymentState
    now: float = 1000.0
    place: Place = field(default_factory=Place)
    broken: set[int] = field(default_factory=set[int])
    events: list[Event] = field(default_factory=list[Event])
    applied: RoutedDeployment | None = None
    _asked: RoutedDeployment | None = None
    _ids: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def deployment(self) -> Deployment:
        return self.state.deployment

    def asked(self) -> Asked:
        return Asked(self.now)

    def do(self, verb: Callable[..., Change], *args: object, **kwargs: object) -> Deployment:
        self.take(verb(self.deployment, *args, asked=self.asked(), **kwargs))
        return self.deployment

    def take(self, change: Change) -> None:
        revisions = dict(self.state.revisions)
        if change.revision is not None:
            revisions[change.revision.number] = change.revision
        self.events += change.events
        self.state = replace(self.state, deployment=change.deployment, revisions=revisions)

    def latest(self) -> Revision:
        return self.state.revisions[self.deployment.latest_revision]

    def kill(self, replica: str) -> None:
        if self.place.age[replica] >= 0:
            self.place.ended.setdefault(replica, "It was killed.")

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self._tick()

    def _tick(self) -> None:
        self.now += TICK_S
        self.applied = self._asked
        self._grow()
        seen = self.place.look()
        observation = observe(self.state, seen, self.now)
        routed = self.applied is not None and self.applied == self._asked
        deployment, events = advance(observation.state, self.now, routed=routed)
        state = replace(observation.state, deployment=deployment)
        draining = {r.id for r in state.replicas if r.phase is ReplicaPhase.DRAINING}
        around = Surroundings(
            seen=seen.keys(),
            idle=draining - self.routed(),
            fresh_ids=tuple(f"r{next(self._ids)}" for _ in range(starts_needed(state))),
            told=self.place.told.keys(),
        )
        replicas = {replica.id: replica for replica in state.replicas}
        for action in plan(state, around, self.now):
            name = action.replica.id
            match action.deed:
                case Deed.START:
                    self.place.age.setdefault(name, 0)
                    self.place.revision[name] = action.replica.revision
                case Deed.STOP:
                    assert name not in self.routed(), "it was told to stop while it had requests"
                    self.place.told.setdefault(name, 0)
                case Deed.KILL:
                    self.place.ended.setdefault(name, "It was killed.")
                case Deed.FORGET:
                    replicas.pop(name)
                    continue
                case Deed.WITHDRAW:
                    pass
            if action.deed is not Deed.KILL:
                replicas[name] = action.replica
        self.events += [*observation.events, *events]
        self.state = replace(state, replicas=tuple(replicas.values()))
        self._asked = self._table()

    def _table(self) -> RoutedDeployment | None:
        upstreams = {
            name: sight.upstream
            for name, sight in self.place.look().items()
            if sight.upstream is not None
        }
        routed = table_of([self.state], upstreams, lambda revision: ()).deployments
        return routed[0] if routed else None

    def routed(self) -> set[str]:
        """Replicas that the router still sends requests to."""
        if self.applied is None:
            return set()
        return {upstream.replica for one in self.applied.revisions for upstream in one.upstreams}

    def shares(self) -> dict[int, int]:
        """What share of the requests each revision gets, as the router has it."""
        if self.applied is None:
            return {}
        return {
            one.number: one.weight_percent for one in self.applied.revisions if one.weight_percent
        }

    def alive(self, revision: int) -> int:
        return sum(
            name not in self.place.ended and number == revision
            for name, number in self.place.revision.items()
        )

    def _grow(self) -> None:
        place = self.place
        for name in place.age:
            if name in place.ended:
                continue
            place.age[name] += 1
            if place.revision[name] in self.broken and place.age[name] >= START_TICKS:
                place.ended[name] = "Its model is broken."
        for name in place.told:
            place.told[name] += 1
            if place.told[name] >= STOP_TICKS:
                place.ended.setdefault(name, "")


def bundle(name: str = "1") -> BundlePin:
    return BundlePin(f"iris:{name}", f"sha256:{name}")


def deployed(configuration: DeploymentConfiguration, *, ticks: int = 10) -> World:
    """Return a world with a first revision that serves."""
    change = create("iris", bundle(), configuration, Asked(1000.0))
    assert change.revision is not None
    world = World(DeploymentState(change.deployment, {1: change.revision}))
    world.tick(ticks)
    return world
