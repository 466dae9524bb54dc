"""The text of a record: what a reference says beyond its content, with a checksum of its own.

A record names its kind, name and version, so that two records that changed places are noticed. Its
text begins with the digest of the rest, so that any changed bit is, without encoding it again.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dosirak.errors import CorruptContent
from dosirak.naming import Reference
from dosirak.store.canonical import canonical_json, digest_of
from dosirak.store.entry import Entry, Kind, Origin

FORMAT = 1
_START, _MIDDLE = b'{"checksum":"', b'",'
_DIGITS = 64
_BODY = len(_START) + _DIGITS + len(_MIDDLE)


class _Record(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    kind: Kind
    name: str
    version: str
    manifest: str
    created_at_ns: int
    labels: dict[str, str]
    provenance: dict[str, Any]
    origin: Origin


def seal(values: dict[str, Any]) -> bytes:
    """Return the canonical text of `values` and a checksum over them, which sorts first."""
    body = canonical_json(values)
    return _START + digest_of(body).encode() + _MIDDLE + body[1:]


def unseal(data: bytes) -> bytes | None:
    """Return the text that was sealed, or None when any bit of it has changed."""
    body = b"{" + data[_BODY:]
    return body if data[:_BODY] == _START + digest_of(body).encode() + _MIDDLE else None


def encode_record(entry: Entry) -> bytes:
    """Return the text of an entry's record."""
    return seal(
        {
            "format": FORMAT,
            "kind": entry.kind,
            "name": entry.name,
            "version": entry.version,
            "manifest": entry.digest,
            "created_at_ns": entry.created_at_ns,
            "labels": dict(entry.labels),
            "provenance": dict(entry.provenance),
            "origin": entry.origin,
        }
    )


def decode_record(data: bytes, kind: Kind, reference: Reference) -> Entry:
    """Read the record found under `reference`.

    Raises:
        CorruptContent: it was changed, belongs elsewhere or is of an unknown format.
    """
    try:
        record = msgspec.json.decode(unseal(data) or b"", type=_Record)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise corrupt_record(kind, reference) from error
    if (record.kind, record.name, record.version) != (kind, *reference) or record.format != FORMAT:
        raise corrupt_record(kind, reference)
    return Entry(
        kind=record.kind,
        reference=reference,
        digest=record.manifest,
        created_at_ns=record.created_at_ns,
        labels=record.labels,
        provenance=record.provenance,
        origin=record.origin,
    )


def corrupt_record(kind: Kind, reference: Reference) -> CorruptContent:
    """Return the error for a record that is not as it was written."""
    return CorruptContent(
        f"The record of {reference} in {kind} is damaged or was edited.",
        remedy="Delete that version, then import or save it again.",
    )
