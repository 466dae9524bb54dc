"""Records as rows, and rows as records: nothing else knows how a value is stored.

Each row is sealed: `seal` is a checksum over its other columns, made when it is written and checked
whenever it is read, so that a damaged value is an error and never a decision. Columns that are NULL
do not count, so that a migration may add a column without touching the rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from pydantic import ValidationError
from sqlalchemy import Double, Table

from dosirak.deployment.configuration import DeploymentConfiguration
from dosirak.deployment.records import (
    Deployment,
    Event,
    Presence,
    Replica,
    ReplicaPhase,
    Revision,
    Rollout,
)
from dosirak.errors import CorruptContent

Values = dict[str, Any]
_Decoded = TypeVar("_Decoded")
_SEAL = "seal"
_GIVEN_BY_DATABASE = "id"  # where it is a number: unknown when the row is sealed


def seal_of(values: Mapping[str, object]) -> int:
    """Return the checksum of a row, over every column that is not NULL."""
    counted = [
        (name, value)
        for name, value in sorted(values.items())
        if value is not None
        and name != _SEAL
        and not (name == _GIVEN_BY_DATABASE and isinstance(value, int))
    ]
    return zlib.crc32(msgspec.msgpack.encode(counted))


def sealed(table: Table, values: Values) -> Values:
    """Return the row to be written: whole seconds as floats, texts without what none may hold."""
    row = {
        name: _storable(value, is_time=isinstance(table.c[name].type, Double))
        for name, value in values.items()
    }
    return {**row, _SEAL: seal_of(row)}


def _storable(value: Any, *, is_time: bool = False) -> Any:
    if is_time and value is not None:
        return float(value) + 0.0  # turns -0.0, which SQLite does not keep, into 0.0
    if isinstance(value, str) and ("\0" in value or not value.isascii()):
        # What a replica printed last may be anything; PostgreSQL takes no NUL.
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    return value


def checked(table: str, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the row that was read, if its seal holds.

    Raises:
        CorruptContent: it is not what was written (the disk's fault, or a person's).
    """
    if seal_of(row) != row[_SEAL]:
        raise damaged(f"A row of the table {table!r} is not what was written.")
    return row


def damaged(what: str) -> CorruptContent:
    """Describe damage to the database: what it is, and what to do."""
    return CorruptContent(
        f"The platform's database is damaged. {what}",
        remedy="Stop the platform and start it again: it sets the damaged file aside and restores"
        " the newest sound backup. What is deployed serves on meanwhile.",
    )


def deployment_values(deployment: Deployment) -> Values:
    """Return a deployment's columns."""
    rollout = deployment.rollout
    if rollout is not None:
        rollout = replace(rollout, reason=_storable(rollout.reason))
    return {
        "name": deployment.name,
        "presence": deployment.presence.value,
        "generation": deployment.generation,
        "configuration": deployment.configuration.model_dump_json(),
        "replicas": deployment.replicas,
        "created_at": deployment.created_at,
        "updated_at": deployment.updated_at,
        "created_by": deployment.created_by,
        "active_revision": deployment.active_revision,
        "previous_revision": deployment.previous_revision,
        "previous_until_at": deployment.previous_until_at,
        "latest_revision": deployment.latest_revision,
        "rollout": None if rollout is None else msgspec.json.encode(rollout).decode(),
        "rollout_to": None if rollout is None else rollout.to_revision,
        "rollout_from": None if rollout is None else rollout.from_revision,
    }


def deployment_of(row: Mapping[str, Any]) -> Deployment:
    """Return the deployment of a row."""
    checked("deployments", row)
    return Deployment(
        name=row["name"],
        presence=Presence(row["presence"]),
        generation=row["generation"],
        configuration=_configuration(row["configuration"]),
        replicas=row["replicas"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        created_by=row["created_by"],
        active_revision=row["active_revision"],
        previous_revision=row["previous_revision"],
        previous_until_at=row["previous_until_at"],
        latest_revision=row["latest_revision"],
        rollout=None if row["rollout"] is None else decoded(row["rollout"], Rollout),
    )


def revision_values(revision: Revision) -> Values:
    """Return a revision's columns."""
    return {
        "deployment": revision.deployment,
        "number": revision.number,
        "bundle": revision.bundle,
        "bundle_id": revision.bundle_id,
        "configuration": revision.configuration.model_dump_json(),
        "created_at": revision.created_at,
        "created_by": revision.created_by,
        "note": revision.note,
    }


def revision_of(row: Mapping[str, Any]) -> Revision:
    """Return the revision of a row."""
    checked("revisions", row)
    return Revision(
        deployment=row["deployment"],
        number=row["number"],
        bundle=row["bundle"],
        bundle_id=row["bundle_id"],
        configuration=_configuration(row["configuration"]),
        created_at=row["created_at"],
        created_by=row["created_by"],
        note=row["note"],
    )


def replica_values(replica: Replica) -> Values:
    """Return a replica's columns."""
    return {
        "id": replica.id,
        "deployment": replica.deployment,
        "revision": replica.revision,
        "phase": replica.phase.value,
        "started_at": replica.started_at,
        "since_at": replica.since_at,
        "ready_at": replica.ready_at,
        "pid": replica.pid,
        "reason": replica.reason,
    }


def replica_of(row: Mapping[str, Any]) -> Replica:
    """Return the replica of a row."""
    checked("replicas", row)
    return Replica(
        id=row["id"],
        deployment=row["deployment"],
        revision=row["revision"],
        phase=ReplicaPhase(row["phase"]),
        started_at=row["started_at"],
        since_at=row["since_at"],
        ready_at=row["ready_at"],
        pid=row["pid"],
        reason=row["reason"],
    )


def event_values(event: Event) -> Values:
    """Return an event's columns; the database gives it its number."""
    return {
        "at": event.at,
        "deployment": event.deployment,
        "kind": event.kind,
        "message": event.message,
        "revision": event.revision,
        "replica": event.replica,
        "actor": event.actor,
    }


def event_of(row: Mapping[str, Any]) -> Event:
    """Return the event of a row."""
    checked("events", row)
    return Event(
        at=row["at"],
        deployment=row["deployment"],
        kind=row["kind"],
        message=row["message"],
        revision=row["revision"],
        replica=row["replica"],
        actor=row["actor"],
    )


def decoded(text: str, kind: type[_Decoded]) -> _Decoded:
    """Return the value that is kept as JSON text.

    Raises:
        CorruptContent: another version of the program wrote what this one cannot read.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as error:
        raise damaged(f"It holds what is no {kind.__name__}: {error}.") from error


@lru_cache(maxsize=4096)  # the same few texts are read many times a second
def _configuration(text: str) -> DeploymentConfiguration:
    try:
        return DeploymentConfiguration.model_validate_json(text)
    except ValidationError as error:
        raise damaged(
            f"It holds a configuration that this version cannot read: {error.errors()[0]['msg']}."
        ) from error
