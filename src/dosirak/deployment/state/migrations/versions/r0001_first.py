"""The first schema."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.sqlite import REAL

revision = "0001"
down_revision: str | None = None

_NUMBER: Any = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME: Any = sa.Double().with_variant(REAL(), "sqlite")


def upgrade() -> None:
    """Make every table."""
    turn = op.create_table(
        "turn",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        _whole("commits"),
        sqlite_strict=True,
    )
    op.bulk_insert(turn, [{"id": 1, "commits": 0}])
    _table("facts", _key("name"), _text("value"))
    _deployments()
    _revisions()
    _replicas()
    _events()
    _kept_answers()
    _tokens()
    _table("secrets", _key("name"), _blob("ciphertext"), _time("created_at"), _time("updated_at"))
    _table("audit_pending", _numbered(), _text("entry"), sqlite_autoincrement=True)


def _deployments() -> None:
    _table(
        "deployments",
        _key("name"),
        _text("presence"),
        _whole("generation"),
        _text("configuration"),
        _small("replicas"),
        _time("created_at"),
        _time("updated_at"),
        _text("created_by"),
        _small("active_revision", nullable=True),
        _small("previous_revision", nullable=True),
        _time("previous_until_at", nullable=True),
        _small("latest_revision"),
        _text("rollout", nullable=True),
        _small("rollout_to", nullable=True),
        _small("rollout_from", nullable=True),
    )


def _revisions() -> None:
    _table(
        "revisions",
        _of_deployment(primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        _text("bundle"),
        _text("bundle_id"),
        _text("configuration"),
        _time("created_at"),
        _text("created_by"),
        _text("note"),
    )


def _replicas() -> None:
    _table(
        "replicas",
        _key("id"),
        _of_deployment(),
        _small("revision"),
        _text("phase"),
        _time("started_at"),
        _time("since_at"),
        _time("ready_at", nullable=True),
        _whole("pid", nullable=True),
        _text("reason"),
    )
    op.create_index("replicas_by_deployment", "replicas", ["deployment"])
    op.create_index("replicas_by_phase", "replicas", ["phase"])
    op.create_index("replicas_by_time", "replicas", ["since_at"])


def _events() -> None:
    _table(
        "events",
        _numbered(),
        _time("at"),
        _text("deployment"),
        _text("kind"),
        _text("message"),
        _small("revision", nullable=True),
        _text("replica"),
        _text("actor"),
        sqlite_autoincrement=True,
    )
    op.create_index("events_by_deployment", "events", ["deployment", "id"])


def _kept_answers() -> None:
    _table(
        "kept_answers",
        _key("key"),
        _text("request_digest"),
        _small("status"),
        _blob("body"),
        _time("at"),
    )
    op.create_index("kept_answers_by_time", "kept_answers", ["at"])


def _tokens() -> None:
    _table(
        "tokens",
        _key("id"),
        _text("name"),
        _text("sha256"),
        _text("scopes"),
        _time("created_at"),
        _text("created_by"),
        _time("expires_at", nullable=True),
        _time("last_used_at", nullable=True),
        _time("revoked_at", nullable=True),
    )


def _table(name: str, *columns: sa.Column[Any], **options: Any) -> None:
    op.create_table(name, *columns, _whole("seal"), sqlite_strict=True, **options)


def _key(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, primary_key=True)


def _numbered() -> sa.Column[Any]:
    return sa.Column("id", _NUMBER, primary_key=True)


def _of_deployment(*, primary_key: bool = False) -> sa.Column[Any]:
    key = sa.ForeignKey(
        "deployments.name", ondelete="CASCADE", deferrable=True, initially="DEFERRED"
    )
    return sa.Column("deployment", sa.Text, key, primary_key=primary_key, nullable=False)


def _text(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _small(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, nullable=nullable)


def _whole(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, _NUMBER, nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, _TIME, nullable=nullable)


def _blob(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.LargeBinary, nullable=False)
