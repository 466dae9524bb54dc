"""A bundle as a directory: for people to read, for images, for machines without a store.

    bundle.json                 id, reference and manifests; what makes the rest verifiable
    src/… env/… api.json        the bundle's own files
    models/<digest>/…           the files of each model

Reading one verifies every byte, and refuses files that no manifest names, before anything else.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from dosirak.bundles.manifest import FAMILY, FORMAT
from dosirak.errors import AlreadyExists, CorruptContent, InvalidName
from dosirak.naming import Reference
from dosirak.store import Entry, FileEntry, Store, Transaction
from dosirak.store.blobs import sha256_of
from dosirak.store.canonical import canonical_json
from dosirak.store.failures import translated
from dosirak.store.manifest import decode_manifest, files_of
from dosirak.store.record import seal, unseal

DESCRIPTION = "bundle.json"
_MODELS = "models"
_PIECE_BYTES = 1 << 20


class _Description(msgspec.Struct):
    format: str
    id: str
    name: str
    version: str
    manifests: dict[str, Any]


def is_checkout(directory: Path) -> bool:
    """Whether a directory says that it is a bundle."""
    return (directory / DESCRIPTION).is_file()


def is_checkout_of_bundle(directory: Path) -> bool:
    """Whether a directory is one that `write_checkout` wrote: its description is read, too."""
    try:
        description = (directory / DESCRIPTION).read_bytes()
        return msgspec.json.decode(description, type=_Description).format.startswith(FAMILY)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return False


def write_checkout(store: Store, entry: Entry, directory: Path) -> Path:
    """Write a bundle as a new directory, which appears complete or not at all.

    Raises:
        AlreadyExists: `directory` exists and is not empty.
        CorruptContent: a file is damaged.
        StorageError: the disk failed.
    """
    if directory.is_symlink() or directory.is_file() or _has_files(directory):
        raise AlreadyExists(
            f"{directory} exists and is not empty.", remedy="Name a new folder, or remove that one."
        )
    staged = directory.parent / f".{directory.name[:64]}.{os.urandom(8).hex()}"
    with translated(f"Writing {entry.reference}", directory.parent), store.lease(entry.digest):
        try:
            _write(store, entry, staged)
            staged.rename(directory)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return directory


def add_checkout(store: Store, directory: Path) -> Entry:
    """Read a checked-out bundle into a store, whole or not at all.

    Raises:
        CorruptContent: a byte of it is not what its manifests say, or a file is not theirs.
        StorageError: the disk failed.
    """
    description, manifests = _read_description(directory)
    expected = dict(_expected(description.id, manifests))
    _check_no_others(directory, expected)
    with store.writing() as transaction:
        for path, file in expected.items():
            _take(directory / path, file, transaction)
        root = manifests.pop(description.id)
        return transaction.commit(
            "bundles",
            description.name,
            description.version,
            root,
            origin="imported",
            required=manifests,
        )


def _write(store: Store, entry: Entry, staged: Path) -> None:
    manifests = store.closure(entry.digest)
    store.checkout(entry.digest, staged)
    for digest in manifests:
        if digest != entry.digest:
            store.checkout(digest, staged / _MODELS / digest)
    description = {
        "format": FORMAT,
        "id": entry.digest,
        "name": entry.name,
        "version": entry.version,
        "manifests": manifests,
    }
    with (staged / DESCRIPTION).open("xb") as file:
        file.write(seal(description))
        file.flush()
        os.fsync(file.fileno())


def _read_description(directory: Path) -> tuple[_Description, dict[str, dict[str, Any]]]:
    try:
        text = unseal((directory / DESCRIPTION).read_bytes()) or b""
        description = msgspec.convert(json.loads(text), _Description)
        Reference.parse(f"{description.name}:{description.version}")
    except (OSError, ValueError, RecursionError, InvalidName) as error:
        raise _damaged(directory, f"{DESCRIPTION} cannot be read or was changed") from error
    if description.format != FORMAT or description.id not in description.manifests:
        raise _damaged(directory, f"{DESCRIPTION} names no bundle")
    manifests = {
        digest: decode_manifest(canonical_json(manifest), digest, where=DESCRIPTION)
        for digest, manifest in description.manifests.items()
    }
    return description, manifests


def _expected(
    root: str, manifests: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, FileEntry]]:
    for digest, manifest in manifests.items():
        prefix = "" if digest == root else f"{_MODELS}/{digest}/"
        for file in files_of(manifest):
            yield prefix + file.path, file


def _check_no_others(directory: Path, expected: Mapping[str, FileEntry]) -> None:
    for place, _, names in os.walk(directory):
        for name in names:
            path = (Path(place) / name).relative_to(directory).as_posix()
            if path not in expected and path != DESCRIPTION:
                raise _damaged(directory, f"{path} does not belong to it")


def _take(path: Path, file: FileEntry, transaction: Transaction) -> None:
    """Verify one file, and add its content unless another file has brought the same."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _damaged(path.parent, f"{path.name} cannot be read") from error
    target = transaction.directory / file.sha256
    with os.fdopen(descriptor, "rb") as source:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _damaged(path.parent, f"{path.name} is no regular file")
        if target.exists():
            _check(source, file, path)
            return
        with target.open("x+b") as copy:
            shutil.copyfileobj(source, copy, _PIECE_BYTES)
            copy.seek(0)
            _check(copy, file, path)
            transaction.add_hashed(copy, target, file.sha256)


def _check(content: BinaryIO, file: FileEntry, path: Path) -> None:
    found = sha256_of(content)
    if found != file.sha256 or content.tell() != file.size_bytes:
        raise _damaged(path.parent, f"{path.name} does not match its digest")


def _has_files(directory: Path) -> bool:
    return directory.is_dir() and any(directory.iterdir())


def _damaged(directory: Path, what: str) -> CorruptContent:
    return CorruptContent(
        f"The bundle in {directory} is damaged: {what}.",
        remedy="Check it out or copy it again.",
    )
