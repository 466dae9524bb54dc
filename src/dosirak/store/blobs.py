"""Blobs and manifests on the disk: read only when they are what their name says.

A blob that is not goes to `quarantine/`, never away: a person may want to look at it, and the next
save or import of the same content puts a sound one in its place.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from dosirak.errors import CorruptContent
from dosirak.store.durability import (
    CHUNK_BYTES,
    READ_ONLY,
    make_directories,
    open_file,
    read_file,
    sync_directories,
    write_file,
)
from dosirak.store.entry import FileEntry
from dosirak.store.layout import Layout
from dosirak.store.manifest import decode_manifest, files_of, requires_of


def chunks_of(file: BinaryIO) -> Iterator[memoryview]:
    """Yield a file's bytes in pieces, in one buffer that is used again for each."""
    buffer = memoryview(bytearray(CHUNK_BYTES))
    while size := file.readinto(buffer):  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
        yield buffer[:size]


def sha256_of(file: BinaryIO) -> str:
    """Return the sha256 of an open file's bytes from here on."""
    digest = hashlib.sha256()
    for chunk in chunks_of(file):
        digest.update(chunk)
    return digest.hexdigest()


class Blobs:
    """The immutable content under one store's root."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def open(self, digest: str, *, where: str = "") -> BinaryIO:
        """Open a blob once all its bytes have been read and found right.

        Raises:
            CorruptContent: it is missing or damaged; a damaged one is now in quarantine.
        """
        file = self.open_unverified(digest, where=where)
        try:
            self.verify(file, digest, where=where)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file

    def open_unverified(self, digest: str, *, where: str = "") -> BinaryIO:
        """Open a blob for a caller who hashes what it reads.

        Raises:
            CorruptContent: it is missing.
        """
        try:
            return open_file(self._layout.blob(digest))
        except FileNotFoundError as error:
            raise CorruptContent(
                f"{_named(digest, where)} is missing from the store.",
                remedy="Import or save the version again.",
            ) from error

    def verify(self, file: BinaryIO, digest: str, *, where: str = "") -> None:
        """Read an open blob to its end.

        Raises:
            CorruptContent: it is damaged; it is now in quarantine.
        """
        self.check(file, sha256_of(file), digest, where=where)

    def check(self, file: BinaryIO, found: str, digest: str, *, where: str = "") -> None:
        """Compare the digest of what was read from a blob with its name.

        Raises:
            CorruptContent: it is damaged; it is now in quarantine.
        """
        if found == digest:
            return
        self._quarantine(file, digest)
        raise CorruptContent(
            f"{_named(digest, where)} is damaged and was put into quarantine.",
            remedy="Import or save the version again.",
        )

    def has(self, file: FileEntry) -> bool:
        """Whether a blob is there with the right length."""
        try:
            there = self._layout.blob(file.sha256).stat(follow_symlinks=False)
        except FileNotFoundError:
            return False
        return there.st_size == file.size_bytes

    def manifest(self, digest: str) -> dict[str, Any]:
        """Read a manifest.

        Raises:
            CorruptContent: it is missing or damaged.
        """
        where = f"The manifest {digest[:12]}"
        try:
            data = read_file(self._layout.manifest(digest))
        except FileNotFoundError as error:
            raise CorruptContent(
                f"{where} is missing from the store.", remedy="Import or save the version again."
            ) from error
        return decode_manifest(data, digest, where=where)

    def closure(self, digest: str) -> dict[str, dict[str, Any]]:
        """Read a manifest and all that it requires, itself first.

        Raises:
            CorruptContent: one of them is missing or damaged.
        """
        found: dict[str, dict[str, Any]] = {}
        waiting = [digest]
        while waiting:
            current = waiting.pop(0)
            if current not in found:
                found[current] = self.manifest(current)
                waiting.extend(requires_of(found[current]))
        return found

    def place_files(self, staged: dict[str, Path]) -> None:
        """Rename staged files, already forced to the disk, to their blobs.

        An old blob of the same name is replaced: its bytes are the same, unless it is damaged.
        """
        self._place({self._layout.blob(digest): path for digest, path in staged.items()})

    def place_manifests(self, texts: dict[str, bytes], *, scratch: Path) -> None:
        """Write manifests under their digests."""
        staged: dict[Path, Path] = {}
        for digest, data in texts.items():
            path = scratch / f"manifest.{os.urandom(8).hex()}"
            write_file(path, data, mode=READ_ONLY)
            staged[self._layout.manifest(digest)] = path
        self._place(staged)

    def _place(self, staged: dict[Path, Path]) -> None:
        for path, source in staged.items():
            make_directories(path.parent)
            source.replace(path)
        sync_directories(path.parent for path in staged)
        sync_directories(path.parent.parent for path in staged)

    def _quarantine(self, file: BinaryIO, digest: str) -> None:
        with suppress(OSError):  # a store that cannot be written still reports the damage
            path = self._layout.blob(digest)
            if not os.path.samestat(path.stat(follow_symlinks=False), os.fstat(file.fileno())):
                return  # a sound one has been put in its place meanwhile
            make_directories(self._layout.quarantine)
            path.rename(self._layout.quarantine / f"{digest}.{os.urandom(4).hex()}")


def _named(digest: str, where: str) -> str:
    return f"The file {where!r}" if where else f"The blob {digest[:12]}"


def files_of_all(manifests: Mapping[str, Mapping[str, Any]]) -> dict[str, FileEntry]:
    """Return the distinct blobs of several manifests, each with one of its places."""
    return {file.sha256: file for manifest in manifests.values() for file in files_of(manifest)}
