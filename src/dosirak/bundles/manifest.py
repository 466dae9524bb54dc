"""The bundle manifest: what a bundle is, as one JSON object in the store (`dosirak/bundle/1`).

The store reads `files` and `requires` and names the manifest by the sha256 of its canonical text.
Nothing here depends on when, where or by whom the bundle was built, so equal input gives an equal
id; the rest is in the store's record. Readers ignore fields that they do not know, so that a later
version may add some without a new format.

    src/…                  the project's files, as they stood below its directory
    env/requirements.txt   the service's requirements first, then what those need
    env/python_version     the Python it needs
    api.json               the API schema
    README.md              the project's own, when it has one
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

from dosirak.errors import CorruptContent, UsageError
from dosirak.naming import Reference
from dosirak.spec.service_spec import Resources, ServiceLevel

FORMAT = "dosirak/bundle/1"
SOURCE_DIRECTORY = "src"
SCHEMA_FILE = "api.json"

FAMILY = "dosirak/bundle/"


class ModelPin(msgspec.Struct, frozen=True, kw_only=True):
    """A model that travels with the bundle, pinned to one content.

    Attributes:
        attribute: where the service has it; empty when no attribute names it.
        name: the model's name.
        version: its exact version.
        digest: the digest of its manifest in the store.
        framework: how it is saved.
    """

    attribute: str
    name: str
    version: str
    digest: str
    framework: str = ""

    @property
    def reference(self) -> Reference:
        """Name and version."""
        return Reference(self.name, self.version)


class SealedDependency(msgspec.Struct, frozen=True, kw_only=True):
    """A service that the sealed one depends on, and that is sealed with it.

    Attributes:
        name: the other service's name.
        target: its `module:attribute`.
        workers: processes of its own; None where it runs with whoever depends on it.
        dependencies: the names of those that it depends on itself.
    """

    name: str
    target: str
    workers: int | None = None
    dependencies: tuple[str, ...] = ()


class BundleManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle is.

    Attributes:
        name: the name it was sealed under.
        front_end: the way of authoring (see `ServiceSpec.front_end`).
        target: `module:attribute` of the service; empty when a model alone is the service.
        import_roots: directories of the bundle from which its modules are imported.
        python: the Python it needs, a version or specifiers.
        requirements: its own requirements first, then what those need.
        models: the models that travel with it; the attribute of a dependency's model is
            `service.attribute`.
        dependencies: the services that it depends on, those first that others need.
        description: one paragraph for people.
        metadata: what the author wants known, JSON values.
        config: the service's settings, JSON values.
        resources: what one replica asks for.
        service_level: what callers were promised.
        foreign: what the front end needs to keep, JSON values.
        files: the files, sorted by path.
        requires: the digests of the models' manifests, sorted.
        format: the format's name and version.
    """

    name: str
    front_end: str
    target: str
    python: str
    requirements: tuple[str, ...]
    files: tuple[Mapping[str, Any], ...]
    requires: tuple[str, ...] = ()
    import_roots: tuple[str, ...] = (SOURCE_DIRECTORY,)
    models: tuple[ModelPin, ...] = ()
    dependencies: tuple[SealedDependency, ...] = ()
    description: str = ""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    config: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    resources: Resources = Resources()
    service_level: ServiceLevel = ServiceLevel()
    foreign: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    format: str = FORMAT

    def describe(self) -> dict[str, Any]:
        """Return the manifest as JSON values, ready for the store.

        Raises:
            UsageError: metadata or configuration holds something that is no JSON value (the
                author's fault).
        """
        for name, value in (
            ("metadata", self.metadata),
            ("config", self.config),
            ("foreign", self.foreign),
        ):
            _check_json(value, name)
        values = cast("dict[str, Any]", msgspec.to_builtins(self, str_keys=True))
        if not self.dependencies:
            # Most have none, and their ids are those that they had before there were any.
            del values["dependencies"]
        return values


def read_manifest(values: Mapping[str, Any], *, where: str) -> BundleManifest:
    """Read a manifest that the store has verified.

    Raises:
        UsageError: it has a format that this dosirak does not know.
        CorruptContent: it is no bundle manifest.
    """
    name = values.get("format")
    if isinstance(name, str) and name.startswith(FAMILY) and name != FORMAT:
        raise UsageError(
            f"{where} has the format {name!r}; this dosirak reads {FORMAT!r}.",
            remedy="Upgrade dosirak.",
        )
    if name != FORMAT:
        raise CorruptContent(f"{where} is not a bundle.", remedy="Build or import it again.")
    try:
        return msgspec.convert(values, BundleManifest)
    except msgspec.ValidationError as error:
        raise CorruptContent(
            f"The manifest of {where} is not valid: {error}.", remedy="Build or import it again."
        ) from error


def requires_of(models: Iterable[ModelPin]) -> tuple[str, ...]:
    """Return the manifests that the store must keep as long as the bundle."""
    return tuple(sorted({model.digest for model in models}))


def _check_json(value: Any, where: str) -> None:
    """Refuse what JSON would change on the way, and what it cannot hold."""
    try:
        same = msgspec.json.decode(msgspec.json.encode(value)) == value
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"The {where} of the service cannot be kept: {error}.",
            remedy="Use JSON values: texts, numbers, booleans, lists and tables.",
        ) from error
    if not same:
        raise UsageError(
            f"The {where} of the service holds values that JSON does not have.",
            remedy="Use texts, finite numbers, booleans, lists and tables with text keys.",
        )
