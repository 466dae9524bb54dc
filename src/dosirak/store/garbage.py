"""Garbage: blobs and manifests that no record and no lease leads to, and abandoned scratch.

What to keep is found first and completely; if any of it cannot be read, nothing is removed, because
what a damaged record or manifest refers to is not known.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dosirak.errors import CorruptContent
from dosirak.store.blobs import Blobs, files_of_all
from dosirak.store.entry import KINDS
from dosirak.store.layout import Layout
from dosirak.store.lease import leased_digests
from dosirak.store.references import References
from dosirak.store.scratch import discard_abandoned


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection removed.

    Attributes:
        blobs: file contents that nothing referred to.
        manifests: manifests that nothing referred to.
        scratch: folders that ended processes left behind.
        freed_bytes: the length of the removed blobs and manifests.
    """

    blobs: int
    manifests: int
    scratch: int
    freed_bytes: int


def collect(layout: Layout, blobs: Blobs, references: References) -> Collected:
    """Remove garbage; the caller holds the collection lock.

    Raises:
        CorruptContent: a record or manifest in use is damaged; no content was removed.
    """
    scratch = discard_abandoned(layout)
    manifests = _live_manifests(layout, blobs, references)
    live_blobs = files_of_all(manifests)
    dead_manifests = [path for path in _shards(layout.manifests) if path.name not in manifests]
    dead_blobs = [path for path in _shards(layout.blobs) if path.name not in live_blobs]
    freed_bytes = sum(map(_remove, dead_manifests)) + sum(map(_remove, dead_blobs))
    return Collected(len(dead_blobs), len(dead_manifests), scratch, freed_bytes)


def _live_manifests(
    layout: Layout, blobs: Blobs, references: References
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        for entry in references.entries(kind):
            if entry.digest not in found:
                found |= _closure(blobs, entry.digest, f"{entry.reference} in {kind}")
    for digest in leased_digests(layout) - found.keys():
        if layout.manifest(digest).exists():  # else deleted before the reader looked
            found |= _closure(blobs, digest, "what a reader holds open")
    return found


def _closure(blobs: Blobs, digest: str, what: str) -> dict[str, dict[str, Any]]:
    try:
        return blobs.closure(digest)
    except CorruptContent as error:
        raise CorruptContent(
            f"Garbage was not collected, because {what} is damaged: {error.message}",
            remedy="Delete that version or import it again, then collect.",
        ) from error


def _shards(directory: Path) -> Iterator[Path]:
    """Yield the files of every shard of a folder."""
    if not directory.is_dir():
        return
    for shard in os.scandir(directory):
        if shard.is_dir(follow_symlinks=False):
            yield from (Path(found.path) for found in os.scandir(shard.path))


def _remove(path: Path) -> int:
    size_bytes = path.stat(follow_symlinks=False).st_size
    path.unlink()
    return size_bytes
