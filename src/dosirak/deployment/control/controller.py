"""The loop that makes desired state true: look, decide, write down, do.

One turn looks at the replicas, asks the pure parts (`observed`, `rollout`, `plan`, `routes`) about
every deployment, writes what they decided in one transaction for each deployment that changes, and
then tells the target and the router. Nothing is done that was not written down first, so a
controller that is killed between any two lines is continued by the next one.

What it keeps in memory can be lost: which replicas were told to stop, since when one is silent, and
from which version of the routing table on a rollout's weights hold and a replica is left out.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from dosirak.deployment.configuration import Access
from dosirak.deployment.needed_bundles import needed_bundles
from dosirak.deployment.observed import Observation, observe, start_failed
from dosirak.deployment.plan import (
    Action,
    Deed,
    Surroundings,
    only_strangers_serve,
    plan,
    starts_needed,
    strangers,
)
from dosirak.deployment.records import (
    Deployment,
    DeploymentState,
    Event,
    Presence,
    Replica,
    ReplicaPhase,
    Rollout,
)
from dosirak.deployment.rollout import advance
from dosirak.deployment.routes import IdempotentPaths, table_of
from dosirak.deployment.routing import Router, RoutingTable
from dosirak.deployment.state.database import PlatformState
from dosirak.deployment.state.transactions import Transaction
from dosirak.deployment.target import ReplicaOrder, SeenReplica, Target
from dosirak.errors import DeploymentNotFound, DosirakError
from dosirak.observe.logs import ROOT_LOGGER

_logger = logging.getLogger(f"{ROOT_LOGGER}.platform")
_BUSY_S = 0.1
_QUIET_S = 0.5
# A replica that was ready and has not said so for this long is replaced.
_SILENT_S = 30.0
# A replica that nobody wrote down is ended after this long, once everything else is settled.
_STRANGER_S = 10.0
# How long requests stay where they are while those that nobody wrote down are all there is.
_HELD_S = 60.0


class OrderWriter(Protocol):
    """Makes the order for a replica: its environment with secrets, its access file."""

    def __call__(self, state: DeploymentState, replica: Replica) -> ReplicaOrder:
        """Return what to run."""
        ...


AccessPublisher = Callable[[Mapping[str, Access]], None]
"""Tells the replicas of every deployment who may call; those not named are gone."""

UsesNote = Callable[[Mapping[str, Sequence[str]]], None]
"""Keeps bundles from being deleted: each reference, and the deployments that need it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What one look at one deployment came to."""

    observation: Observation
    deployment: Deployment
    events: tuple[Event, ...]
    actions: tuple[Action, ...]
    before: Deployment

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing to write and nothing to do."""
        return not (
            self.observation.changed
            or self.events
            or self.actions
            or self.deployment != self.before
        )


@dataclass(slots=True)
class _Memory:
    """What a turn leaves for the next; losing it costs time, nothing else.

    Attributes:
        deployments: rollouts that move, and the version of the table that was made for each.
    """

    told: set[str] = field(default_factory=set[str])
    silent_since: dict[str, float] = field(default_factory=dict[str, float])
    left_out_since: dict[str, int] = field(default_factory=dict[str, int])
    deployments: dict[str, tuple[Rollout, int]] = field(
        default_factory=dict[str, tuple[Rollout, int]]
    )
    strangers_since: dict[str, float] = field(default_factory=dict[str, float])
    access: dict[str, Access] | None = None
    needed: dict[str, list[str]] | None = None
    began_at: float | None = None
    table: RoutingTable | None = None
    version: int = 0
    applied: int = 0


class Controller:
    """Reconciles what people want with what runs, until it is stopped."""

    def __init__(
        self,
        state: PlatformState,
        target: Target,
        router: Router,
        *,
        orders: OrderWriter,
        idempotent_paths: IdempotentPaths,
        publish_access: AccessPublisher,
        note_uses: UsesNote,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._state = state
        self._target = target
        self._router = router
        self._orders = orders
        self._idempotent_paths = idempotent_paths
        self._publish_access = publish_access
        self._note_uses = note_uses
        self._clock = clock
        self._awake = threading.Event()
        self._stopping = threading.Event()
        self._memory = _Memory()
        self.last_error = ""
        self.turns = 0

    def wake(self) -> None:
        """Have it look again now: something was written."""
        self._awake.set()

    def stop(self) -> None:
        """End after the present turn; what runs goes on."""
        self._stopping.set()
        self._awake.set()

    def run(self) -> None:
        """Turn until it is stopped. An error of one turn is told and the next one tries again."""
        while not self._stopping.is_set():
            self._awake.clear()
            busy = False
            try:
                busy = self.turn()
                self.last_error = ""
            except Exception as error:
                self._tell(error)
            self._awake.wait(_BUSY_S if busy else _QUIET_S)

    def turn(self) -> bool:
        """Look once and do what follows; return whether something is under way."""
        self._router.ensure_running()
        seen = self._target.look()
        now = self._clock()
        with self._state.reading() as reading:
            states = reading.states()
        self._tell_access(states)
        self._tell_uses(states)
        if any(map(_is_busy, states)):
            self._memory.applied = self._router.applied_version()
        around = self._surroundings(states, seen, now)
        after = [self._settle(state, seen, around, now) for state in states]
        self._route(after, seen)
        self._end_strangers(states, seen)
        self.turns += 1
        return any(map(_is_busy, after))

    def _tell_access(self, states: list[DeploymentState]) -> None:
        """Say who may call whom, before a replica starts that would find nothing said."""
        wanted = {state.deployment.name: state.deployment.configuration.access for state in states}
        if wanted != self._memory.access:
            self._publish_access(wanted)
            self._memory.access = wanted

    def _tell_uses(self, states: list[DeploymentState]) -> None:
        """Say which bundles must stay."""
        needed = needed_bundles(states)
        if needed != self._memory.needed:
            self._note_uses(needed)
            self._memory.needed = needed

    def _settle(
        self,
        state: DeploymentState,
        seen: Mapping[str, SeenReplica],
        around: Surroundings,
        now: float,
    ) -> DeploymentState:
        """Decide for one deployment; write and do what was decided."""
        if self._decide(state, seen, around, now).is_nothing and not _is_over(state):
            return state
        name = state.deployment.name
        try:
            with self._state.transaction() as transaction:
                fresh = transaction.state(name)  # people may have changed it meanwhile
                decision = self._decide(fresh, seen, around, now)
                after = _write(transaction, decision)
        except DeploymentNotFound:
            return replace(state, replicas=())
        for action in decision.actions:
            self._do(action, after)
        return after

    def _decide(
        self,
        state: DeploymentState,
        seen: Mapping[str, SeenReplica],
        around: Surroundings,
        now: float,
    ) -> Decision:
        observation = observe(state, seen, now)
        deployment, events = advance(observation.state, now, routed=self._is_routed(state))
        advanced = replace(observation.state, deployment=deployment)
        ids = tuple(uuid.uuid4().hex[:16] for _ in range(starts_needed(advanced)))
        actions = plan(advanced, replace(around, fresh_ids=ids), now)
        told = observation.events + events
        return Decision(observation, deployment, told, actions, state.deployment)

    def _is_routed(self, state: DeploymentState) -> bool:
        """Whether requests follow what was decided of a deployment at the end of the last turn."""
        memory = self._memory
        moving, routed = state.deployment.moving, memory.deployments.get(state.deployment.name)
        if moving is None or routed is None:
            return False
        given, version = routed
        return moving == given and version <= memory.applied

    def _surroundings(
        self, states: Iterable[DeploymentState], seen: Mapping[str, SeenReplica], now: float
    ) -> Surroundings:
        memory = self._memory
        replicas = [replica for state in states for replica in state.replicas]
        draining = {one.id for one in replicas if one.phase is ReplicaPhase.DRAINING}
        memory.told &= {one.id for one in replicas if one.phase is ReplicaPhase.STOPPING}
        ready = {one.id for one in replicas if one.phase is ReplicaPhase.READY}
        quiet = {name for name in ready if name in seen and not seen[name].ready}
        memory.silent_since = {name: memory.silent_since.get(name, now) for name in quiet}
        return Surroundings(
            seen=seen.keys(),
            idle=self._idle(draining),
            fresh_ids=(),
            silent={name for name, since in memory.silent_since.items() if now - since > _SILENT_S},
            told=memory.told,
        )

    def _idle(self, draining: set[str]) -> set[str]:
        """Return those that the router has let go of and that have no request of it left."""
        memory = self._memory
        memory.left_out_since = {
            name: version for name, version in memory.left_out_since.items() if name in draining
        }
        if not draining:
            return set()
        applied = memory.applied
        return {
            name
            for name in draining
            if 0 < memory.left_out_since.get(name, 0) <= applied
            and not self._router.in_flight(name)
        }

    def _route(self, states: list[DeploymentState], seen: Mapping[str, SeenReplica]) -> None:
        memory, now = self._memory, self._clock()
        memory.began_at = now if memory.began_at is None else memory.began_at
        waited_s = now - memory.began_at
        if memory.table is None and waited_s < _HELD_S and only_strangers_serve(states, seen):
            return  # the router goes on with the table of the control plane before
        upstreams = {
            name: sight.upstream for name, sight in seen.items() if sight.upstream is not None
        }
        table = table_of(states, upstreams, self._idempotent_paths)
        if table != memory.table:
            memory.version = self._router.apply(table)
            memory.table = table
        memory.deployments = {
            state.deployment.name: (state.deployment.moving, memory.version)
            for state in states
            if state.deployment.moving is not None
        }
        for state in states:
            for replica in state.replicas:
                if replica.phase is ReplicaPhase.DRAINING:
                    memory.left_out_since.setdefault(replica.id, memory.version)

    def _do(self, action: Action, state: DeploymentState) -> None:
        replica = action.replica
        try:
            match action.deed:
                case Deed.START:
                    self._start(state, replica)
                case Deed.STOP:
                    self._memory.told.add(replica.id)
                    self._target.stop(replica.id)
                case Deed.KILL:
                    self._target.kill(replica.id)
                case Deed.FORGET:
                    self._target.forget(replica.id)
                case Deed.WITHDRAW:
                    pass  # the table without it is applied at the end of the turn
        except DosirakError as error:
            # It stays as it was written down, and the next turn tries again.
            self._tell(error)

    def _start(self, state: DeploymentState, replica: Replica) -> None:
        try:
            self._target.start(self._orders(state, replica))
        except DosirakError as error:
            with self._state.transaction() as transaction:
                fresh = transaction.state(replica.deployment)
                failed = start_failed(fresh, replica, str(error), self._clock())
                for changed in failed.changed:
                    transaction.put_replica(changed)
                transaction.put_deployment(failed.state.deployment)
                for event in failed.events:
                    transaction.add_event(event)

    def _end_strangers(
        self, states: list[DeploymentState], seen: Mapping[str, SeenReplica]
    ) -> None:
        now, memory = self._clock(), self._memory
        memory.strangers_since = {
            name: memory.strangers_since.get(name, now) for name in strangers(states, seen)
        }
        # After a database was restored they may be what serves: what is wanted comes first.
        calm = not any(map(_is_busy, states))
        unknown = [
            name
            for name, since in memory.strangers_since.items()
            if not seen[name].alive or (calm and now - since > _STRANGER_S)
        ]
        if not unknown:
            return
        with self._state.reading() as reading:  # one may have been written down since
            known = {replica.id for replica in reading.replicas()}
        for name in set(unknown) - known:
            if seen[name].alive:
                _logger.warning("Replica %s runs and nobody knows it; it is ended.", name)
                self._target.kill(name)
            else:
                self._target.forget(name)

    def _tell(self, error: Exception) -> None:
        told = str(error) or type(error).__name__
        if told == self.last_error:
            return
        self.last_error = told
        if isinstance(error, DosirakError):
            _logger.error("%s", told)
        else:
            _logger.exception("The controller's turn failed.")


def _write(transaction: Transaction, decision: Decision) -> DeploymentState:
    """Write a decision down and return the state after it."""
    replicas = {replica.id: replica for replica in decision.observation.state.replicas}
    for replica in decision.observation.changed:
        transaction.put_replica(replica)
    for action in decision.actions:
        if action.deed is Deed.FORGET:
            transaction.remove_replica(action.replica.id)
            replicas.pop(action.replica.id, None)
        elif action.deed is not Deed.KILL:
            transaction.put_replica(action.replica)
            replicas[action.replica.id] = action.replica
    if decision.deployment != decision.before:
        transaction.put_deployment(decision.deployment)
    for event in decision.events:
        transaction.add_event(event)
    after = replace(
        decision.observation.state,
        deployment=decision.deployment,
        replicas=tuple(replicas.values()),
    )
    if _is_over(after):
        transaction.delete_deployment(after.deployment.name)
    return after


def _is_over(state: DeploymentState) -> bool:
    """Whether a deleted deployment has nothing left."""
    return state.deployment.presence is Presence.DELETED and not state.replicas


def _is_busy(state: DeploymentState) -> bool:
    settled = (ReplicaPhase.READY, ReplicaPhase.STOPPED, ReplicaPhase.FAILED)
    return state.deployment.moving is not None or any(
        replica.phase not in settled for replica in state.replicas
    )
