"""What a manifest may say, whoever wrote it.

A manifest is a JSON object. The store reads two of its keys and leaves the rest to its kind:

    files      list of {path, size_bytes, sha256, executable}, sorted by path
    requires   list of manifest digests that this one needs (a bundle's models); optional

Paths later become names on a disk, so they are checked here, once, for everybody: relative, plain,
and distinct also where a file system folds case.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from dosirak.errors import CorruptContent, UsageError
from dosirak.store.canonical import canonical_json, digest_of, is_digest
from dosirak.store.entry import FileEntry

Manifest = Mapping[str, Any]

MAX_FILES = 100_000
_MAX_PATH_BYTES = 1024
_MAX_PART_BYTES = 255
_FORBIDDEN = frozenset('\\:*?"<>|')


def path_problem(path: str) -> str | None:
    """Say why `path` may not name a file of a manifest, or return None when it may."""
    if not path or path.startswith("/"):
        return "is not relative"
    if any(character in _FORBIDDEN or not character.isprintable() for character in path):
        return "holds a character that not every system can write"
    if not path.isascii() and unicodedata.normalize("NFC", path) != path:
        return "is not in the composed Unicode form (NFC)"
    if len(path.encode()) > _MAX_PATH_BYTES:
        return "is too long"
    return next(filter(None, map(_part_problem, path.split("/"))), None)


def _part_problem(part: str) -> str | None:
    if part in ("", ".", ".."):
        return "is not a plain path"
    if part[-1] in ". " or part[0] == " ":
        return "has a part with a blank or dot at its end"
    return "has a part that is too long" if len(part.encode()) > _MAX_PART_BYTES else None


def paths_problem(paths: Iterable[str]) -> str | None:
    """Say what is wrong with a set of paths, alone or together, or return None."""
    seen: dict[str, str] = {}
    for path in paths:
        problem = path_problem(path)
        if problem is not None:
            return f"{path[:200]!r} {problem}"
        folded = path.casefold()
        if folded in seen:
            return f"{path[:200]!r} and {seen[folded][:200]!r} are one file where case is folded"
        seen[folded] = path
    return next((problem for path in seen if (problem := _parent_problem(path, seen))), None)


def _parent_problem(path: str, seen: Mapping[str, str]) -> str | None:
    while "/" in path:
        path = path.rpartition("/")[0]
        if path in seen:
            return f"{seen[path][:200]!r} is both a file and a folder"
    return None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    path: str
    size_bytes: int
    sha256: str
    executable: bool = False


class _Known(msgspec.Struct):
    files: list[_File]
    requires: list[str] = msgspec.field(default_factory=list[str])


def manifest_problem(manifest: Any) -> str | None:
    """Say why `manifest` is not one, or return None."""
    try:
        known = msgspec.convert(manifest, _Known, strict=True)
    except msgspec.ValidationError as error:
        return str(error)
    return _files_problem(known.files) or _requires_problem(known.requires)


def _files_problem(files: list[_File]) -> str | None:
    if len(files) > MAX_FILES:
        return f"more than {MAX_FILES} files"
    if any(not is_digest(file.sha256) or file.size_bytes < 0 for file in files):
        return "a file with an impossible digest or size"
    if len({(file.sha256, file.size_bytes) for file in files}) > len({f.sha256 for f in files}):
        return "one digest with two sizes"
    if [file.path for file in files] != sorted(file.path for file in files):
        return "files that are not sorted by path"
    return paths_problem(file.path for file in files)


def _requires_problem(requires: list[str]) -> str | None:
    return None if all(map(is_digest, requires)) else "a requirement that is no digest"


def files_of(manifest: Manifest) -> tuple[FileEntry, ...]:
    """Return the files of a checked manifest."""
    return tuple(FileEntry(**file) for file in manifest["files"])


def requires_of(manifest: Manifest) -> tuple[str, ...]:
    """Return the digests of the manifests that a checked manifest needs."""
    return tuple(manifest.get("requires", ()))


def size_of(manifest: Manifest) -> int:
    """Return the bytes of a checked manifest's own files."""
    return sum(file["size_bytes"] for file in manifest["files"])


def encode_manifest(manifest: Manifest) -> tuple[str, bytes]:
    """Return a new manifest's digest and canonical text.

    Raises:
        UsageError: it is not a manifest (the calling code's fault).
    """
    problem = manifest_problem(manifest)
    if problem is not None:
        raise UsageError(
            f"The manifest cannot be stored: {problem}.", remedy="Correct the files or values."
        )
    try:
        data = canonical_json(manifest)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"The manifest cannot be stored: {error}.", remedy="Use JSON values only."
        ) from error
    return digest_of(data), data


def decode_manifest(data: bytes, digest: str, *, where: str) -> dict[str, Any]:
    """Read a manifest's text, once it is what its digest says.

    Raises:
        CorruptContent: it is not; `where` names it in the message.
    """
    if digest_of(data) != digest:
        raise CorruptContent(
            f"{where} does not match its digest.",
            remedy="Import or save it again; delete the damaged version.",
        )
    manifest = _canonical_object(data)
    problem = manifest_problem(manifest) if manifest else "it is not a canonical JSON object"
    if problem is not None:
        raise CorruptContent(
            f"{where} is not a manifest: {problem}.", remedy="Make the content again."
        )
    return manifest


def _canonical_object(data: bytes) -> dict[str, Any]:
    """Read a JSON object whose text is its canonical one; anything else is empty."""
    try:
        value = json.loads(data)
        is_canonical = isinstance(value, dict) and canonical_json(value) == data
    except (ValueError, RecursionError):
        return {}
    return value if is_canonical else {}
