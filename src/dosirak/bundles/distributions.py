"""What is installed: which distribution a module comes from, and what a distribution needs.

Reads only the metadata of the running environment; never the network. A distribution that was
installed from a directory (`pip install -e`) is `local`; one whose directory lies in the project is
the project itself and travels as source.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distributions
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version


class _VersionControl(msgspec.Struct):
    vcs: str = ""
    commit_id: str = ""


class _Origin(msgspec.Struct):
    """The part of `direct_url.json` (PEP 610) that matters here."""

    url: str = ""
    vcs_info: _VersionControl | None = None


@dataclass(frozen=True, slots=True)
class Installed:
    """One installed distribution.

    Attributes:
        name: its canonical name.
        version: its version, local label included.
        directory: where it was installed from, when that is a directory of this machine.
        repository: `git+https://…@commit`, when it was installed from version control.
        requires: its requirements, with their markers.
    """

    name: str
    version: str
    directory: Path | None
    repository: str | None
    requires: tuple[str, ...]

    @property
    def pin(self) -> str:
        """The requirement that installs exactly this, as far as others can install it."""
        if self.repository is not None:
            return f"{self.name} @ {self.repository}"
        return f"{self.name}=={public_version(self.version)}"


class InstalledDistributions:
    """The running environment, looked up as needed; one instance sees it as of its first look."""

    def __init__(self) -> None:
        self._known: dict[str, Installed | None] = {}
        self._all: dict[str, Distribution] | None = None
        self._modules: Mapping[str, Mapping[str, set[str]]] | None = None

    @classmethod
    def of_this_environment(cls) -> Self:
        """Look at the running environment."""
        return cls()

    def get(self, name: str) -> Installed | None:
        """Return the distribution of this name, if it is installed."""
        canonical = canonicalize_name(name)
        if canonical not in self._known:
            self._known[canonical] = _find(canonical)
        return self._known[canonical]

    def providing_library(self, name: str) -> Installed | None:
        """Return the distribution of this name, or else the one that brings the module so named.

        Some libraries are published under several names (`xgboost`, `xgboost-cpu`).
        """
        found = self.get(name)
        if found is not None:
            return found
        providers = self.providing(canonicalize_name(name).replace("-", "_"))
        return self.get(providers[0]) if len(providers) == 1 else None

    def providing(self, module: str) -> tuple[str, ...]:
        """Return the names of the distributions that hold a module.

        Several distributions may share a top-level package; the one with the longest part of the
        dotted name wins.
        """
        modules = self._modules_by_top_level().get(module.partition(".")[0], {})
        parts = module.split(".")
        for count in range(len(parts), 0, -1):
            names = modules.get(".".join(parts[:count]))
            if names:
                return tuple(sorted(names))
        return self._providing_in_place(parts[0])

    def closure(self, roots: Iterable[Requirement]) -> tuple[dict[str, Installed], list[str]]:
        """Follow requirements until nothing is new.

        Returns:
            Every distribution reached, by name, and a sentence for each that is not installed.
        """
        reached: dict[str, Installed] = {}
        missing: dict[str, str] = {}
        seen: set[tuple[str, str]] = set()
        waiting = [(root, "") for root in roots]
        while waiting:
            requirement, parent = waiting.pop()
            name = canonicalize_name(requirement.name)
            installed = self.get(name)
            if installed is None:
                if parent:
                    missing[name] = f"{parent} needs {requirement}, which is not installed."
                continue
            reached[name] = installed
            for extra in ("", *requirement.extras):
                if (name, extra) not in seen:
                    seen.add((name, extra))
                    waiting.extend((needed, name) for needed in _needed(installed, extra))
        return reached, [missing[name] for name in sorted(missing)]

    def _providing_in_place(self, top_level: str) -> tuple[str, ...]:
        """Find the distribution whose own directory holds the module (an editable install)."""
        origin = _origin_of(top_level)
        if origin is None:
            return ()
        found = [
            name
            for name, distribution in self._distributions().items()
            if (directory := _local_directory(_origin(distribution))) is not None
            and origin.is_relative_to(directory)
        ]
        return tuple(sorted(found))

    def _distributions(self) -> dict[str, Distribution]:
        if self._all is None:
            self._all = {}
            for distribution in distributions():
                name = distribution.metadata["Name"]
                if name:
                    # The first on the path is the one that is imported.
                    self._all.setdefault(canonicalize_name(name), distribution)
        return self._all

    def _modules_by_top_level(self) -> Mapping[str, Mapping[str, set[str]]]:
        if self._modules is None:
            self._modules = _index_modules(self._distributions())
        return self._modules


def public_version(version: str) -> str:
    """Return the version without its local label, which no index carries (`2.6.0+cpu`)."""
    try:
        return Version(version).public
    except InvalidVersion:
        return version


def _find(name: str) -> Installed | None:
    try:
        distribution = Distribution.from_name(name)
    except (PackageNotFoundError, ValueError):
        return None
    origin = _origin(distribution)
    return Installed(
        name=name,
        version=distribution.version,
        directory=_local_directory(origin),
        repository=_repository(origin),
        requires=tuple(distribution.requires or ()),
    )


def _origin(distribution: Distribution) -> _Origin:
    text = distribution.read_text("direct_url.json")
    if not text:
        return _Origin()
    try:
        return msgspec.json.decode(text, type=_Origin)
    except msgspec.MsgspecError:
        return _Origin()


def _local_directory(origin: _Origin) -> Path | None:
    parts = urlsplit(origin.url)
    if parts.scheme != "file":
        return None
    path = Path(unquote(parts.path))
    return path.resolve() if path.is_dir() else None


def _repository(origin: _Origin) -> str | None:
    information = origin.vcs_info
    parts = urlsplit(origin.url)
    if information is None or parts.scheme not in ("https", "ssh") or not information.commit_id:
        return None
    # Whatever name or token stood before the host stays out of the bundle.
    host = parts.netloc.rpartition("@")[2] if parts.scheme == "https" else parts.netloc
    return f"{information.vcs}+{parts.scheme}://{host}{parts.path}@{information.commit_id}"


def _origin_of(top_level: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(top_level)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return Path(places[0]).resolve() if places else None


def _needed(installed: Installed, extra: str) -> Iterator[Requirement]:
    for text in installed.requires:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        marker = requirement.marker
        if marker is None:
            # Reached once, without an extra.
            if not extra:
                yield requirement
        elif marker.evaluate({"extra": extra}):
            yield requirement


def _index_modules(
    found: Mapping[str, Distribution],
) -> dict[str, dict[str, set[str]]]:
    index: dict[str, dict[str, set[str]]] = {}
    for name, distribution in found.items():
        for module in _modules_of(distribution):
            top_level = module.partition(".")[0]
            index.setdefault(top_level, {}).setdefault(module, set()).add(name)
    return index


def _modules_of(distribution: Distribution) -> set[str]:
    modules: set[str] = set()
    for path in _files_of(distribution):
        if not path.endswith((".py", ".so", ".pyd")) or path.startswith(("..", "/")):
            continue
        # Packages that share a top level differ in its first few parts.
        *parts, last = path.split("/", 3)
        stem = last.partition(".")[0]
        names = parts if len(parts) == 3 or stem == "__init__" else [*parts, stem]
        if all(part.isidentifier() for part in names):
            modules.update(".".join(names[:count]) for count in range(1, len(names) + 1))
    for line in (distribution.read_text("top_level.txt") or "").split():
        if line.isidentifier() and not line.startswith("__editable__"):
            modules.add(line)
    return modules


def _files_of(distribution: Distribution) -> Iterator[str]:
    record = distribution.read_text("RECORD")
    if record is None:
        return (str(file) for file in distribution.files or ())
    # Parsing the whole table costs ten times as much as this for a library of many files.
    return (line.partition(",")[0].strip('"') for line in record.splitlines())
