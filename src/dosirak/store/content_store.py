"""The store: immutable content under one folder, reached through references.

    writing() → Transaction.add_tree → Transaction.commit → Entry
    resolve(reference) → Entry → view / checkout / open_blob

Nothing is read or made until a method is called. Every method may run in many processes at once,
and may be ended at any instruction: what was stored before is there, what was being stored is
there whole or not at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from dosirak.errors import Conflict, DosirakError, UsageError
from dosirak.naming import Reference
from dosirak.settings import Settings
from dosirak.store.blobs import Blobs
from dosirak.store.canonical import canonical_json, digest_of
from dosirak.store.entry import DamagedEntry, Entry, FileEntry, Kind
from dosirak.store.failures import means_storage, storage_failure, translated, tree_bytes
from dosirak.store.garbage import Collected, collect
from dosirak.store.layout import Layout
from dosirak.store.lease import leased
from dosirak.store.locks import collection, no_collection
from dosirak.store.manifest import Manifest, files_of, size_of
from dosirak.store.references import References
from dosirak.store.scratch import scratch_directory
from dosirak.store.transaction import Transaction
from dosirak.store.tree import check_out, viewed
from dosirak.store.uses import users_of, write_uses

OfferedT = TypeVar("OfferedT")


class Store:
    """Content and references under one root folder.

    Attributes:
        root: the folder; it is made by the first write.
        blobs: the content itself, for archives and remotes that move it piece by piece.
    """

    def __init__(self, root: Path, *, clock: Callable[[], int] = time.time_ns) -> None:
        self.root = root
        self._layout = Layout(root)
        self.blobs = Blobs(self._layout)
        self._references = References(self._layout, clock)

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    @contextmanager
    def writing(self) -> Generator[Transaction, None, None]:
        """Begin a save: offer a transaction; what is not committed is gone after the block.

        Raises:
            StorageFull: the disk filled up, also in the caller's own writing.
            StorageError: the disk failed.
        """
        with self._offered("Saving", scratch_directory(self._layout)) as scratch:
            yield Transaction(scratch, self._layout, self.blobs, self._references)

    def entries(self, kind: Kind, name: str | None = None) -> tuple[Entry, ...]:
        """Return the entries of a name, or of all names in order, the newest version first.

        Raises:
            CorruptContent: a record is damaged; the message names it.
            StorageError: the disk failed.
        """
        with self._translated(f"Listing {kind}"):
            return tuple(self._references.entries(kind, name))

    def survey(self, kind: Kind, name: str | None = None) -> tuple[Entry | DamagedEntry, ...]:
        """Return the entries as `entries` does, and the damaged ones where that would raise.

        Raises:
            StorageError: the disk failed.
        """
        with self._translated(f"Listing {kind}"):
            return tuple(self._references.survey(kind, name))

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Return every name that has a version, in order."""
        with self._translated(f"Listing {kind}"):
            names = self._references.names(kind)
            return tuple(name for name in names if self._references.versions(kind, name))

    def resolve(self, kind: Kind, reference: Reference | str) -> Entry:
        """Find what `name`, `name:latest`, `name:version` or a version's unique start means.

        Raises:
            InvalidName: the reference breaks the grammar.
            ModelNotFound: nothing has it (`BundleNotFound` for bundles).
            UsageError: several versions begin so.
            CorruptContent: its record is damaged.
            StorageError: the disk failed.
        """
        with self._translated(f"Finding {reference}"):
            return self._references.resolve(kind, _parsed(reference))

    def reference_directory(self, kind: Kind, name: str) -> Path:
        """Return the folder in which the versions of a name appear and vanish: to be watched."""
        return self._layout.versions(kind, name)

    def manifest(self, digest: str) -> dict[str, Any]:
        """Read a manifest, verified.

        Raises:
            CorruptContent: it is missing or damaged.
            StorageError: the disk failed.
        """
        with self._translated("Reading a manifest"):
            return self.blobs.manifest(digest)

    def open_blob(self, digest: str) -> BinaryIO:
        """Open a blob for reading, after all of it was verified.

        Raises:
            CorruptContent: it is missing or damaged.
            StorageError: the disk failed.
        """
        with self._translated("Reading a file"):
            return self.blobs.open(digest)

    @contextmanager
    def view(
        self, manifest: Manifest | str, *, under: str = "", shared: bool = True
    ) -> Generator[Path, None, None]:
        """Offer a folder of a manifest's files, verified and read only.

        The files are leased for the time of the block, and the folder is removed after it; an open
        file or memory map stays valid.

        Args:
            manifest: the manifest or its digest.
            under: only the files in this folder, with the paths they have within it.
            shared: the files are the store's own bytes, at no cost; otherwise they are copies, for
                code that might write beside itself: being read only stops no superuser.

        Raises:
            CorruptContent: a file or the manifest is missing or damaged.
            StorageError: the disk failed.
        """
        view = self._view(_digest(manifest), under, shared=shared)
        with self._offered("Opening files", view) as directory:
            yield directory

    def checkout(self, manifest: Manifest | str, directory: Path) -> Path:
        """Copy a manifest's files to a new folder, which appears complete or not at all.

        Raises:
            AlreadyExists: `directory` exists and is not empty.
            CorruptContent: a file or the manifest is missing or damaged.
            StorageError: the disk failed.
        """
        digest = _digest(manifest)
        with self._translated("Opening files"), leased(self._layout, digest):
            found = self.blobs.manifest(digest)
            with translated("Copying the files", directory, size_of(found)):
                check_out(self.blobs, files_of(found), directory)
        return directory

    def closure(self, digest: str) -> dict[str, dict[str, Any]]:
        """Read a manifest and all that it requires, verified, by digest; itself first.

        Raises:
            CorruptContent: one of them is missing or damaged.
            StorageError: the disk failed.
        """
        with self._translated("Reading a manifest"):
            return self.blobs.closure(digest)

    def verify(self, digest: str) -> dict[str, Any]:
        """Read every byte that a manifest leads to, and return the manifest.

        Raises:
            CorruptContent: something is missing or damaged; the message names the file.
            StorageError: the disk failed.
        """
        with self._translated("Verifying"), leased(self._layout, digest):
            closure = self.blobs.closure(digest)
            for manifest in closure.values():
                for file in files_of(manifest):
                    self.blobs.open(file.sha256, where=file.path).close()
            return closure[digest]

    @contextmanager
    def lease(self, digest: str) -> Generator[None, None, None]:
        """Keep a manifest's files from garbage collection for the time of a block.

        Raises:
            CorruptContent: the manifest is missing or damaged.
            StorageError: the disk failed.
        """
        with self._offered("Opening files", leased(self._layout, digest)):
            self.manifest(digest)
            yield

    def delete(self, kind: Kind, reference: Reference | str) -> Reference:
        """Remove a reference; its content goes with the next garbage collection.

        A damaged record can be deleted too.

        Raises:
            UsageError: no exact version was given.
            ModelNotFound: nothing has the reference (`BundleNotFound` for bundles).
            Conflict: it is in use, such as by a deployment.
            StorageError: the disk failed.
        """
        exact = _parsed(reference)
        if exact.is_latest:
            raise UsageError(
                f"Which version of {exact.name} to delete was not said.",
                remedy=f"Name it in full: {exact.name}:VERSION.",
            )
        with self._translated(f"Deleting {exact}"):
            if not self._references.exists(kind, exact):
                raise self._references.not_found(kind, exact)
            users = users_of(self._layout, kind, exact)
            if users:
                raise Conflict(
                    f"{exact} is in use by {', '.join(users)}.",
                    remedy="Delete what uses it first, or leave it: equal files are kept once.",
                )
            with scratch_directory(self._layout) as scratch, no_collection(self._layout):
                self._references.remove(kind, exact, scratch=scratch)
        return exact

    def note_uses(self, owner: str, uses: Mapping[Kind, Mapping[str, Sequence[str]]]) -> None:
        """Keep references from being deleted: all that an owner uses, and for whom, from now on.

        Raises:
            StorageError: the disk failed; what was said before holds.
        """
        with self._translated("Noting what is in use"):
            write_uses(self._layout, owner, uses)

    def collect_garbage(self, *, wait_s: float = 30.0) -> Collected:
        """Remove content that nothing refers to and what ended processes left behind.

        Raises:
            Conflict: saves or imports kept the store in use for `wait_s` seconds.
            CorruptContent: a record or manifest in use is damaged; no content was removed.
            StorageError: the disk failed.
        """
        with self._translated("Collecting garbage"):
            if not self.root.is_dir():
                return Collected(0, 0, 0, 0)
            with collection(self._layout, wait_s=wait_s):
                return collect(self._layout, self.blobs, self._references)

    @contextmanager
    def _view(self, digest: str, under: str, *, shared: bool) -> Generator[Path, None, None]:
        with leased(self._layout, digest):
            files = _within(files_of(self.blobs.manifest(digest)), under)
            with viewed(self._layout, self.blobs, files, shared=shared) as directory:
                yield directory

    @contextmanager
    def _offered(
        self, operation: str, resource: AbstractContextManager[OfferedT]
    ) -> Generator[OfferedT, None, None]:
        """Offer a resource to the caller's block, whose errors pass unless the disk is at fault."""
        with ExitStack() as stack:
            with self._translated(operation):
                offered = stack.enter_context(resource)
            try:
                yield offered
            except DosirakError:
                raise
            except Exception as error:
                if not means_storage(error):
                    raise
                written = tree_bytes(offered) if isinstance(offered, Path) else None
                raise storage_failure(error, operation, self.root, written) from error

    def _translated(self, operation: str) -> AbstractContextManager[None]:
        return translated(operation, self.root)


def default_store() -> Store:
    """Return the store that the environment names: `$DOSIRAK_HOME/store`."""
    return Store(Settings.from_environment().home / "store")


def _parsed(reference: Reference | str) -> Reference:
    """Check a reference whatever its form, because its parts become file names."""
    return Reference.parse(str(reference))


def _digest(manifest: Manifest | str) -> str:
    return manifest if isinstance(manifest, str) else digest_of(canonical_json(manifest))


def _within(files: tuple[FileEntry, ...], under: str) -> list[FileEntry]:
    """Return the files in a folder of the manifest, with their paths within it."""
    start = f"{under}/" if under else ""
    return [
        replace(file, path=file.path.removeprefix(start))
        for file in files
        if file.path.startswith(start)
    ]
