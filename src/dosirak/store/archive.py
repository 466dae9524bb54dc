"""Archives: one entry with all that it leads to, as a tar file that reads the same every time.

    dosirak-archive.json              kind, name, version, manifest digest, record
    manifests/sha256/<digest>         the entry's manifest, then those it requires
    blobs/sha256/<digest>             every distinct blob, by digest

An import takes only the members that the manifests call for, in this order, each once and with the
length and digest stated there, and it refuses the whole archive otherwise. The origin of what it
brings is `imported`: nothing in an archive can make itself trusted.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from dosirak.errors import AlreadyExists, CorruptContent, UsageError
from dosirak.naming import check_name, check_version
from dosirak.store.blobs import Blobs, chunks_of, files_of_all
from dosirak.store.canonical import canonical_json, is_digest
from dosirak.store.content_store import Store
from dosirak.store.durability import create_file, discard, sync_directory, write_all
from dosirak.store.entry import Entry, FileEntry, Kind
from dosirak.store.failures import free_bytes, storage_full, translated
from dosirak.store.manifest import decode_manifest, encode_manifest, requires_of
from dosirak.store.tar_stream import (
    Member,
    header_of,
    padding_of,
    read_content,
    read_header,
    unsafe,
    write_end,
)
from dosirak.store.transaction import Transaction

HEAD = "dosirak-archive.json"
FORMAT = 1
# What marks a tar file, and where in it that ends.
_MAGIC = b"ustar"
_MAGIC_END = 262
_SUFFIXES = (".tar", ".dosirak")
_BLOB = "blobs/sha256/"
_MANIFEST = "manifests/sha256/"


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """How much an import may bring.

    Attributes:
        manifests: most manifests, the entry's own included.
        blobs: most distinct files.
        description_bytes: greatest length of the head and of each manifest.
        total_bytes: greatest length of all files together.
    """

    manifests: int = 1_000
    blobs: int = 100_000
    description_bytes: int = 64 << 20
    total_bytes: int = 1 << 40


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    kind: Kind
    name: str
    version: str
    manifest: str
    created_at_ns: int
    labels: dict[str, str]
    provenance: dict[str, Any]


def export_archive(store: Store, entry: Entry, path: Path) -> Path:
    """Write an entry and all that it leads to as a new archive, which appears complete or not.

    Raises:
        AlreadyExists: `path` exists.
        CorruptContent: a file or manifest is missing or damaged.
        StorageError: the disk failed.
    """
    with translated(f"Exporting {entry.reference}", path):
        if os.path.lexists(path):
            raise AlreadyExists(f"{path} exists.", remedy="Name a new file, or remove that one.")
    with store.lease(entry.digest):
        manifests = store.closure(entry.digest)
        files = files_of_all(manifests)
        size_bytes = sum(file.size_bytes for file in files.values())
        staged = path.parent / f".{path.name[:64]}.{os.urandom(8).hex()}"
        with translated(f"Exporting {entry.reference}", path, size_bytes):
            try:
                with create_file(staged) as archive:
                    _write(archive, store.blobs, entry, manifests, files)
                    os.fsync(archive.fileno())
                os.link(staged, path)
                sync_directory(path.parent)
            finally:
                discard(staged)
    return path


def _write(
    archive: BinaryIO,
    blobs: Blobs,
    entry: Entry,
    manifests: Mapping[str, Mapping[str, Any]],
    files: Mapping[str, FileEntry],
) -> None:
    _write_member(archive, HEAD, canonical_json(_head_of(entry)))
    for digest, manifest in manifests.items():
        _write_member(archive, _MANIFEST + digest, encode_manifest(manifest)[1])
    for digest in sorted(files):
        _write_blob(archive, blobs, files[digest])
    write_end(archive)


def _head_of(entry: Entry) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "kind": entry.kind,
        "name": entry.name,
        "version": entry.version,
        "manifest": entry.digest,
        "created_at_ns": entry.created_at_ns,
        "labels": dict(entry.labels),
        "provenance": dict(entry.provenance),
    }


def _write_member(archive: BinaryIO, name: str, data: bytes) -> None:
    write_all(archive, header_of(Member(name, len(data))) + data + padding_of(len(data)))


def _write_blob(archive: BinaryIO, blobs: Blobs, file: FileEntry) -> None:
    write_all(archive, header_of(Member(_BLOB + file.sha256, file.size_bytes)))
    digest = hashlib.sha256()
    with blobs.open_unverified(file.sha256, where=file.path) as blob:
        for chunk in chunks_of(blob):
            digest.update(chunk)
            write_all(archive, chunk)
        blobs.check(blob, digest.hexdigest(), file.sha256, where=file.path)
    write_all(archive, padding_of(file.size_bytes))


def import_archive(
    store: Store,
    path: Path,
    *,
    kind: Kind | None = None,
    limits: ArchiveLimits = ArchiveLimits(),
) -> Entry:
    """Read an archive into the store, whole or not at all.

    Args:
        store: where it goes.
        path: the archive.
        kind: what the caller expects; None takes either.
        limits: how much it may bring.

    Raises:
        UnsafeArchive: it holds something that an export never writes; the message names the member.
        CorruptContent: it is cut off or damaged.
        AlreadyExists: the version exists with other content. The same content is no error.
        UsageError: there is no such file, or it holds another kind.
        StorageError: the disk failed.
    """
    with _opened(path) as archive, store.writing() as transaction:
        head = _read_head(archive, kind, limits)
        manifests = _read_manifests(archive, head, limits)
        files = files_of_all(manifests)
        _check_room(store, head, files, limits)
        _read_blobs(archive, files, transaction)
        root = manifests.pop(head.manifest)
        return transaction.commit(
            head.kind,
            head.name,
            head.version,
            root,
            labels=head.labels,
            provenance=head.provenance,
            origin="imported",
            created_at_ns=head.created_at_ns,
            required=manifests,
        )


def is_export(path: Path) -> bool:
    """Whether a file's name and beginning say that an export wrote it; nothing else is read."""
    if path.suffix not in _SUFFIXES:
        return False
    try:
        with path.open("rb") as archive:
            return archive.read(len(HEAD) + 1) == f"{HEAD}\0".encode()
    except OSError:
        return False


def _opened(path: Path) -> BinaryIO:
    try:
        archive = os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    except OSError as error:
        raise UsageError(
            f"The archive {path} cannot be opened: {error.strerror}.",
            remedy="Name a .tar file exported by dosirak.",
        ) from error
    if not stat.S_ISREG(os.fstat(archive.fileno()).st_mode):
        archive.close()
        raise UsageError(f"{path} is not a regular file.", remedy="Name a .tar file.")
    if not archive.read(_MAGIC_END).endswith(_MAGIC):
        archive.close()
        raise CorruptContent(
            f"{path.name} is not a dosirak archive, or its beginning is damaged.",
            remedy="Name a file that an export wrote; if it is compressed, decompress it first.",
        )
    archive.seek(0)
    return archive


def _next(archive: BinaryIO, expected: str) -> Member:
    """Read the header that must come now: the order is part of the format."""
    member = read_header(archive)
    if member is None:
        raise CorruptContent(
            f"The archive ends before {expected!r}.", remedy="Copy or export it again."
        )
    if member.name != expected:
        raise unsafe(member.name, f"is not what comes here ({expected!r})")
    return member


def _read_small(archive: BinaryIO, name: str, limits: ArchiveLimits) -> bytes:
    member = _next(archive, name)
    if member.size_bytes > limits.description_bytes:
        raise unsafe(name, f"is longer than {limits.description_bytes:,} bytes")
    return b"".join(read_content(archive, member))


def _read_head(archive: BinaryIO, kind: Kind | None, limits: ArchiveLimits) -> _Head:
    data = _read_small(archive, HEAD, limits)
    try:
        values = json.loads(data)
        if canonical_json(values) != data:
            raise unsafe(HEAD, "is not the canonical text that an export writes")
        head = msgspec.convert(values, _Head, strict=True)
        check_name(head.name)
        check_version(head.version)
    except (ValueError, RecursionError, UsageError) as error:
        raise unsafe(HEAD, f"is not a description: {error}") from error
    if head.format != FORMAT or not is_digest(head.manifest) or head.created_at_ns < 0:
        raise unsafe(HEAD, "is not a description of a format known here")
    if kind is not None and head.kind != kind:
        raise UsageError(
            f"The archive holds one of the {head.kind}, not of the {kind}.",
            remedy=f"Import it with: dosirak {head.kind} import",
        )
    return head


def _read_manifests(
    archive: BinaryIO, head: _Head, limits: ArchiveLimits
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    waiting = [head.manifest]
    while waiting:
        digest = waiting.pop(0)
        if digest in found:
            continue
        name = _MANIFEST + digest
        if len(found) == limits.manifests:
            raise unsafe(name, f"is beyond the {limits.manifests:,} manifests allowed")
        data = _read_small(archive, name, limits)
        found[digest] = decode_manifest(data, digest, where=f"The archive's member {name!r}")
        waiting.extend(requires_of(found[digest]))
    return found


def _check_room(
    store: Store, head: _Head, files: Mapping[str, FileEntry], limits: ArchiveLimits
) -> None:
    total_bytes = sum(file.size_bytes for file in files.values())
    if len(files) > limits.blobs or total_bytes > limits.total_bytes:
        raise unsafe(
            _MANIFEST + head.manifest,
            f"calls for {len(files):,} files of {total_bytes:,} bytes; {limits.blobs:,} files of"
            f" {limits.total_bytes:,} bytes are allowed",
        )
    free = free_bytes(store.root)
    if free is not None and free < total_bytes:
        raise storage_full(f"Importing {head.name}:{head.version}", store.root, total_bytes)


def _read_blobs(
    archive: BinaryIO, files: Mapping[str, FileEntry], transaction: Transaction
) -> None:
    for digest in sorted(files):
        member = _next(archive, _BLOB + digest)
        if member.size_bytes != files[digest].size_bytes:
            raise unsafe(member.name, "has not the length that the manifest states")
        _receive(archive, member, digest, transaction)
    extra = read_header(archive)
    if extra is not None:
        raise unsafe(extra.name, "is not called for by any manifest")


def _receive(archive: BinaryIO, member: Member, digest: str, transaction: Transaction) -> None:
    path = transaction.directory / digest
    found = hashlib.sha256()
    with create_file(path) as file:
        for chunk in read_content(archive, member):
            found.update(chunk)
            write_all(file, chunk)
        if found.hexdigest() != digest:
            raise CorruptContent(
                f"The archive's member {member.name!r} does not match its digest.",
                remedy="Copy or export it again.",
            )
        transaction.add_hashed(file, path, digest)
