"""References to models and bundles: `name`, `name:version`, `name:latest`.

Nothing else in the project splits on a colon. Names are lower case, so that no two differ only by
case on a file system that folds it, and both parts are valid in an OCI repository and tag.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Self

from dosirak.errors import InvalidName

LATEST = "latest"

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,126}[a-z0-9])?", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_WORD_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Reference(NamedTuple):
    """A name and a version; `version` is `latest` when none was given."""

    name: str
    version: str = LATEST

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `name` or `name:version`.

        Raises:
            InvalidName: either part breaks the grammar (the caller's fault).
        """
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidName(f"{text!r} is not text.", remedy="Write 'name' or 'name:version'.")
        name, colon, version = text.partition(":")
        check_name(name)
        if colon:
            check_version(version, allow_latest=True)
        return cls(name, version or LATEST)

    @property
    def is_latest(self) -> bool:
        """Whether the version is still to be resolved."""
        return self.version == LATEST

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


def is_name(name: object) -> bool:
    """Whether `name` is text that keeps to the grammar of names."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None and ".." not in name


def is_version(version: object) -> bool:
    """Whether `version` is text that keeps to the grammar of versions; `latest` does."""
    return (
        isinstance(version, str) and _VERSION.fullmatch(version) is not None and ".." not in version
    )


def check_name(name: str) -> str:
    """Return `name` unchanged.

    Raises:
        InvalidName: it is not 1 to 128 of `a-z 0-9 . _ -`, a letter or digit at both ends.
    """
    if not is_name(name):
        raise InvalidName(
            f"{name!r} is not a valid name.",
            remedy=f"{_suggestion(name)}Use 1 to 128 of a-z, 0-9, '.', '_' and '-', beginning and"
            " ending with a letter or digit.",
        )
    return name


def _suggestion(name: str) -> str:
    """Return the nearest name that is valid, as the beginning of a remedy: `Try 'my-model'. `."""
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        return ""
    near = re.sub(r"[^a-z0-9._]+", "-", name[:128].lower()).strip("._-").replace("..", ".")
    return f"Try {near!r}. " if _NAME.fullmatch(near) and ".." not in near else ""


def check_version(version: str, *, allow_latest: bool = False) -> str:
    """Return `version` unchanged.

    Raises:
        InvalidName: it is not 1 to 128 of `A-Z a-z 0-9 . _ -`, or it is the reserved word `latest`.
    """
    if version == LATEST and not allow_latest:
        raise InvalidName(
            "'latest' is computed and cannot be given to a version.",
            remedy="Leave the version out, or name another.",
        )
    if not is_version(version):
        raise InvalidName(
            f"{version!r} is not a valid version.",
            remedy="Use 1 to 128 of letters, digits, '.', '_' and '-', beginning with a letter,"
            " digit or '_'.",
        )
    return version


def name_from_identifier(identifier: str) -> str:
    """Turn a Python identifier into a name: `IrisClassifier` → `iris_classifier`."""
    return check_name(_WORD_BREAK.sub("_", identifier).lower().strip("_"))
