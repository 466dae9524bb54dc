"""Saved services by name and version, as directories below `$BENTOML_HOME/repository`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Self

from dosirak.compat.bentoml_classic.bundle.description import (
    Description,
    is_bundle,
    read_description,
)
from dosirak.compat.bentoml_classic.bundle.staging import remove_directory
from dosirak.compat.bentoml_classic.exceptions import InvalidArgument, NotFound

HOME_VARIABLE = "BENTOML_HOME"
LATEST = "latest"

_VERSION = re.compile(r"[A-Za-z0-9_.+-]{1,128}", re.ASCII)


class Repository:
    """The saved services of one home.

    Args:
        home: the directory that `$BENTOML_HOME` names.
    """

    def __init__(self, home: Path) -> None:
        self.home = home

    @classmethod
    def from_environment(cls) -> Self:
        """Use `$BENTOML_HOME`, or `~/bentoml`."""
        home = os.environ.get(HOME_VARIABLE) or "~/bentoml"
        return cls(Path(home).expanduser().absolute())

    def path_of(self, name: str, version: str) -> Path:
        """Return where a version is, or would be.

        Raises:
            InvalidArgument: the name or version cannot be a directory (the caller's fault).
        """
        if not name.isidentifier():
            raise InvalidArgument(
                f"{name!r} is not the name of a service.", remedy="Use a Python identifier."
            )
        check_version(version)
        return self.home / "repository" / name / version

    def descriptions(self, name: str | None = None) -> list[Description]:
        """Return what is saved, all or under one name, the newest first."""
        found = sorted(self._found(name), key=lambda item: item.created_at, reverse=True)
        return list(found)

    def _found(self, name: str | None) -> Iterator[Description]:
        if name is not None and not name.isidentifier():
            return  # no service has such a name
        pattern = "*/*" if name is None else f"{name}/*"
        for directory in (self.home / "repository").glob(pattern):
            if not directory.name.startswith(".") and is_bundle(directory):
                yield read_description(directory)

    def find(self, tag: str) -> Description:
        """Return the saved service `NAME:VERSION`, `NAME:latest` or `NAME`.

        Raises:
            NotFound: it is not there (the caller's fault).
        """
        name, _, version = tag.partition(":")
        saved = self.descriptions(name)
        wanted = [item for item in saved if version in ("", LATEST, item.version)]
        if not wanted:
            raise NotFound(
                f"There is no saved service {tag}.", remedy=self._instead_of(name, saved)
            )
        return wanted[0]

    def _instead_of(self, name: str, saved: Sequence[Description]) -> str:
        """Say what was perhaps meant by a tag that nothing has."""
        if saved:
            return f"It has the versions {', '.join(item.version for item in saved[:5])}."
        names = {item.name.lower(): item.name for item in self.descriptions()}
        near = get_close_matches(name.lower(), names, n=3)
        if near:
            return f"Did you mean {' or '.join(names[one] for one in near)}?"
        return "See them with: bentoml list"

    def delete(self, description: Description) -> None:
        """Remove a saved service, all at once."""
        remove_directory(description.directory)


def check_version(version: str) -> str:
    """Return `version` unchanged.

    Raises:
        InvalidArgument: it cannot be a version (the caller's fault).
    """
    if not _VERSION.fullmatch(version) or version.strip(".") == "" or version.lower() == LATEST:
        raise InvalidArgument(
            f"{version!r} cannot be a version.",
            remedy="Use 1 to 128 letters, digits, '_', '.', '+' and '-'; 'latest' is computed.",
        )
    return version


def resolve(text: str, repository: Repository) -> Description:
    """Return the saved service that a directory or a tag names.

    Raises:
        NotFound: there is no such directory and no such tag (the caller's fault).
        BentoMLConfigException: the directory is not a saved service.
    """
    if Path(text).is_dir():
        return read_description(Path(text).absolute())
    return repository.find(text)
