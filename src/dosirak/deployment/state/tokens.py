"""Tokens of callers: made once, shown once, kept as a hash, and checked without saying too much.

A token is `dsk_ID_SECRET_CRC32`: the prefix and the checksum let scanners find leaked ones, the id
finds the row, and the secret's 256 random bits need no slow hash. Whoever presents a wrong one is
told the same whatever is wrong with it, after the same work. A token ends by its expiry or when it
is revoked, at once for the control plane; replicas learn of it by `access_files`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace

import msgspec

from dosirak.deployment.state import rows, tables
from dosirak.deployment.state.database import PlatformState
from dosirak.deployment.state.scopes import check_scope, covers
from dosirak.deployment.state.transactions import Reading, Row, Transaction
from dosirak.errors import (
    AlreadyExists,
    Forbidden,
    InvalidConfiguration,
    InvalidName,
    NotFound,
    StorageError,
    Unauthorized,
    Unavailable,
)
from dosirak.naming import check_name

DEFAULT_LIFETIME_S = 90 * 86400.0
USE_NOTED_EVERY_S = 60.0
ENDED_KEPT_S = 30 * 86400.0

_TEXT = re.compile(r"(dsk_([a-z2-7]{16})_[a-z2-7]{52})_([0-9a-f]{8})", re.ASCII)
_TAKEN_NAMES = ("local", "controller")  # who acts without a token
_NOBODY = "0" * 64


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """What is known of a token; its secret is not.

    Attributes:
        name: for people; no two valid tokens have the same.
        expires_at: None for never.
        last_used_at: to the minute; None if it never was.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: float
    created_by: str
    expires_at: float | None
    last_used_at: float | None = None
    revoked_at: float | None = None

    def is_valid(self, now: float) -> bool:
        """Whether it has neither expired nor been revoked."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was just made; `text` is shown to a person once and kept nowhere."""

    text: str = field(repr=False)
    record: TokenRecord


def create_token(
    transaction: Transaction,
    name: str,
    scopes: Iterable[str],
    *,
    created_by: str = "local",
    lifetime_s: float | None = DEFAULT_LIFETIME_S,
) -> NewToken:
    """Make a token.

    Args:
        transaction: where it is kept.
        name: for people to know it by.
        scopes: what it may do (see `scopes`).
        created_by: who asks for it.
        lifetime_s: for how long it is valid; None for ever.

    Raises:
        AlreadyExists: a valid token has this name.
        InvalidConfiguration: the scopes or the lifetime are of no use.
        InvalidName: the name breaks the grammar of names, or means somebody without a token.
    """
    now = transaction.now
    _check_new(transaction, name, lifetime_s)
    token_id = _random_text(10)
    record = TokenRecord(
        id=token_id,
        name=name,
        scopes=_checked_scopes(scopes),
        created_at=now,
        created_by=created_by,
        expires_at=None if lifetime_s is None else now + lifetime_s,
    )
    text = _sealed_text(f"dsk_{token_id}_{_random_text(32)}")
    _forget_ended(transaction)
    _put(transaction, record, token_digest(text))
    return NewToken(text, record)


def list_tokens(reading: Reading) -> list[TokenRecord]:
    """Return every token, those that ended in the last 30 days included, the oldest first."""
    columns = tables.tokens.c
    query = tables.tokens.select().order_by(columns.created_at, columns.id)
    return [_record_of(row) for row in reading.rows(query)]


def find_token(reading: Reading, which: str) -> TokenRecord:
    """Return a token, ended or not.

    Args:
        reading: where it is kept.
        which: its id, or its name: the valid one, else the last one that had it.

    Raises:
        NotFound: there is none.
    """
    return _record_of(_row_of_either(reading, which))


def revoke_token(transaction: Transaction, which: str) -> TokenRecord:
    """End a token now; one that is revoked already stays as it is.

    Args:
        transaction: where it is kept.
        which: its id, or its name (see `find_token`).

    Raises:
        NotFound: there is none.
    """
    row = _row_of_either(transaction, which)
    record = _record_of(row)
    if record.revoked_at is None:
        record = replace(record, revoked_at=transaction.now)
        _put(transaction, record, row["sha256"])
    return record


def check_token(
    state: PlatformState, text: str, wanted: str | None, now: float | None = None
) -> TokenRecord:
    """Return the token that a caller has shown, if it is valid and allows what is wanted.

    Args:
        state: where tokens are kept.
        text: what the caller has shown.
        wanted: a scope; None to know only who it is.
        now: the time; the state's own if None.

    Raises:
        Unauthorized: it is no valid token; why is not said.
        Forbidden: it is valid and does not allow this.
    """
    match = _TEXT.fullmatch(text)
    if match is None or _checksum(match[1]) != match[3]:
        raise _unauthorized()
    with state.reading() as reading:
        row = _row_of(reading, match[2])
        at = reading.now if now is None else now
    known = hmac.compare_digest(row["sha256"] if row else _NOBODY, token_digest(text))
    record = _record_of(row) if row and known else None
    if record is None or not record.is_valid(at):
        raise _unauthorized()
    if wanted is not None and not covers(record.scopes, wanted):
        raise Forbidden(
            f"The token {record.name!r} does not allow {wanted}.",
            remedy="Use one with this scope; `dosirak tokens create` makes one.",
        )
    return _noted(state, record, at)


def token_digest(text: str) -> str:
    """Return what is kept of a token: the SHA-256 of its whole text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def digests(reading: Reading) -> dict[str, str]:
    """Return the hash of every token, by id."""
    return {row["id"]: row["sha256"] for row in reading.rows(tables.tokens.select())}


def _check_new(transaction: Transaction, name: str, lifetime_s: float | None) -> None:
    check_name(name)
    if name in _TAKEN_NAMES:
        raise InvalidName(
            f"{name!r} stands for somebody without a token.", remedy="Choose another name."
        )
    if lifetime_s is not None and not 0 < lifetime_s <= 100 * 366 * 86400:
        raise InvalidConfiguration(
            f"A lifetime of {lifetime_s} seconds is of no use.",
            remedy="Give one between 1 second and 100 years, or none for a token without end.",
        )
    if _row_by_name(transaction, name) is not None:
        raise AlreadyExists(
            f"There is a valid token named {name!r}.",
            remedy="Choose another name, or revoke that one first.",
        )


def _checked_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    checked = tuple(sorted({check_scope(scope) for scope in scopes}))
    if not checked:
        raise InvalidConfiguration(
            "A token without a scope allows nothing.", remedy="Name at least one scope."
        )
    return checked


def _random_text(size_bytes: int) -> str:
    return base64.b32encode(secrets.token_bytes(size_bytes)).decode().rstrip("=").lower()


def _sealed_text(body: str) -> str:
    return f"{body}_{_checksum(body)}"


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"


def _unauthorized() -> Unauthorized:
    return Unauthorized(
        "A valid token is needed here.",
        remedy="Send one as 'Authorization: Bearer dsk_…'; it must be neither expired nor revoked.",
    )


def _noted(state: PlatformState, record: TokenRecord, now: float) -> TokenRecord:
    """Note that a token was used, now and then; a disk that refuses keeps nobody out."""
    if record.last_used_at is not None and abs(now - record.last_used_at) < USE_NOTED_EVERY_S:
        return record
    used = replace(record, last_used_at=now)
    with suppress(StorageError, Unavailable), state.transaction() as transaction:
        row = _row_of(transaction, record.id)
        if row is not None:
            _put(transaction, replace(_record_of(row), last_used_at=now), row["sha256"])
    return used


def _forget_ended(transaction: Transaction) -> None:
    columns = tables.tokens.c
    before = transaction.now - ENDED_KEPT_S
    ended = (columns.revoked_at < before) | (columns.expires_at < before)
    transaction.write(tables.tokens.delete().where(ended))


def _row_of(reading: Reading, token_id: str) -> Row | None:
    found = reading.rows(tables.tokens.select().where(tables.tokens.c.id == token_id))
    return rows.checked("tokens", found[0]) if found else None


def _row_by_name(reading: Reading, name: str) -> Row | None:
    found = reading.rows(tables.tokens.select().where(tables.tokens.c.name == name))
    return next((row for row in found if _record_of(row).is_valid(reading.now)), None)


def _row_of_either(reading: Reading, which: str) -> Row:
    row = _row_of(reading, which) or _row_by_name(reading, which) or _last_row(reading, which)
    if row is None:
        raise NotFound(
            f"There is no token {which!r}.", remedy="`dosirak tokens list` shows those that are."
        )
    return row


def _last_row(reading: Reading, name: str) -> Row | None:
    found = reading.rows(tables.tokens.select().where(tables.tokens.c.name == name))
    return max(found, key=lambda row: row["created_at"], default=None)


def _put(transaction: Transaction, record: TokenRecord, sha256: str) -> None:
    values = {
        "id": record.id,
        "name": record.name,
        "sha256": sha256,
        "scopes": msgspec.json.encode(record.scopes).decode(),
        "created_at": record.created_at,
        "created_by": record.created_by,
        "expires_at": record.expires_at,
        "last_used_at": record.last_used_at,
        "revoked_at": record.revoked_at,
    }
    transaction.put(tables.tokens, tables.tokens.c.id == record.id, values)


def _record_of(row: Row) -> TokenRecord:
    rows.checked("tokens", row)
    return TokenRecord(
        id=row["id"],
        name=row["name"],
        scopes=rows.decoded(row["scopes"], tuple[str, ...]),
        created_at=row["created_at"],
        created_by=row["created_by"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
        revoked_at=row["revoked_at"],
    )
