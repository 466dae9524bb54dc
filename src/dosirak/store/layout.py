"""Where everything lies under a store's root. Pure: no file is touched here.

blobs/sha256/<ab>/<digest>            file contents, read only
manifests/sha256/<ab>/<digest>        canonical JSON, read only
references/<kind>/<name>/<version>    records; `.lock` and `.order` beside them
tmp/<random>/                         scratch of one live process each, locked by it
leases/<digest>                       locked by whoever has that manifest open
uses/<owner>.json                     references that somebody beyond the store asks to keep
quarantine/<digest>.<random>          corrupt blobs, kept for a person to look at
collection.lock · collection.gate     see `locks`
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dosirak.store.entry import Kind


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one store."""

    root: Path

    @property
    def blobs(self) -> Path:
        """The folder of the blobs' shards."""
        return self.root / "blobs" / "sha256"

    @property
    def manifests(self) -> Path:
        """The folder of the manifests' shards."""
        return self.root / "manifests" / "sha256"

    @property
    def scratch(self) -> Path:
        """The folder of the live processes' scratch folders."""
        return self.root / "tmp"

    @property
    def leases(self) -> Path:
        """The folder of leases."""
        return self.root / "leases"

    @property
    def uses(self) -> Path:
        """The folder of what owners use."""
        return self.root / "uses"

    @property
    def quarantine(self) -> Path:
        """The folder of corrupt blobs."""
        return self.root / "quarantine"

    @property
    def collection_lock(self) -> Path:
        """Held shared by whoever publishes, exclusively by the garbage collector."""
        return self.root / "collection.lock"

    @property
    def collection_gate(self) -> Path:
        """Passed through on the way to the collection lock, so that a collector's turn comes."""
        return self.root / "collection.gate"

    def blob(self, digest: str) -> Path:
        """Where a file's bytes lie."""
        return self.root.joinpath("blobs", "sha256", digest[:2], digest)

    def manifest(self, digest: str) -> Path:
        """Where a manifest lies."""
        return self.root.joinpath("manifests", "sha256", digest[:2], digest)

    def lease(self, digest: str) -> Path:
        """The file that readers of a manifest lock."""
        return self.leases / digest

    def names(self, kind: Kind) -> Path:
        """The folder of a kind's names."""
        return self.root.joinpath("references", kind)

    def versions(self, kind: Kind, name: str) -> Path:
        """The folder of a name's records."""
        return self.root.joinpath("references", kind, name)
