"""Sealed bundles in the store, seen: what their manifests say, and the files they carry."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from dosirak.bundles.checkout import write_checkout
from dosirak.bundles.manifest import SCHEMA_FILE, BundleManifest, read_manifest
from dosirak.bundles.pins import pinned_model
from dosirak.errors import CorruptContent, UsageError
from dosirak.models import Model
from dosirak.naming import Reference
from dosirak.store import Shelf, Stored
from dosirak.store.manifest import size_of


class Bundle(Stored):
    """One sealed bundle. Nothing here runs its code."""

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

    def checkout(self, directory: str | Path) -> Path:
        """Write it as a directory that `load` and `serve` accept, models included.

        Raises:
            AlreadyExists: `directory` exists and is not empty.
            CorruptContent: a file is damaged.
            StorageError: the disk failed; there is no half directory.
        """
        return write_checkout(self.store, self.entry, Path(directory))


def _check_models(bundle: Bundle) -> None:
    """Refuse pins that the archive does not carry: the store knows only `requires`."""
    missing = {pin.digest for pin in bundle.manifest.models} - set(bundle.manifest.requires)
    if missing:
        raise CorruptContent(
            f"{bundle.reference} names models that it does not carry.",
            remedy="Build it again where it came from.",
        )


SHELF = Shelf("bundles", Bundle, check=_check_models)
