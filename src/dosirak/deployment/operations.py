"""What people and programs may do with deployments: one method for each verb, one transaction each.

    asked → state.transaction(): read, check, `changes`, write row + revision + events + audit entry
          → wake the controller → view

Nothing here waits for anything to come true; `control` does that. A method either has done all of
it, its audit entry included, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from dosirak.bundles import Bundle
from dosirak.bundles import get as get_bundle
from dosirak.deployment import changes
from dosirak.deployment.asking import Asking
from dosirak.deployment.changes import Asked, BundlePin, Change
from dosirak.deployment.configuration import DeploymentConfiguration
from dosirak.deployment.configuration_file import checked_configuration, merged
from dosirak.deployment.ledger import Ledger
from dosirak.deployment.records import (
    Deployment,
    DeploymentState,
    Event,
    Presence,
    Replica,
    ReplicaPhase,
    Revision,
)
from dosirak.deployment.rollout import weights
from dosirak.deployment.state.database import PlatformState
from dosirak.deployment.state.secrets import list_secrets
from dosirak.deployment.state.transactions import KeptAnswer, Reading, Transaction
from dosirak.deployment.views import (
    DeploymentView,
    EventView,
    ReplicaView,
    RevisionView,
    deployment_view,
    event_view,
    replica_view,
    revision_view,
)
from dosirak.errors import (
    AlreadyExists,
    Conflict,
    DeploymentConflict,
    DeploymentNotFound,
    FieldProblem,
    InvalidConfiguration,
    NotFound,
)
from dosirak.naming import check_name
from dosirak.store import Store

_MAX_KEY = 200


class LogSource(Protocol):
    """Where the logs of replicas are; a `Target` is one."""

    def logs(self, replica: str, *, follow: bool = False, lines: int = 200) -> Iterator[str]:
        """Return the end of a replica's log; with `follow`, go on as it grows."""
        ...


@dataclass(frozen=True, slots=True)
class PlatformOperations:
    """The verbs of deployments.

    Attributes:
        state: the desired state.
        store: where bundles are.
        ledger: writes the audit log.
        wake: tells the controller that something was asked.
        clock: the wall clock, in seconds since the epoch.
        log_source: where replicas' logs are.
        router_url: where deployments are reached.
        check_options: refuses options of `dosirak serve` that replicas could not be given.
    """

    state: PlatformState
    store: Store
    ledger: Ledger
    wake: Callable[[], None]
    clock: Callable[[], float]
    log_source: LogSource
    router_url: str
    check_options: Callable[[Mapping[str, str | int | float | bool]], None]

    # What there is.

    def list(self) -> tuple[DeploymentView, ...]:
        """Return every deployment, by name."""
        with self.state.reading() as reading:
            states = reading.states()
        return tuple(deployment_view(state, self.router_url) for state in states)

    def get(self, name: str) -> DeploymentView:
        """Return one deployment.

        Raises:
            DeploymentNotFound: there is none of this name.
        """
        with self.state.reading() as reading:
            return self._view(reading, name)

    def revisions(self, name: str) -> tuple[RevisionView, ...]:
        """Return a deployment's revisions, the newest first.

        Raises:
            DeploymentNotFound: there is none of this name.
        """
        with self.state.reading() as reading:
            state, found = reading.state(name), reading.revisions(name)
        return tuple(revision_view(found[n], state) for n in sorted(found, reverse=True))

    def revision(self, name: str, number: int) -> RevisionView:
        """Return one revision.

        Raises:
            DeploymentNotFound: there is no such deployment.
            RevisionNotFound: it has no such revision.
        """
        with self.state.reading() as reading:
            state = reading.state(name)
            return revision_view(reading.revision(name, number), state)

    def events(
        self, name: str | None, *, after: int = 0, limit: int = 200, newest: bool = False
    ) -> tuple[EventView, ...]:
        """Return events, the oldest first: the next ones after a number, or the newest.

        Those of a deployment that is gone are still there.
        """
        with self.state.reading() as reading:
            found = reading.events(name, after=after, limit=limit, newest=newest)
        return tuple(event_view(number, event) for number, event in found)

    def replicas(self, name: str) -> tuple[ReplicaView, ...]:
        """Return the replicas of a deployment, those that ended included.

        Raises:
            DeploymentNotFound: there is none of this name.
        """
        with self.state.reading() as reading:
            reading.deployment(name)
            return tuple(replica_view(replica) for replica in reading.replicas(name))

    def log_replica(self, name: str, replica: str = "") -> Replica | None:
        """Return the replica whose log is meant: the one named, else one that serves.

        That is the newest ready one of the revision with the most traffic; where none is ready, the
        newest that lives, else the newest that ended.

        Raises:
            DeploymentNotFound: there is no such deployment.
            NotFound: it has no such replica.
        """
        with self.state.reading() as reading:
            state, known = reading.state(name), reading.replicas(name)
        if not replica:
            return _foremost(state, known)
        found = next((each for each in known if each.id == replica), None)
        if found is None:
            raise NotFound(
                f"The deployment {name!r} has no replica {replica!r}.",
                remedy=f"`dosirak deployment get {name}` shows the ids of its replicas.",
            )
        return found

    def logs(
        self, name: str, *, replica: str = "", follow: bool = False, lines: int = 200
    ) -> Iterator[str]:
        """Return the end of a replica's log: one that serves when none is named."""
        found = self.log_replica(name, replica)
        return (
            iter(())
            if found is None
            else self.log_source.logs(found.id, follow=follow, lines=lines)
        )

    # What may be asked.

    def create(
        self, asking: Asking, name: str, bundle: str, settings: Mapping[str, Any]
    ) -> DeploymentView:
        """Make a deployment.

        Raises:
            InvalidName: the name breaks the grammar.
            BundleNotFound: the store has no such bundle.
            InvalidConfiguration: a setting is wrong; `fields` names it.
            AlreadyExists: there is one of this name.
        """
        check_name(name)
        found = self._bundle(bundle)
        configuration = self._checked(settings)

        def change(reading: Reading) -> Change:
            there = _present(reading, name)
            if there is not None and there.presence is Presence.DELETED:
                raise _being_deleted(name)
            if there is not None:
                raise AlreadyExists(
                    f"There is a deployment {name!r}.",
                    remedy=f"Give it another bundle with `dosirak deployment update {name}"
                    f" --bundle {bundle}`, or choose another name.",
                )
            _check(reading, name, configuration)
            return changes.create(name, found, configuration, self._asked(asking))

        return self._change(asking, name, change)

    def update(
        self,
        asking: Asking,
        name: str,
        *,
        bundle: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> DeploymentView:
        """Take up another bundle, or other settings; what is not named stays.

        Raises:
            DeploymentNotFound: there is none of this name.
            BundleNotFound: the store has no such bundle.
            InvalidConfiguration: a setting is wrong; `fields` names it.
            DeploymentConflict: it was changed since it was seen, or is being deleted.
        """
        pin = None if bundle is None else self._bundle(bundle)

        def change(reading: Reading) -> Change:
            deployment = self._seen(reading, name, asking)
            configuration = self._checked(merged(deployment.configuration, settings or {}))
            _check(reading, name, configuration)
            serving = _heading_to(reading, deployment)
            return changes.update(
                deployment, serving, self._asked(asking), bundle=pin, configuration=configuration
            )

        return self._change(asking, name, change)

    def apply(
        self, asking: Asking, name: str, bundle: str, settings: Mapping[str, Any]
    ) -> DeploymentView:
        """Make a deployment be what is given, whether there is one or not.

        Raises:
            InvalidName: the name breaks the grammar.
            BundleNotFound: the store has no such bundle.
            InvalidConfiguration: a setting is wrong; `fields` names it.
            DeploymentConflict: it was changed since it was seen, or is being deleted.
        """
        check_name(name)
        pin = self._bundle(bundle)
        configuration = self._checked(settings)

        def change(reading: Reading) -> Change:
            _check(reading, name, configuration)
            if asking.generation is None and _present(reading, name) is None:
                return changes.create(name, pin, configuration, self._asked(asking))
            deployment = self._seen(reading, name, asking)
            serving = _heading_to(reading, deployment)
            return changes.update(
                deployment, serving, self._asked(asking), bundle=pin, configuration=configuration
            )

        return self._change(asking, name, change)

    def scale(
        self,
        asking: Asking,
        name: str,
        *,
        replicas: int | None = None,
        min_replicas: int | None = None,
        max_replicas: int | None = None,
    ) -> DeploymentView:
        """Want so many replicas, within bounds that may be changed in the same step.

        Raises:
            DeploymentNotFound: there is none of this name.
            InvalidConfiguration: the number is outside the bounds, or nothing was asked.
            DeploymentConflict: it was changed since it was seen, or is being deleted.
        """
        given = {"min_replicas": min_replicas, "max_replicas": max_replicas}
        bounds = {key: value for key, value in given.items() if value is not None}
        if replicas is None and not bounds:
            raise InvalidConfiguration(
                "Nothing is said of how many replicas.", remedy="Give a number, or bounds."
            )

        def change(reading: Reading) -> Change:
            deployment = self._seen(reading, name, asking)
            serving = _heading_to(reading, deployment)
            made: Change | None = None
            if bounds:
                settings = merged(deployment.configuration, {"scaling": bounds})
                configuration = self._checked(settings)
                made = changes.update(
                    deployment, serving, self._asked(asking), configuration=configuration
                )
                deployment = made.deployment
            if replicas is not None:
                scaled = changes.scale(deployment, replicas, self._asked(asking))
                made = scaled if made is None else _joined(made, scaled)
            assert made is not None  # noqa: S101 - one of the two was asked
            return made

        return self._change(asking, name, change)

    def rollback(self, asking: Asking, name: str, *, to: int | None = None) -> DeploymentView:
        """Give the traffic back to an earlier revision; see `changes.rollback`."""

        def change(reading: Reading) -> Change:
            deployment = self._seen(reading, name, asking)
            return changes.rollback(deployment, reading.revisions(name), self._asked(asking), to=to)

        return self._change(asking, name, change)

    def restart(self, asking: Asking, name: str) -> DeploymentView:
        """Run what serves anew, as another revision; see `changes.restart`."""

        def change(reading: Reading) -> Change:
            deployment = self._seen(reading, name, asking)
            serving = _heading_to(reading, deployment)
            assert serving is not None  # noqa: S101 - a deployment has a revision from the first
            _check(reading, name, deployment.configuration)
            return changes.restart(deployment, serving, self._asked(asking))

        return self._change(asking, name, change)

    def set_weight(self, asking: Asking, name: str, weight_percent: int) -> DeploymentView:
        """Give the coming revision of a canary so much of the traffic."""
        return self._plain(
            asking, name, lambda one, asked: changes.set_weight(one, weight_percent, asked)
        )

    def promote(self, asking: Asking, name: str) -> DeploymentView:
        """Let a waiting revision have all the traffic."""
        return self._plain(asking, name, changes.promote)

    def abort(self, asking: Asking, name: str) -> DeploymentView:
        """Give all the traffic back to the revision that had it."""
        return self._plain(asking, name, changes.abort)

    def pause(self, asking: Asking, name: str) -> DeploymentView:
        """Leave traffic and replicas as they are."""
        return self._plain(asking, name, changes.pause)

    def resume(self, asking: Asking, name: str) -> DeploymentView:
        """Go on with a paused rollout."""
        return self._plain(asking, name, changes.resume)

    def start(self, asking: Asking, name: str) -> DeploymentView:
        """Bring a terminated deployment back."""
        return self._plain(asking, name, changes.start)

    def terminate(self, asking: Asking, name: str) -> DeploymentView:
        """End a deployment's replicas and keep everything else."""
        return self._plain(asking, name, changes.terminate)

    def delete(self, asking: Asking, name: str) -> DeploymentView:
        """End a deployment and forget it."""
        return self._plain(asking, name, changes.delete)

    # How.

    def _plain(
        self, asking: Asking, name: str, verb: Callable[[Deployment, Asked], Change]
    ) -> DeploymentView:
        return self._change(
            asking,
            name,
            lambda reading: verb(self._seen(reading, name, asking), self._asked(asking)),
        )

    def _change(
        self, asking: Asking, name: str, change: Callable[[Reading], Change]
    ) -> DeploymentView:
        """Carry a change out, or answer as the first request with this key was answered."""
        key = f"{asking.actor}:{asking.key}" if asking.key else ""
        if len(asking.key) > _MAX_KEY:
            raise InvalidConfiguration(
                "The idempotency key is too long.", remedy=f"Use at most {_MAX_KEY} characters."
            )
        with self.state.transaction() as transaction:
            digest = ""
            kept = transaction.kept_answer(key) if key else None
            if kept is not None:
                view = _repeated(kept, asking)
            else:
                made = change(transaction)
                _write(transaction, made)
                digest = made.revision.bundle_id if made.revision else ""
                view = self._view(transaction, name)
                if key:
                    body = view.model_dump_json().encode()
                    transaction.keep_answer(key, KeptAnswer(asking.digest, 200, body))
            outcome = "done" if kept is None else "repeated"
            self.ledger.note(transaction, asking, about=name, digest=digest, outcome=outcome)
        self.ledger.flush()
        self.wake()
        return view

    def _view(self, reading: Reading, name: str) -> DeploymentView:
        return deployment_view(reading.state(name), self.router_url)

    def _asked(self, asking: Asking) -> Asked:
        return Asked(at=self.clock(), actor=asking.actor, note=asking.note)

    def _checked(self, settings: Mapping[str, Any]) -> DeploymentConfiguration:
        configuration = checked_configuration(settings)
        self.check_options(configuration.service_options)
        return configuration

    def _bundle(self, reference: str) -> BundlePin:
        found: Bundle = get_bundle(reference, store=self.store)
        return BundlePin(str(found.reference), found.id)

    def _seen(self, reading: Reading, name: str, asking: Asking) -> Deployment:
        """Return the deployment, if it is still the one that was seen."""
        deployment = reading.deployment(name)
        if asking.generation not in (None, deployment.generation):
            raise DeploymentConflict(
                f"The deployment {name!r} was changed meanwhile: it is at generation"
                f" {deployment.generation}, you saw {asking.generation}.",
                remedy="Look at it again, then repeat what still holds.",
            )
        return deployment


def _heading_to(reading: Reading, deployment: Deployment) -> Revision | None:
    """Return the revision that has the traffic, or is getting it.

    After a rollback, or a rollout that failed, that is not the latest one: asking for the latest
    one again means that it is to come again.
    """
    moving = deployment.moving
    number = moving.to_revision if moving else deployment.active_revision
    found = reading.revisions(deployment.name)
    return found.get(deployment.latest_revision if number is None else number)


def _foremost(state: DeploymentState, replicas: Iterable[Replica]) -> Replica | None:
    shares = weights(state)

    def standing(replica: Replica) -> tuple[bool, int, bool, float]:
        ready = replica.phase is ReplicaPhase.READY
        share = shares.get(replica.revision, 0) if ready else 0
        return ready, share, replica.phase.alive, replica.started_at

    return max(replicas, key=standing, default=None)


def _present(reading: Reading, name: str) -> Deployment | None:
    try:
        return reading.deployment(name)
    except DeploymentNotFound:
        return None


def _being_deleted(name: str) -> DeploymentConflict:
    return DeploymentConflict(
        f"The deployment {name!r} is being deleted.",
        remedy="Wait until it is gone, then deploy anew.",
    )


def _write(transaction: Transaction, change: Change) -> None:
    transaction.put_deployment(change.deployment)
    if change.revision is not None:
        transaction.add_revision(change.revision)
    for event in change.events:
        transaction.add_event(event)


def _joined(first: Change, then: Change) -> Change:
    events: tuple[Event, ...] = (*first.events, *then.events)
    return Change(then.deployment, events, first.revision or then.revision)


def _repeated(kept: KeptAnswer, asking: Asking) -> DeploymentView:
    if kept.request_digest != asking.digest:
        raise Conflict(
            "Another request had the same idempotency key.", remedy="Use a new key for it."
        )
    return DeploymentView.model_validate_json(kept.body)


def _check(reading: Reading, name: str, configuration: DeploymentConfiguration) -> None:
    """Refuse what cannot come true: secrets that are not there, addresses that another one has."""
    known = (
        {secret.name for secret in list_secrets(reading)} if configuration.secrets else set[str]()
    )
    problems = [
        FieldProblem("secrets", f"there is no secret {secret!r}")
        for secret in configuration.secrets
        if secret not in known
    ]
    for other in reading.deployments():
        if other.name == name or other.presence is Presence.DELETED:
            continue
        theirs = other.configuration
        if configuration.port is not None and configuration.port == theirs.port:
            problems.append(FieldProblem("port", f"the deployment {other.name!r} has it"))
        shared = set(configuration.hosts) & set(theirs.hosts)
        problems += [
            FieldProblem("hosts", f"the deployment {other.name!r} has {host!r}")
            for host in sorted(shared)
        ]
    if problems:
        raise InvalidConfiguration(
            f"The configuration cannot be used: {problems[0].field}: {problems[0].reason}.",
            remedy="`dosirak secrets set` keeps a secret; addresses belong to one deployment.",
            fields=problems,
        )
