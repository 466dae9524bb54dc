"""The tables of the platform's state, as the program of this version sees them.

They are made by `migrations`; a test compares the two. Values that are only read whole
(configurations, rollouts, scopes) are JSON text; what is searched by has a column. Every row of
content ends in `seal`, a checksum over its other columns (`rows`), because SQLite's own check sees
broken pages and not a flipped bit within a value. All tables are `STRICT` in SQLite.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.dialects.sqlite import REAL
from sqlalchemy.types import TypeEngine

SCHEMA = "0001"  # the newest revision of `migrations` that this program knows

_NUMBER: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")
_TIME: TypeEngine[float] = Double().with_variant(REAL(), "sqlite")

metadata = MetaData()


def _seal() -> Column[Any]:
    return Column("seal", _NUMBER, nullable=False)


def _of_deployment(*, primary_key: bool = False) -> Column[Any]:
    # Checked at the end of a transaction, so that a deployment and what it has come in any order.
    key = ForeignKey("deployments.name", ondelete="CASCADE", deferrable=True, initially="DEFERRED")
    return Column("deployment", Text, key, primary_key=primary_key, nullable=False)


# One row: writers lock it, and count in it what they have written.
turn = Table(
    "turn",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("commits", _NUMBER, nullable=False),
    sqlite_strict=True,
)

# Single values by name, such as the heads of audit logs.
facts = Table(
    "facts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    _seal(),
    sqlite_strict=True,
)

deployments = Table(
    "deployments",
    metadata,
    Column("name", Text, primary_key=True),
    Column("presence", Text, nullable=False),
    Column("generation", _NUMBER, nullable=False),
    Column("configuration", Text, nullable=False),
    Column("replicas", Integer, nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("updated_at", _TIME, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("active_revision", Integer),
    Column("previous_revision", Integer),
    Column("previous_until_at", _TIME),
    Column("latest_revision", Integer, nullable=False),
    Column("rollout", Text),
    Column("rollout_to", Integer),  # of the rollout, for joins
    Column("rollout_from", Integer),
    _seal(),
    sqlite_strict=True,
)

revisions = Table(
    "revisions",
    metadata,
    _of_deployment(primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("bundle", Text, nullable=False),
    Column("bundle_id", Text, nullable=False),
    Column("configuration", Text, nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("note", Text, nullable=False),
    _seal(),
    sqlite_strict=True,
)

replicas = Table(
    "replicas",
    metadata,
    Column("id", Text, primary_key=True),
    _of_deployment(),
    Column("revision", Integer, nullable=False),
    Column("phase", Text, nullable=False),
    Column("started_at", _TIME, nullable=False),
    Column("since_at", _TIME, nullable=False),
    Column("ready_at", _TIME),
    Column("pid", _NUMBER),
    Column("reason", Text, nullable=False),
    _seal(),
    Index("replicas_by_deployment", "deployment"),
    Index("replicas_by_phase", "phase"),
    Index("replicas_by_time", "since_at"),
    sqlite_strict=True,
)

# Not bound to deployments: what happened stays known when a deployment is gone.
events = Table(
    "events",
    metadata,
    Column("id", _NUMBER, primary_key=True),
    Column("at", _TIME, nullable=False),
    Column("deployment", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("revision", Integer),
    Column("replica", Text, nullable=False),
    Column("actor", Text, nullable=False),
    _seal(),
    Index("events_by_deployment", "deployment", "id"),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

kept_answers = Table(
    "kept_answers",
    metadata,
    Column("key", Text, primary_key=True),
    Column("request_digest", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("at", _TIME, nullable=False),
    _seal(),
    Index("kept_answers_by_time", "at"),
    sqlite_strict=True,
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", _TIME),
    Column("last_used_at", _TIME),
    Column("revoked_at", _TIME),
    _seal(),
    sqlite_strict=True,
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("updated_at", _TIME, nullable=False),
    _seal(),
    sqlite_strict=True,
)

# Entries of the audit log that are committed here and not yet in its file.
audit_pending = Table(
    "audit_pending",
    metadata,
    Column("id", _NUMBER, primary_key=True),
    Column("entry", Text, nullable=False),
    _seal(),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)
