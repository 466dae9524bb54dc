"""What models and bundles have in common: a thing in the store, seen, and the doors to all of them.

    Shelf("models", Model).get("iris") → Store.resolve → Entry → Model

`Stored` is a view of an entry and its manifest. The manifest is read, and verified, when it is
first asked for, so a list of many costs only their records. A `Shelf` is what `dosirak.models` and
`dosirak.bundles` offer of their kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from dosirak.errors import DosirakError
from dosirak.naming import Reference
from dosirak.store.archive import export_archive, import_archive
from dosirak.store.content_store import Store, default_store
from dosirak.store.entry import DamagedEntry, Entry, FileEntry, Kind
from dosirak.store.manifest import files_of, size_of

_READING_ORDER = (
    *("built_at", "git", "commit", "branch", "dirty"),
    *("dosirak", "python", "platform", "system", "machine"),
)


@dataclass(frozen=True)
class Stored:
    """One version of something in the store; nothing about it changes.

    Attributes:
        store: where it lies.
        entry: its reference and what the store's record says.
    """

    store: Store
    entry: Entry

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.reference} ({self.id[:12]})>"

    @property
    def name(self) -> str:
        """Its name."""
        return self.entry.name

    @property
    def version(self) -> str:
        """Its exact version."""
        return self.entry.version

    @property
    def reference(self) -> Reference:
        """Name and exact version."""
        return self.entry.reference

    @property
    def id(self) -> str:
        """The sha256 of its manifest: equal for equal content."""
        return self.entry.digest

    @property
    def created_at(self) -> datetime:
        """When it was made, in UTC."""
        return self.entry.created_at

    @property
    def labels(self) -> Mapping[str, str]:
        """The author's labels."""
        return self.entry.labels

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where it came from, always in one order: time and commit (a bundle), versions, system."""
        return _in_reading_order(self.entry.provenance)

    @cached_property
    def description(self) -> dict[str, Any]:
        """Its manifest as JSON values, verified, unknown fields included.

        Raises:
            CorruptContent: the manifest is missing or damaged.
        """
        return self.store.manifest(self.id)

    @cached_property
    def files(self) -> tuple[FileEntry, ...]:
        """Its own files."""
        return files_of(self.description)

    @cached_property
    def size_bytes(self) -> int:
        """The length of all its files."""
        return size_of(self.description)

    def verify(self) -> None:
        """Read every byte of it and of what it requires.

        Raises:
            CorruptContent: something is missing or damaged; the message names it.
        """
        self.store.verify(self.id)


def _in_reading_order(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was recorded, in the order of reading; a record's own is that of the alphabet."""

    def place(key: str) -> tuple[int, str]:
        known = key in _READING_ORDER
        return (_READING_ORDER.index(key) if known else len(_READING_ORDER), key)

    return {
        key: _in_reading_order(cast(Mapping[str, Any], value))
        if isinstance(value := provenance[key], Mapping)
        else value
        for key in sorted(provenance, key=place)
    }


StoredT = TypeVar("StoredT", bound=Stored)


def _accept(_stored: Stored) -> None:
    pass


class Shelf(Generic[StoredT]):
    """All stored things of one kind.

    Attributes:
        kind: `models` or `bundles`.
        view: the class that shows an entry.
    """

    def __init__(
        self, kind: Kind, view: type[StoredT], *, check: Callable[[StoredT], None] = _accept
    ) -> None:
        """Take what the doors need.

        Args:
            kind: `models` or `bundles`.
            view: the class that shows an entry.
            check: raises for what an archive may hold and the store does not look at.
        """
        self.kind: Kind = kind
        self.view = view
        self._check = check

    def get(self, reference: str | Reference, *, store: Store | None = None) -> StoredT:
        """Find one by `name`, `name:latest`, `name:version` or a version's unique start.

        Raises:
            InvalidName: the reference breaks the grammar.
            ModelNotFound: there is none (`BundleNotFound` for bundles).
            UsageError: several versions begin so.
            CorruptContent: its record is damaged.
        """
        target = store or default_store()
        return self.view(target, target.resolve(self.kind, reference))

    def list(self, name: str | None = None, *, store: Store | None = None) -> tuple[StoredT, ...]:
        """Return those of a name, or all in the order of their names; the newest version first.

        Raises:
            InvalidName: the name breaks the grammar.
            CorruptContent: a record is damaged; the message names it.
        """
        target = store or default_store()
        return tuple(self.view(target, entry) for entry in target.entries(self.kind, name))

    def survey(
        self, name: str | None = None, *, store: Store | None = None
    ) -> tuple[StoredT | DamagedEntry, ...]:
        """Return those that `list` does, and the damaged ones where that would raise.

        Raises:
            InvalidName: the name breaks the grammar.
        """
        target = store or default_store()
        return tuple(
            self.view(target, entry) if isinstance(entry, Entry) else entry
            for entry in target.survey(self.kind, name)
        )

    def delete(self, reference: str | Reference, *, store: Store | None = None) -> Reference:
        """Delete one version; its files go with the next garbage collection.

        Raises:
            UsageError: no exact version was given.
            ModelNotFound: there is none (`BundleNotFound` for bundles).
            Conflict: it is in use, such as by a deployment.
        """
        return (store or default_store()).delete(self.kind, reference)

    def export(
        self, reference: str | Reference, path: str | Path, *, store: Store | None = None
    ) -> Path:
        """Write one, and what it requires, as a new `.tar` file that another store imports.

        Raises:
            ModelNotFound: there is none (`BundleNotFound` for bundles).
            AlreadyExists: `path` exists.
            CorruptContent: a file of it is damaged.
            StorageError: the disk failed; there is no half archive.
        """
        found = self.get(reference, store=store)
        return export_archive(found.store, found.entry, Path(path))

    def import_(self, path: str | Path, *, store: Store | None = None) -> StoredT:
        """Read one, and what it requires, from a `.tar` file, whole or not at all.

        Raises:
            UnsafeArchive: the archive holds something that an export never writes.
            CorruptContent: it is cut off or damaged.
            AlreadyExists: the version exists with other content.
            UsageError: there is no such file, or it holds another kind of thing.
            StorageError: the disk failed; nothing was imported.
        """
        target = store or default_store()
        found = self.view(target, import_archive(target, Path(path), kind=self.kind))
        try:
            self._check(found)
        except DosirakError:
            self.delete(found.reference, store=target)
            raise
        return found
