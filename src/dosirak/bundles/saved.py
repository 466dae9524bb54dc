"""Sealed bundles in the store: find, list, delete, and carry them as archives.

A `Bundle` is a view of an entry and its manifest; it never changes. Nothing here runs its code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from dosirak.bundles.checkout import write_checkout
from dosirak.bundles.manifest import SCHEMA_FILE, BundleManifest, read_manifest
from dosirak.bundles.pins import pinned_model
from dosirak.errors import CorruptContent, DosirakError, UsageError
from dosirak.models import Model
from dosirak.naming import Reference
from dosirak.store import Entry, FileEntry, Store, default_store
from dosirak.store.archive import export_archive, import_archive
from dosirak.store.manifest import files_of, size_of


@dataclass(frozen=True)
class Bundle:
    """One sealed bundle.

    Attributes:
        store: where it lies.
        entry: its reference and what the store's record says.
    """

    store: Store
    entry: Entry

    def __repr__(self) -> str:
        return f"<Bundle {self.reference} ({self.id[:12]})>"

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
        """When it was sealed, in UTC."""
        return self.entry.created_at

    @property
    def labels(self) -> Mapping[str, str]:
        """The author's labels."""
        return self.entry.labels

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where it came from: commit, dirtiness, versions, time."""
        return self.entry.provenance

    @cached_property
    def description(self) -> dict[str, Any]:
        """Its manifest as JSON values, verified, unknown fields included.

        Raises:
            CorruptContent: the manifest is missing or damaged.
        """
        return self.store.manifest(self.id)

    @cached_property
    def manifest(self) -> BundleManifest:
        """Its manifest, read.

        Raises:
            CorruptContent: the manifest is missing, damaged or no bundle's.
            UsageError: it has a format that this dosirak does not know.
        """
        return read_manifest(self.description, where=str(self.reference))

    @property
    def service(self) -> str:
        """Which service it holds: `module:attribute`, or the model that is served alone."""
        return self.manifest.target or self.manifest.name

    @property
    def front_end(self) -> str:
        """The way in which its service was authored."""
        return self.manifest.front_end

    @property
    def models(self) -> tuple[Reference, ...]:
        """The exact references of the models that travel with it."""
        return tuple(dict.fromkeys(pin.reference for pin in self.manifest.models))

    @property
    def python(self) -> str:
        """The Python it needs."""
        return self.manifest.python

    @property
    def requirements(self) -> tuple[str, ...]:
        """The distributions it needs, its own first."""
        return self.manifest.requirements

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What its author wants known."""
        return self.manifest.metadata

    @property
    def description_text(self) -> str:
        """One paragraph for people."""
        return self.manifest.description

    @cached_property
    def files(self) -> tuple[FileEntry, ...]:
        """Its own files; those of its models belong to them."""
        return files_of(self.description)

    @cached_property
    def size_bytes(self) -> int:
        """The length of everything that travels, models included."""
        return sum(size_of(manifest) for manifest in self.store.closure(self.id).values())

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The API schema."""
        return msgspec.json.decode(self.read(SCHEMA_FILE), type=dict[str, Any])

    def model(self, name: str) -> Model:
        """Return one of its models, by the service's attribute or by the model's name.

        Raises:
            UsageError: it has none of this name.
        """
        for pin in self.manifest.models:
            if name in (pin.attribute, pin.name):
                return pinned_model(pin, bundle=self.entry, store=self.store)
        known = ", ".join(pin.attribute or pin.name for pin in self.manifest.models)
        raise UsageError(
            f"{self.reference} has no model {name!r}.", remedy=f"It has: {known or 'none'}."
        )

    def read(self, path: str) -> bytes:
        """Return the content of one of its files, verified.

        Raises:
            UsageError: it has no such file.
            CorruptContent: the file is missing or damaged.
        """
        file = next((file for file in self.files if file.path == path), None)
        if file is None:
            raise UsageError(
                f"{self.reference} has no file {path!r}.", remedy="See what it has in `files`."
            )
        with self.store.open_blob(file.sha256) as content:
            return content.read()

    def verify(self) -> None:
        """Read every byte of it and of its models.

        Raises:
            CorruptContent: something is missing or damaged; the message names it.
        """
        self.store.verify(self.id)

    def checkout(self, directory: str | Path) -> Path:
        """Write it as a directory that `load` and `serve` accept, models included.

        Raises:
            AlreadyExists: `directory` exists and is not empty.
            CorruptContent: a file is damaged.
            StorageError: the disk failed; there is no half directory.
        """
        return write_checkout(self.store, self.entry, Path(directory))


def get_bundle(reference: str | Reference, *, store: Store | None = None) -> Bundle:
    """Find a bundle by `name`, `name:latest`, `name:version` or a version's unique start.

    Raises:
        InvalidName: the reference breaks the grammar.
        BundleNotFound: there is none.
        UsageError: several versions begin so.
        CorruptContent: its record is damaged.
    """
    target = store or default_store()
    return Bundle(target, target.resolve("bundles", reference))


def list_bundles(name: str | None = None, *, store: Store | None = None) -> tuple[Bundle, ...]:
    """Return the bundles of a name, or all in the order of their names; the newest version first.

    Raises:
        InvalidName: the name breaks the grammar.
        CorruptContent: a record is damaged; the message names it.
    """
    target = store or default_store()
    return tuple(Bundle(target, entry) for entry in target.entries("bundles", name))


def delete_bundle(reference: str | Reference, *, store: Store | None = None) -> Reference:
    """Delete one version; its files go with the next garbage collection.

    Raises:
        UsageError: no exact version was given.
        BundleNotFound: there is none.
    """
    return (store or default_store()).delete("bundles", reference)


def export_bundle(
    reference: str | Reference, path: str | Path, *, store: Store | None = None
) -> Path:
    """Write a bundle and its models as one new `.tar` file that another store imports.

    Raises:
        BundleNotFound: there is none.
        AlreadyExists: `path` exists.
        CorruptContent: a file of it is damaged.
        StorageError: the disk failed; there is no half archive.
    """
    bundle = get_bundle(reference, store=store)
    return export_archive(bundle.store, bundle.entry, Path(path))


def import_bundle(path: str | Path, *, store: Store | None = None) -> Bundle:
    """Read a bundle and its models from a `.tar` file, whole or not at all.

    Raises:
        UnsafeArchive: the archive holds something that an export never writes.
        CorruptContent: it is cut off or damaged.
        AlreadyExists: the version exists with other content.
        UsageError: there is no such file, or it holds a model.
        StorageError: the disk failed; nothing was imported.
    """
    target = store or default_store()
    bundle = Bundle(target, import_archive(target, Path(path), kind="bundles"))
    try:
        _check_models(bundle)
    except DosirakError:
        target.delete("bundles", bundle.reference)
        raise
    return bundle


def _check_models(bundle: Bundle) -> None:
    """Refuse pins that the archive does not carry: the store knows only `requires`."""
    missing = {pin.digest for pin in bundle.manifest.models} - set(bundle.manifest.requires)
    if missing:
        raise CorruptContent(
            f"{bundle.reference} names models that it does not carry.",
            remedy="Build it again where it came from.",
        )
