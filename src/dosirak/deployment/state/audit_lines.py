"""The lines of the audit log: what an entry says, and how lines hang together.

A line is a JSON object: its number (`seq`, from 1), a random `id`, what happened, the SHA-256 of
the line before (`prev`; of the first, a random name for the whole chain), and its own (`sha256`,
over the object without it). Any other bytes are no line.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass

import msgspec

TORN = "audit.torn"
AHEAD = "audit.ahead"
OMITTED = "audit.omitted"

_TEXT_MAX = 2000
_OWN = re.compile(rb',"sha256":"([0-9a-f]{64})"\}')
_OWN_BYTES = len(b',"sha256":""}') + 64


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change, or one attempt at it.

    Attributes:
        at: when, by the wall clock.
        who: the id of a token, `local`, or `nobody`.
        action: such as `deployment.update` or `token.revoke`.
        object: what it was done to, such as `deployment/iris`.
        object_digest: of what it was done with, such as a bundle's id.
        from_address: where the request came from.
        result: `done`, `refused: …` or `failed: …`.
        request_id: of the request.
    """

    at: float
    who: str
    action: str
    object: str = ""
    object_digest: str = ""
    from_address: str = ""
    result: str = "done"
    request_id: str = ""


class PendingEntry(msgspec.Struct, frozen=True):
    """An entry with the id by which it is written once."""

    id: str
    entry: AuditEntry


class _Body(msgspec.Struct, frozen=True):
    seq: int
    id: str
    at: float
    who: str
    action: str
    object: str
    object_digest: str
    from_address: str
    result: str
    request_id: str
    prev: str


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One line of the file, as it hangs in the chain; `data` is without the line's end."""

    seq: int
    id: str
    prev: str
    sha256: str
    entry: AuditEntry
    data: bytes


def pending(entry: AuditEntry) -> PendingEntry:
    """Give an entry its id, and make its texts fit for a line."""
    texts = {
        name: getattr(entry, name)[:_TEXT_MAX].encode("utf-8", "replace").decode()
        for name in (
            "who",
            "action",
            "object",
            "object_digest",
            "from_address",
            "result",
            "request_id",
        )
    }
    return PendingEntry(os.urandom(12).hex(), AuditEntry(at=float(entry.at), **texts))


def new_chain() -> str:
    """Return the name of a new chain, which stands for the line before its first."""
    return os.urandom(32).hex()


def line_of(new: PendingEntry, *, seq: int, prev: str) -> AuditLine:
    """Return an entry as the line that follows another."""
    entry = new.entry
    body = _Body(
        seq=seq,
        id=new.id,
        at=entry.at,
        who=entry.who,
        action=entry.action,
        object=entry.object,
        object_digest=entry.object_digest,
        from_address=entry.from_address,
        result=entry.result,
        request_id=entry.request_id,
        prev=prev,
    )
    text = msgspec.json.encode(body)
    own = hashlib.sha256(text).hexdigest()
    return AuditLine(seq, new.id, prev, own, entry, text[:-1] + f',"sha256":"{own}"}}'.encode())


def parsed_line(data: bytes) -> AuditLine | None:
    """Read a line without its end; None if it is not what was once written."""
    match = _OWN.fullmatch(data[-_OWN_BYTES:])
    text = data[:-_OWN_BYTES] + b"}"
    if match is None or hashlib.sha256(text).hexdigest() != match[1].decode():
        return None
    try:
        body = msgspec.json.decode(text, type=_Body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    entry = AuditEntry(
        at=body.at,
        who=body.who,
        action=body.action,
        object=body.object,
        object_digest=body.object_digest,
        from_address=body.from_address,
        result=body.result,
        request_id=body.request_id,
    )
    return AuditLine(body.seq, body.id, body.prev, match[1].decode(), entry, data)


def torn_entry(fragment: bytes, at: float) -> AuditEntry:
    """Describe a line that a crash has torn."""
    return AuditEntry(
        at=at,
        who="local",
        action=TORN,
        object_digest=hashlib.sha256(fragment).hexdigest(),
        result=f"{len(fragment)} bytes of an unfinished line stand before this one",
    )


def ahead_entry(lines: list[AuditLine], at: float) -> AuditEntry:
    """Describe lines that the database knows nothing of: it was restored, or they were added."""
    return AuditEntry(
        at=at,
        who="local",
        action=AHEAD,
        object_digest=lines[-1].sha256,
        result=f"the database knew nothing of the {len(lines)} entries from {lines[0].seq} on",
    )


def omitted_entry(count: int, at: float) -> AuditEntry:
    """Describe refused attempts that were too many to be written."""
    return AuditEntry(
        at=at, who="local", action=OMITTED, result=f"{count} more refused attempts were not written"
    )
