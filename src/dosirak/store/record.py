"""The text of a record: what a reference says beyond its content, with a checksum of its own.

A record names its kind, name and version, so that two records that changed places are noticed, and
it must be the canonical text of what it says, so that any changed bit is.
"""

from __future__ import annotations

import json
from typing import Any, cast

import msgspec

from dosirak.errors import CorruptContent
from dosirak.naming import Reference
from dosirak.store.canonical import canonical_json, digest_of
from dosirak.store.entry import Entry, Kind, Origin

FORMAT = 1
_CHECKSUM = "checksum"


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
    """Return the text of `values` with a checksum over them."""
    return canonical_json({**values, _CHECKSUM: digest_of(canonical_json(values))})


def unseal(data: bytes) -> dict[str, Any] | None:
    """Return the values of a sealed text, or None when any bit of it has changed."""
    try:
        values = json.loads(data)
        if not isinstance(values, dict):
            return None
        sealed = cast("dict[str, Any]", values)
        checksum = sealed.pop(_CHECKSUM, None)
        is_whole = checksum == digest_of(canonical_json(sealed)) and seal(sealed) == data
    except (ValueError, RecursionError):
        return None
    return sealed if is_whole else None


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
    values = unseal(data)
    try:
        record = msgspec.convert(values, _Record, strict=True)
    except msgspec.ValidationError as error:
        raise _corrupt(kind, reference) from error
    if (record.kind, record.name, record.version) != (kind, *reference) or record.format != FORMAT:
        raise _corrupt(kind, reference)
    return Entry(
        kind=record.kind,
        reference=reference,
        digest=record.manifest,
        created_at_ns=record.created_at_ns,
        labels=record.labels,
        provenance=record.provenance,
        origin=record.origin,
    )


def _corrupt(kind: Kind, reference: Reference) -> CorruptContent:
    return CorruptContent(
        f"The record of {reference} in {kind} is damaged or was edited.",
        remedy="Delete that version, then import or save it again.",
    )
