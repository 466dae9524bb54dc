"""The files that Envoy watches: each replaced whole, by renaming, and only when it changes.

Every file says the version of the table that changed it last and a digest of what it holds; Envoy
repeats that word once it follows the file. What is on disk is all that is remembered, so another
control plane goes on where the one before ended.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from dosirak.deployment.router.resources import Resource
from dosirak.store.failures import translated

WATCHED = ("clusters", "routes-main", "listeners", "routes-probe", "secrets")


class WatchedFiles:
    """The files of one folder; `NAME.json` each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, tuple[str, dict[str, Resource]]] = {}

    def load(self) -> None:
        """Read what is there; a file that is missing or damaged holds nothing."""
        self._held = {name: found for name in WATCHED if (found := self._read(name))}

    def word(self, name: str) -> str:
        """Return what Envoy says back once it follows a file; empty while there is none."""
        return self._held[name][0] if name in self._held else ""

    def held(self, name: str) -> Mapping[str, Resource]:
        """Return the resources of a file by their name."""
        return self._held[name][1] if name in self._held else {}

    @property
    def newest(self) -> int:
        """The greatest version that any file has."""
        return max((_version(word) for word, _ in self._held.values()), default=0)

    @property
    def complete(self) -> int:
        """The version that was written to its end; 0 for none."""
        return _version(self.word("routes-probe"))

    def write(self, name: str, resources: Mapping[str, Resource], version: int) -> bool:
        """Replace a file; nothing happens where it says the same already.

        Returns:
            Whether it changed.
        """
        text = _text(resources)
        digest = _digest(text)
        if self.word(name).endswith(f".{digest}"):
            return False
        word = f"{version}.{digest}"
        document = b'{"version_info":"%b","resources":%b}' % (word.encode(), text)
        replace_file(self._folder / f"{name}.json", document)
        self._held[name] = (word, dict(resources))
        return True

    def _read(self, name: str) -> tuple[str, dict[str, Resource]] | None:
        try:
            document: Any = msgspec.json.decode((self._folder / f"{name}.json").read_bytes())
            resources: dict[str, Resource] = {one["name"]: one for one in document["resources"]}
            word = str(document["version_info"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        good = word == f"{_version(word)}.{_digest(_text(resources))}"
        return (word, resources) if good else None


def replace_file(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads; whoever watches sees the old one or the new.

    Raises:
        StorageError: the disk refuses; the old one stands.
    """
    new = path.with_name(f".{path.name}.new")
    with translated("Telling the router", path, len(content)):
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        new.replace(path)


def _version(word: str) -> int:
    number = word.partition(".")[0]
    return int(number) if number.isdecimal() else 0


def _text(resources: Mapping[str, Resource]) -> bytes:
    return msgspec.json.encode(list(resources.values()))


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:12]
