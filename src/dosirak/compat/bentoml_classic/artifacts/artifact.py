"""The base of every artifact, and the dict of them that a service has as `self.artifacts`.

A derived class writes `pack`, `save`, `load` and `get` as in classic BentoML; the guards around
them (metadata, readiness) are put there once, when the class is made, so that artifacts that users
write get them too.
"""

from __future__ import annotations

import copy
import functools
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self, cast

import yaml

from dosirak.compat.bentoml_classic.exceptions import FailedPrecondition, InvalidArgument, NotFound

_log = logging.getLogger(__name__)

ARTIFACTS_FOLDER = "artifacts"


class BentoServiceArtifact:
    """A named place for one model or other object of a service.

    Args:
        name: a Python identifier; `service.artifacts.<name>` is the packed object.
    """

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Remember the arguments: each instance of a service gets its own copy."""
        artifact = super().__new__(cls)
        artifact._arguments = (args, kwargs)
        return artifact

    def __init__(self, name: str) -> None:
        if not name.isidentifier():
            raise ValueError(f"The artifact name {name!r} is not a Python identifier.")
        self._name = name
        self._packed = False
        self._loaded = False
        self._metadata: dict[str, Any] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        guards = {"pack": _guard_pack, "load": _guard_load, "save": _guard_save, "get": _guard_get}
        for name, guard in guards.items():
            if name in cls.__dict__:
                setattr(cls, name, guard(cls.__dict__[name]))

    @property
    def name(self) -> str:
        """The artifact's name."""
        return self._name

    @property
    def packed(self) -> bool:
        """Whether an object was packed."""
        return self._packed

    @property
    def loaded(self) -> bool:
        """Whether the object was read from a saved bundle."""
        return self._loaded

    @property
    def is_ready(self) -> bool:
        """Whether there is an object."""
        return self._packed or self._loaded

    @property
    def metadata(self) -> dict[str, Any]:
        """What is known of the object, as given to `pack`."""
        return self._metadata

    def pack(self, model: Any, /, metadata: dict[str, Any] | None = None) -> Any:
        """Take the object. Derived classes keep it and return themselves."""

    def load(self, path: str) -> Any:
        """Read the object from the directory that `save` was given."""

    def save(self, dst: str) -> Any:
        """Write the object to files in `dst` whose names begin with the artifact's."""

    def get(self) -> Any:
        """Return the object."""

    def set_dependencies(self, env: Any) -> None:
        """Add what loading needs to the service's environment."""

    def file_path(self, folder: str, suffix: str) -> Path:
        """Return the path of this artifact's file in `folder`."""
        return Path(folder) / (re.sub(r"[^-a-zA-Z0-9_.() ]+", "", self.name) + suffix)

    def empty_copy(self) -> Self:
        """Return a new artifact made with the same arguments, with nothing packed."""
        args, kwargs = self._arguments
        return type(self)(*args, **kwargs)


def _guard_pack(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def pack(self: BentoServiceArtifact, *args: Any, **kwargs: Any) -> Any:
        metadata = kwargs.get("metadata")
        if metadata is not None and not isinstance(metadata, dict):
            raise TypeError("The metadata of an artifact must be a dict.")
        outcome = original(self, *args, **kwargs)
        if metadata is not None:
            self._metadata = metadata  # pyright: ignore[reportPrivateUsage]
        self._packed = True  # pyright: ignore[reportPrivateUsage]
        return outcome

    return pack


def _guard_load(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def load(self: BentoServiceArtifact, path: str, *args: Any, **kwargs: Any) -> Any:
        described = self.file_path(path, ".yml")
        if described.is_file():
            self._metadata = yaml.safe_load(described.read_text("utf-8")) or {}  # pyright: ignore[reportPrivateUsage]
        outcome = original(self, path, *args, **kwargs)
        self._loaded = True  # pyright: ignore[reportPrivateUsage]
        return outcome

    return load


def _guard_save(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def save(self: BentoServiceArtifact, dst: str, *args: Any, **kwargs: Any) -> Any:
        _check_ready(self)
        if self.metadata:
            self.file_path(dst, ".yml").write_text(metadata_text(self.name, self.metadata), "utf-8")
        return original(self, dst, *args, **kwargs)

    return save


def _guard_get(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def get(self: BentoServiceArtifact) -> Any:
        _check_ready(self)
        return original(self)

    return get


def _check_ready(artifact: BentoServiceArtifact) -> None:
    if not artifact.is_ready:
        raise FailedPrecondition(
            f"The artifact {artifact.name!r} is empty.",
            remedy="Pack an object first, or load a saved service.",
        )


def metadata_text(name: str, metadata: Mapping[str, Any]) -> str:
    """Return an artifact's metadata as YAML.

    Raises:
        InvalidArgument: a value has no YAML form (the caller's fault).
    """
    try:
        return yaml.safe_dump(plain_metadata(metadata), sort_keys=False, allow_unicode=True)
    except yaml.YAMLError as error:
        raise InvalidArgument(
            f"The metadata of the artifact {name!r} holds a value that YAML cannot.",
            remedy="Use text, numbers, booleans, lists and dicts.",
        ) from error


def plain_metadata(value: Any) -> Any:
    """Return the value with numpy scalars and arrays as numbers and lists."""
    if isinstance(value, Mapping):
        return {key: plain_metadata(item) for key, item in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [plain_metadata(item) for item in cast(Iterable[Any], value)]
    if type(value).__module__ == "numpy":
        return plain_metadata(value.tolist())
    return copy.copy(value)


class ArtifactCollection(dict[str, BentoServiceArtifact]):
    """Artifacts by name: `collection["x"]` is the artifact, `collection.x` the object in it."""

    @classmethod
    def from_declared_artifact_list(cls, declared: Iterable[BentoServiceArtifact]) -> Self:
        """Make a collection of empty copies: each instance of a service has its own."""
        collection = cls()
        for artifact in declared:
            collection.add(artifact.empty_copy())
        return collection

    def __setitem__(self, key: str, artifact: BentoServiceArtifact) -> None:
        if key != artifact.name:
            raise InvalidArgument(
                f"The key {key!r} is not the artifact's name {artifact.name!r}.",
                remedy="Use the artifact's name as the key.",
            )
        super().__setitem__(key, artifact)

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(f"The service has no artifact {name!r}.")
        return self[name].get()

    def get(self, item: str) -> BentoServiceArtifact:  # type: ignore[override]
        """Return the artifact of this name.

        Raises:
            NotFound: the service declares no such artifact (the caller's fault).
        """
        if item not in self:
            raise NotFound(
                f"The service has no artifact {item!r}.",
                remedy=f"Declare it in @artifacts, or use one of: {', '.join(self)}.",
            )
        return self[item]

    def get_artifact_list(self) -> list[BentoServiceArtifact]:
        """Return the artifacts."""
        return list(self.values())

    def add(self, artifact: BentoServiceArtifact) -> None:
        """Put an artifact under its own name."""
        self[artifact.name] = artifact

    def save(self, dst: str) -> None:
        """Write every artifact that is ready below `dst`."""
        folder = Path(dst) / ARTIFACTS_FOLDER
        folder.mkdir()
        for artifact in self.values():
            if artifact.is_ready:
                artifact.save(str(folder))
            else:
                _log.warning("The artifact %r is empty and was not saved.", artifact.name)

    def load_all(self, path: str) -> None:
        """Read every artifact from the directory `path`."""
        for artifact in self.values():
            artifact.load(path)
