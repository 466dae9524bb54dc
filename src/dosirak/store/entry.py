"""The values that cross the store's door: an entry (a reference and its record) and a file's line.

Both are immutable. An `Entry` says which content a reference names and everything that is not part
of the content itself: when, from where, under which labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from dosirak.naming import Reference

Kind = Literal["models", "bundles"]
Origin = Literal["local", "imported"]

KINDS: tuple[Kind, ...] = ("models", "bundles")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entry:
    """A reference and what its record says.

    Attributes:
        kind: `models` or `bundles`.
        reference: the name and the exact version.
        digest: the manifest's sha256: the content's id.
        created_at_ns: nanoseconds since 1970 UTC, whole microseconds; orders a name's versions.
        labels: the author's own, for finding.
        provenance: JSON values saying where the content came from (commit, versions, machine).
        origin: `local` when it was made in this store, `imported` when it came from outside.
    """

    kind: Kind
    reference: Reference
    digest: str
    created_at_ns: int
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])
    origin: Origin = "local"

    @property
    def name(self) -> str:
        """The reference's name."""
        return self.reference.name

    @property
    def version(self) -> str:
        """The reference's version."""
        return self.reference.version

    @property
    def created_at(self) -> datetime:
        """When the entry was made, in UTC."""
        return EPOCH + timedelta(microseconds=self.created_at_ns // 1000)


@dataclass(frozen=True, slots=True)
class DamagedEntry:
    """A reference whose record cannot be read.

    Attributes:
        kind: `models` or `bundles`.
        reference: the name and the exact version.
        problem: what is wrong, a sentence.
        remedy: what to do about it.
    """

    kind: Kind
    reference: Reference
    problem: str
    remedy: str


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a manifest.

    Attributes:
        path: relative, separated by `/`.
        size_bytes: its length.
        sha256: the blob that holds its bytes.
        executable: whether a checkout marks it so.
    """

    path: str
    size_bytes: int
    sha256: str
    executable: bool = False

    def describe(self) -> dict[str, Any]:
        """Return the file's line in a manifest, as JSON values."""
        return {
            "path": self.path,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "executable": self.executable,
        }
