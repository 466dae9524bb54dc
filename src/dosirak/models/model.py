"""A saved model, seen: what its record and manifest say, and the way to load it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dosirak.errors import CorruptContent, UsageError
from dosirak.models.examples import Example, libraries
from dosirak.models.framework import Framework, SavedFormat, framework
from dosirak.models.model_service import MethodDescription, service_of
from dosirak.models.trust import check_trust
from dosirak.spec.service_spec import ServiceSpec
from dosirak.store import Stored

FORMAT = "dosirak/model/1"
FILES = "model"
_FAMILY = "dosirak/model/"


class ModelManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is, as its manifest says it; the store checks `files` itself."""

    framework: str
    saved: SavedFormat
    metadata: dict[str, Any]
    examples: tuple[Example, ...]
    methods: tuple[MethodDescription, ...] = ()
    format: str = FORMAT


@dataclass(frozen=True, repr=False)
class Model(Stored):
    """A saved model: what its record and manifest say, and the way to load it.

    Attributes:
        verified_files: a view of its files whose holder has verified them; `load` then does not.
    """

    verified_files: Path | None = field(default=None, compare=False)

    @property
    def framework(self) -> str:
        """The name of the framework that saved it and loads it."""
        return self.manifest.framework

    @property
    def framework_module(self) -> Framework:
        """The framework itself.

        Raises:
            UsageError: none of this name is installed.
            MissingDependency: it cannot be imported.
        """
        return framework(self.framework)

    @property
    def saved(self) -> SavedFormat:
        """The format of its files."""
        return self.manifest.saved

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the author said of it."""
        return self.manifest.metadata

    @property
    def examples(self) -> tuple[Example, ...]:
        """Its golden examples (see `models.replay`)."""
        return self.manifest.examples

    @property
    def requirements(self) -> tuple[str, ...]:
        """The distributions that loading it and replaying its golden examples need.

        Raises:
            UsageError: its framework is not installed.
            MissingDependency: its framework cannot be imported.
        """
        needed = self.framework_module.requirements(self.saved)
        named = [canonicalize_name(Requirement(line).name) for line in needed]
        unnamed = (
            library
            for library in sorted(libraries(self.examples))
            # `polars-lts-cpu` brings polars.
            if not any(name == library or name.startswith(f"{library}-") for name in named)
        )
        # Without a version: only a model that was saved before they were recorded comes here.
        return (*needed, *unnamed)

    @cached_property
    def manifest(self) -> ModelManifest:
        """Its manifest, read.

        Raises:
            CorruptContent: the manifest is missing, damaged or not a model's.
            UsageError: it has a format that this dosirak does not know.
        """
        return _read(self.description, str(self.reference))

    def load(self, *, trust: bool | str | None = None) -> Any:
        """Read the model into memory, once every byte of its files has been verified.

        Args:
            trust: for formats whose loading runs code and that were not saved here: True, or the
                id of the content you vouch for.

        Raises:
            CorruptContent: a file is missing or damaged, or not in its format.
            UntrustedContent: loading could run code that nobody vouches for.
            MissingDependency: the framework's library is not installed.
        """
        check_trust(self.entry, self.framework, self.saved, trust=trust)
        loader = self.framework_module
        if self.verified_files is not None and self.verified_files.is_dir():
            return loader.load(self.verified_files / FILES, self.saved)
        with self.store.view(self.id, under=FILES) as directory:
            return loader.load(directory, self.saved)

    def spec(self) -> ServiceSpec:
        """Return the service that offers the model's methods, without loading it.

        Raises:
            UsageError: its framework knows no way to call it.
            CorruptContent: the manifest is missing or damaged.
        """
        return service_of(self.reference, self.framework, self.manifest.methods)


def _read(values: Mapping[str, Any], where: str) -> ModelManifest:
    found = values.get("format")
    if isinstance(found, str) and found.startswith(_FAMILY) and found != FORMAT:
        raise UsageError(
            f"{where} has the format {found!r}; this dosirak reads {FORMAT!r}.",
            remedy="Upgrade dosirak.",
        )
    try:
        if found != FORMAT:
            raise msgspec.ValidationError(f"it is no {FORMAT!r}")
        return msgspec.convert(values, ModelManifest, strict=True)
    except msgspec.ValidationError as error:
        raise CorruptContent(
            f"{where} is not a model: {error}.", remedy="Save or import it again."
        ) from error
