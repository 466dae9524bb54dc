"""What is read from the state in one snapshot, and written to it in one transaction.

Both live for one `with` block of `PlatformState`. Reading many deployments takes one query for each
table, however many there are. Old events and kept answers leave with the writes that push them out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, Table, and_, delete, insert, or_, select, update
from sqlalchemy.sql import Executable
from sqlalchemy.sql.elements import ColumnElement

from dosirak.deployment.records import (
    Deployment,
    DeploymentState,
    Event,
    Replica,
    ReplicaPhase,
    Revision,
)
from dosirak.deployment.state import rows, tables
from dosirak.errors import DeploymentNotFound, RevisionNotFound

ENDED_REPLICAS_FOR_S = 600.0
ANSWERS_FOR_S = 86400.0
EVENTS_KEPT = 20_000

_ALIVE = tuple(phase.value for phase in ReplicaPhase if phase.alive)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What was answered to a request with an idempotency key, to be answered again.

    Attributes:
        request_digest: of the request; another request with the same key is a mistake.
        body: kept as it is, so never one that shows a token.
    """

    request_digest: str
    status: int
    body: bytes


class Reading:
    """The state as it is at one moment.

    Args:
        connection: within a transaction of its own.
        now: the time of the block, by the wall clock.
    """

    def __init__(self, connection: Connection, now: float) -> None:
        self._connection = connection
        self._now = now

    @property
    def now(self) -> float:
        """The time of the block."""
        return self._now

    def rows(self, query: Select[Any]) -> Sequence[Row]:
        """Return what a query finds, by column."""
        found = self._connection.execute(query)
        names = [str(name) for name in found.keys()]  # noqa: SIM118 - a result is no mapping
        return [dict(zip(names, row, strict=True)) for row in found]

    def deployments(self) -> list[Deployment]:
        """Return every deployment, by name."""
        query = select(tables.deployments).order_by(tables.deployments.c.name)
        return [rows.deployment_of(row) for row in self.rows(query)]

    def deployment(self, name: str) -> Deployment:
        """Return one deployment.

        Raises:
            DeploymentNotFound: there is none of this name.
        """
        query = select(tables.deployments).where(tables.deployments.c.name == name)
        found = self.rows(query)
        if not found:
            raise DeploymentNotFound(
                f"There is no deployment {name!r}.", remedy="`dosirak deployment list` shows all."
            )
        return rows.deployment_of(found[0])

    def revisions(self, name: str) -> dict[int, Revision]:
        """Return every revision of a deployment, by number."""
        columns = tables.revisions.c
        query = select(tables.revisions).where(columns.deployment == name).order_by(columns.number)
        return {row["number"]: rows.revision_of(row) for row in self.rows(query)}

    def revision(self, name: str, number: int) -> Revision:
        """Return one revision.

        Raises:
            RevisionNotFound: the deployment has none of this number.
        """
        columns = tables.revisions.c
        found = self.rows(
            select(tables.revisions).where(columns.deployment == name, columns.number == number)
        )
        if not found:
            raise RevisionNotFound(
                f"The deployment {name!r} has no revision {number}.",
                remedy=f"`dosirak deployment history {name}` lists them.",
            )
        return rows.revision_of(found[0])

    def replicas(self, name: str | None = None) -> list[Replica]:
        """Return the replicas that are known, ended ones included, the oldest first."""
        columns = tables.replicas.c
        query = select(tables.replicas).order_by(columns.started_at, columns.id)
        if name is not None:
            query = query.where(columns.deployment == name)
        return [rows.replica_of(row) for row in self.rows(query)]

    def states(self) -> list[DeploymentState]:
        """Return what is needed to decide about every deployment, by name."""
        return self._states(self.deployments(), None)

    def state(self, name: str) -> DeploymentState:
        """Return what is needed to decide about one deployment.

        Raises:
            DeploymentNotFound: there is none of this name.
        """
        return self._states([self.deployment(name)], name)[0]

    def events(
        self, name: str | None = None, *, after: int = 0, limit: int = 200, newest: bool = False
    ) -> list[tuple[int, Event]]:
        """Return events with their numbers, the oldest first.

        Args:
            name: of one deployment only.
            after: only those with a greater number.
            limit: the first so many; with `newest`, the last so many.
            newest: see `limit`.
        """
        columns = tables.events.c
        query = select(tables.events).where(columns.id > after).limit(limit)
        query = query.order_by(columns.id.desc() if newest else columns.id)
        if name is not None:
            query = query.where(columns.deployment == name)
        found = [(int(row["id"]), rows.event_of(row)) for row in self.rows(query)]
        return found[::-1] if newest else found

    def kept_answer(self, key: str) -> KeptAnswer | None:
        """Return what was answered to the request with this key in the last 24 hours."""
        columns = tables.kept_answers.c
        found = self.rows(
            select(tables.kept_answers).where(
                columns.key == key, columns.at > self._now - ANSWERS_FOR_S
            )
        )
        if not found:
            return None
        row = rows.checked("kept_answers", found[0])
        return KeptAnswer(row["request_digest"], row["status"], row["body"])

    def fact(self, name: str) -> str | None:
        """Return a single value."""
        found = self.rows(select(tables.facts).where(tables.facts.c.name == name))
        return rows.checked("facts", found[0])["value"] if found else None

    def commits(self) -> int:
        """Return how many transactions have written anything so far."""
        return int(self._connection.execute(select(tables.turn.c.commits)).scalar_one())

    def _states(self, deployments: list[Deployment], name: str | None) -> list[DeploymentState]:
        revisions: dict[str, dict[int, Revision]] = defaultdict(dict)
        for revision in self._mattering_revisions(name):
            revisions[revision.deployment][revision.number] = revision
        replicas: dict[str, list[Replica]] = defaultdict(list)
        for replica in self._recent_replicas(name):
            replicas[replica.deployment].append(replica)
        return [
            DeploymentState(each, revisions[each.name], tuple(replicas[each.name]))
            for each in deployments
        ]

    def _mattering_revisions(self, name: str | None) -> list[Revision]:
        found = [row for query in _mattering(name) for row in self.rows(query)]
        unique = {(row["deployment"], row["number"]): row for row in found}
        return [rows.revision_of(row) for row in unique.values()]

    def _recent_replicas(self, name: str | None) -> list[Replica]:
        columns = tables.replicas.c
        recent = or_(columns.phase.in_(_ALIVE), columns.since_at > self._now - ENDED_REPLICAS_FOR_S)
        query = select(tables.replicas).where(recent).order_by(columns.started_at, columns.id)
        if name is not None:
            query = query.where(columns.deployment == name)
        return [rows.replica_of(row) for row in self.rows(query)]


def _mattering(name: str | None) -> tuple[Select[Any], Select[Any]]:
    """Select the revisions that a deployment may move to, and those of replicas that run."""
    revision, deployment, replica = tables.revisions, tables.deployments.c, tables.replicas.c
    named = and_(
        revision.c.deployment == deployment.name,
        revision.c.number.in_(
            (
                deployment.active_revision,
                deployment.previous_revision,
                deployment.latest_revision,
                deployment.rollout_to,
                deployment.rollout_from,
            )
        ),
    )
    running = and_(
        revision.c.deployment == replica.deployment, revision.c.number == replica.revision
    )
    by_deployment = select(revision).join(tables.deployments, named)
    by_replica = (
        select(revision).join(tables.replicas, running).where(replica.phase.in_(_ALIVE)).distinct()
    )
    if name is None:
        return by_deployment, by_replica
    return (
        by_deployment.where(deployment.name == name),
        by_replica.where(replica.deployment == name),
    )


class Transaction(Reading):
    """Changes that become true together at the end of the block, or not at all.

    No other transaction runs meanwhile, so what is read here stays so until the end.
    """

    def __init__(self, connection: Connection, now: float) -> None:
        super().__init__(connection, now)
        self._wrote = False

    def write(self, statement: Executable) -> int:
        """Carry out a statement that writes, and return how many rows it met."""
        self._wrote = True
        return self._connection.execute(statement).rowcount

    def finish(self) -> None:
        """Count this transaction, if it wrote; called once, at the end of the block."""
        if self._wrote:
            self.write(update(tables.turn).values(commits=tables.turn.c.commits + 1))

    def put_deployment(self, deployment: Deployment) -> None:
        """Write a deployment, new or not."""
        self.put(
            tables.deployments,
            tables.deployments.c.name == deployment.name,
            rows.deployment_values(deployment),
        )

    def delete_deployment(self, name: str) -> None:
        """Forget a deployment with its revisions and replicas; its events stay."""
        self.write(delete(tables.deployments).where(tables.deployments.c.name == name))

    def add_revision(self, revision: Revision) -> None:
        """Write a new revision.

        Raises:
            DeploymentConflict: there is one of this number.
        """
        values = rows.sealed(tables.revisions, rows.revision_values(revision))
        self.write(insert(tables.revisions).values(values))

    def put_replica(self, replica: Replica) -> None:
        """Write a replica, new or not."""
        self.put(tables.replicas, tables.replicas.c.id == replica.id, rows.replica_values(replica))

    def remove_replica(self, replica: str) -> None:
        """Forget a replica."""
        self.write(delete(tables.replicas).where(tables.replicas.c.id == replica))

    def add_event(self, event: Event) -> int:
        """Write an event and return its number; the newest 20,000 are kept."""
        number = self.add(tables.events, rows.event_values(event))
        self.write(delete(tables.events).where(tables.events.c.id <= number - EVENTS_KEPT))
        return number

    def keep_answer(self, key: str, answer: KeptAnswer) -> None:
        """Keep what is answered to a request with this key, for 24 hours."""
        columns = tables.kept_answers.c
        self.write(delete(tables.kept_answers).where(columns.at <= self._now - ANSWERS_FOR_S))
        values = {
            "key": key,
            "request_digest": answer.request_digest,
            "status": answer.status,
            "body": answer.body,
            "at": self._now,
        }
        self.put(tables.kept_answers, columns.key == key, values)

    def put_fact(self, name: str, value: str) -> None:
        """Write a single value."""
        self.put(tables.facts, tables.facts.c.name == name, {"name": name, "value": value})

    def put(self, table: Table, where: ColumnElement[bool], values: rows.Values) -> None:
        """Write a sealed row in the place of the one that `where` finds, or as a new one."""
        row = rows.sealed(table, values)
        if self.write(update(table).where(where).values(row)) == 0:
            self.write(insert(table).values(row))

    def add(self, table: Table, values: rows.Values) -> int:
        """Write a sealed row that the database numbers, and return its number."""
        self._wrote = True
        row = rows.sealed(table, values)
        return int(
            self._connection.execute(insert(table).values(row).returning(table.c.id)).scalar_one()
        )
