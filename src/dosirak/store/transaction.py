"""One save or import: files are written to scratch, hashed, forced to the disk, then published.

Nothing is visible before `commit`, and `commit` makes it visible in the order in which it may be
cut off at any point: blobs, manifests, and last the record that refers to them.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from dosirak.errors import Conflict, CorruptContent, UsageError
from dosirak.store.blobs import Blobs, files_of_all, sha256_of
from dosirak.store.durability import READ_ONLY, open_file
from dosirak.store.entry import Entry, FileEntry, Kind, Origin
from dosirak.store.failures import translated
from dosirak.store.layout import Layout
from dosirak.store.locks import no_collection
from dosirak.store.manifest import encode_manifest, paths_problem, requires_of
from dosirak.store.references import Draft, References, checked_draft


class Transaction:
    """A scratch folder and the way from there into the store; made by `Store.writing`.

    Attributes:
        directory: an empty private folder on the store's own disk, for the caller's files.
    """

    def __init__(
        self, directory: Path, layout: Layout, blobs: Blobs, references: References
    ) -> None:
        self.directory = directory
        self._layout = layout
        self._blobs = blobs
        self._references = references
        self._staged: dict[str, Path] = {}
        self._as_hashed: dict[str, tuple[int, int, int]] = {}

    def add_tree(self, directory: Path) -> tuple[FileEntry, ...]:
        """Take every regular file under `directory`, which lies within `self.directory`.

        The files are hashed, forced to the disk and made read only; `commit` renames them, so they
        must not be changed any more.

        Raises:
            UsageError: the folder lies elsewhere, or holds something that is no regular file or has
                a name that cannot travel.
            StorageError: the disk failed.
        """
        if not directory.resolve().is_relative_to(self.directory.resolve()):
            raise UsageError(
                f"{directory} does not lie in the transaction's own folder.",
                remedy="Write the files under `transaction.directory`.",
            )
        with translated("Saving the files", self._layout.root):
            found = {path.relative_to(directory).as_posix(): path for path in _regular(directory)}
            _check_paths(found)
            return tuple(self._add_file(name, path) for name, path in sorted(found.items()))

    def add_hashed(self, file: BinaryIO, path: Path, digest: str) -> None:
        """Take an open file of the scratch folder whose bytes the caller has just hashed."""
        os.fchmod(file.fileno(), READ_ONLY)
        os.fsync(file.fileno())
        self._staged[digest] = path
        self._as_hashed[digest] = _identity(os.fstat(file.fileno()))

    def commit(
        self,
        kind: Kind,
        name: str,
        version: str | None,
        manifest: Mapping[str, Any],
        *,
        labels: Mapping[str, str] | None = None,
        provenance: Mapping[str, Any] | None = None,
        origin: Origin = "local",
        created_at_ns: int | None = None,
        required: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Entry:
        """Publish the files, the manifest and a reference to it, all or nothing.

        Args:
            kind: `models` or `bundles`.
            name: the reference's name.
            version: the reference's version; None has one generated, later than all before.
            manifest: what the content is (see `manifest`): no time, no version, no machine.
            labels: the author's own, for finding.
            provenance: where the content came from.
            origin: `imported` when the content was not made here.
            created_at_ns: when imported content was made; never later than now.
            required: manifests that this one requires and that come with it, by digest.

        Raises:
            AlreadyExists: the version exists with other content. The same content is no error.
            Conflict: a file was changed after it was added.
            UsageError: the name, version, labels or manifest cannot be stored.
            CorruptContent: the manifest names a file that is neither added nor in the store.
            StorageError: the disk failed; the old state stands.
        """
        digest, text = encode_manifest(manifest)
        draft = checked_draft(
            Draft(
                kind=kind,
                name=name,
                version=version,
                digest=digest,
                labels=labels or {},
                provenance=provenance or {},
                origin=origin,
                created_at_ns=created_at_ns,
            )
        )
        brought = dict(required or {})
        texts = dict(map(encode_manifest, brought.values())) | {digest: text}
        with translated(f"Saving {name}", self._layout.root), no_collection(self._layout):
            files = self._needed_files({digest: manifest, **brought})
            self._check_present(files)
            self._check_unchanged(files)
            self._blobs.place_files({d: path for d, path in self._staged.items() if d in files})
            self._blobs.place_manifests(texts, scratch=self.directory)
            return self._references.add(draft, scratch=self.directory)

    def _needed_files(self, brought: Mapping[str, Mapping[str, Any]]) -> dict[str, FileEntry]:
        """Return the blobs of the manifests at hand and of those they require from the store."""
        needed = dict(brought)
        for manifest in brought.values():
            for digest in requires_of(manifest):
                if digest not in needed:
                    needed |= self._blobs.closure(digest)
        return files_of_all(needed)

    def _add_file(self, name: str, path: Path) -> FileEntry:
        path = _own_copy(path)
        with open_file(path) as file:
            before = os.fstat(file.fileno())
            digest = sha256_of(file)
            self.add_hashed(file, path, digest)
        return FileEntry(name, before.st_size, digest, bool(before.st_mode & stat.S_IXUSR))

    def _check_present(self, needed: Mapping[str, FileEntry]) -> None:
        for digest, file in needed.items():
            if digest not in self._staged and not self._blobs.has(file):
                raise CorruptContent(
                    f"The manifest names {file.path!r}, which is not in the store.",
                    remedy="Add the file in the same transaction, or import what holds it again.",
                )

    def _check_unchanged(self, needed: Mapping[str, FileEntry]) -> None:
        """Refuse what was written to since it was hashed; being read only stops no superuser."""
        for digest, file in needed.items():
            path = self._staged.get(digest)
            if path is None:
                continue
            try:
                is_same = _identity(path.lstat()) == self._as_hashed[digest]
            except FileNotFoundError:
                is_same = False
            if not is_same:
                raise Conflict(
                    f"{file.path} was changed while it was being saved.",
                    remedy="Let nothing write to its own files, then save again.",
                )


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _regular(directory: Path) -> Iterator[Path]:
    for found in sorted(directory.iterdir()):
        mode = found.lstat().st_mode
        if stat.S_ISDIR(mode):
            yield from _regular(found)
        elif stat.S_ISREG(mode):
            yield found
        else:
            raise UsageError(
                f"{found.name!r} is neither a regular file nor a folder.",
                remedy="Save the file itself instead of a link or device.",
            )


def _check_paths(paths: Mapping[str, Path]) -> None:
    problem = paths_problem(paths)
    if problem is not None:
        raise UsageError(
            f"A file's name cannot travel: {problem}.", remedy="Rename the file, then try again."
        )


def _own_copy(path: Path) -> Path:
    """Return `path`, made a copy of its own when other names share its bytes."""
    if path.lstat().st_nlink == 1:
        return path
    copy = path.with_name(f"{path.name[:64]}.{os.urandom(8).hex()}")
    shutil.copyfile(path, copy)
    shutil.copymode(path, copy)
    return copy.replace(path)
