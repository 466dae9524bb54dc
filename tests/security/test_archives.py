"""S-10: every hostile archive is refused as a whole, says which member, and leaves nothing."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dosirak.errors import (
    AlreadyExists,
    CorruptContent,
    DosirakError,
    IntegrityError,
    StorageFull,
    UnsafeArchive,
    UsageError,
)
from dosirak.store import Entry, Store
from dosirak.store.archive import HEAD, ArchiveLimits, export_archive, import_archive
from dosirak.store.canonical import canonical_json, digest_of
from dosirak.store.tar_stream import Member, header_of, read_header

Members = list[tuple[tarfile.TarInfo, bytes]]


def members_of(path: Path) -> Members:
    with tarfile.open(path) as archive:
        return [(m, archive.extractfile(m).read()) for m in archive.getmembers()]  # type: ignore[union-attr]


def write(path: Path, members: Members, *, form: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as archive:
        for member, data in members:
            archive.addfile(member, io.BytesIO(data))
    return path


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: Any):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def everything_under(root: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
    }


def refused(target: Store, archive: Path, error: type[DosirakError], match: str) -> None:
    """Import must fail so, and leave the store and its surroundings as they were."""
    before = everything_under(target.root.parent)
    with pytest.raises(error, match=match):
        import_archive(target, archive)
    assert everything_under(target.root.parent) == before


ADDED: dict[str, tuple[Any, str]] = {
    "parent": (member("../x", b"evil"), r"'\.\./x' is not called for"),
    "absolute": (member("/etc/x", b"evil"), "'/etc/x'"),
    "drive": (member("C:\\x", b"evil"), "'C:.*x' is not called for"),
    "backslashes": (member("\\\\..\\\\x", b"evil"), "is not called for"),
    "trailing dot": (member("blobs/sha256/x.", b"evil"), r"x\.'"),
    "trailing blank": (member("blobs/sha256/x ", b"evil"), "x '"),
    "unknown blob": (member("blobs/sha256/" + "0" * 64, b"evil"), "is not called for"),
    "unknown manifest": (member("manifests/sha256/" + "0" * 64, b"{}"), "is not called for"),
    "a python file": (member("sitecustomize.py", b"evil"), "'sitecustomize.py' is not called for"),
    "symbolic link": (
        member("blobs/sha256/l", kind=tarfile.SYMTYPE, linkname="/etc/passwd"),
        "'blobs/sha256/l' is a symbolic link",
    ),
    "hard link": (
        member("blobs/sha256/h", kind=tarfile.LNKTYPE, linkname="/etc/passwd"),
        "is a hard link",
    ),
    "character device": (member("d", kind=tarfile.CHRTYPE, devmajor=1, devminor=3), "is a device"),
    "block device": (member("d", kind=tarfile.BLKTYPE, devmajor=8), "is a device"),
    "pipe": (member("p", kind=tarfile.FIFOTYPE), "is a named pipe"),
    "folder": (member("blobs", kind=tarfile.DIRTYPE), "is a folder"),
    "contiguous": (member("c", b"x", kind=tarfile.CONTTYPE), "is a contiguous file"),
    "sparse": (member("s", kind=tarfile.GNUTYPE_SPARSE), "is a sparse file"),
    "long name": (member("n", b"name", kind=tarfile.GNUTYPE_LONGNAME), "is an extension block"),
    "long link": (member("n", b"name", kind=tarfile.GNUTYPE_LONGLINK), "is an extension block"),
    "extended header": (member("x", b"11 path=a\n", kind=tarfile.XHDTYPE), "is an extension"),
    "global header": (member("g", b"11 path=a\n", kind=tarfile.XGLTYPE), "is an extension"),
    "vendor header": (member("v", b"x", kind=b"V"), "is an extension block"),
    "set user id": (member("blobs/sha256/u", b"x", mode=0o4755), "another user's rights"),
    "set group id": (member("blobs/sha256/u", b"x", mode=0o2755), "another user's rights"),
}


@pytest.mark.parametrize("where", ["first", "between", "last"])
@pytest.mark.parametrize("case", ADDED)
def test_a_member_that_no_export_writes_refuses_the_archive(
    case: str, where: str, honest: Path, target: Store, tmp_path: Path
):
    added, match = ADDED[case]
    if where != "last":  # there it is told what belongs in its place
        match = match.replace("is not called for", "is not what comes here")
    members = members_of(honest)
    members.insert({"first": 0, "between": 2, "last": len(members)}[where], added)
    refused(target, write(tmp_path / "evil.tar", members), UnsafeArchive, match)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_a_member_that_is_called_for_must_be_a_plain_file(kind, honest, target, tmp_path):
    members = members_of(honest)
    for index in range(len(members)):
        changed = members_of(honest)
        changed[index][0].type = kind
        changed[index][0].linkname = "/etc/passwd"
        changed[index][0].size = 0
        changed[index] = (changed[index][0], b"")
        refused(target, write(tmp_path / f"{index}.tar", changed), UnsafeArchive, "member")


def test_writing_through_a_link_from_an_earlier_member_is_impossible(honest, target, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    members = members_of(honest)
    blob = members[-1][0].name
    link = member(str(Path(blob).parent), kind=tarfile.SYMTYPE, linkname=str(outside))
    members.insert(2, link)
    refused(target, write(tmp_path / "evil.tar", members), UnsafeArchive, "is a symbolic link")
    assert not list(outside.iterdir())


def test_a_hard_link_to_a_deeper_symbolic_link_is_impossible(honest, target, tmp_path):
    members = members_of(honest)
    members[2:2] = [
        member("a/b/link", kind=tarfile.SYMTYPE, linkname="../../../outside"),
        member("alias", kind=tarfile.LNKTYPE, linkname="a/b/link"),
    ]
    refused(target, write(tmp_path / "evil.tar", members), UnsafeArchive, "'a/b/link' is a symb")


def test_a_path_longer_than_any_system_call_takes_is_refused(honest, target, tmp_path):
    deep = "/".join(["d" * 200] * 30)
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        members = [*members_of(honest), member(deep, b"x")]
        path = write(tmp_path / f"{form}.tar", members, form=form)
        refused(target, path, UnsafeArchive, "is an extension block")


@pytest.mark.parametrize("index", range(4))
def test_a_member_twice_is_refused(index, honest, target, tmp_path):
    members = members_of(honest)
    members.insert(index + 1, members[index])
    refused(target, write(tmp_path / "evil.tar", members), UnsafeArchive, "member")
    members = [*members_of(honest), members_of(honest)[index]]
    refused(target, write(tmp_path / "evil.tar", members), UnsafeArchive, "is not called for")


def test_a_member_in_other_letters_is_refused(honest, target, tmp_path):
    info, data = members_of(honest)[-1]
    info.name = info.name.upper()
    path = write(tmp_path / "evil.tar", [*members_of(honest), (info, data)])
    refused(target, path, UnsafeArchive, "BLOBS/SHA256")


def test_a_name_with_a_nul_is_cut_there_by_the_format_and_refused(honest, target, tmp_path):
    data = bytearray(honest.read_bytes())
    end = data.rindex(b"blobs/sha256/") + len(b"blobs/sha256/")
    data[end + 5] = 0
    header = data[end - 13 : end - 13 + 512]
    data[end - 13 : end - 13 + 512] = rechecked(header)
    (tmp_path / "evil.tar").write_bytes(data)
    refused(target, tmp_path / "evil.tar", UnsafeArchive, "is not what comes here")


def rechecked(header: bytes | bytearray) -> bytes:
    """Return a header block with a right checksum."""
    blank = bytes(header[:148]) + b" " * 8 + bytes(header[156:])
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


def test_a_name_that_is_no_text_is_refused(honest, target, tmp_path):
    data = bytearray(honest.read_bytes())
    data[0] = 0xFF
    (tmp_path / "evil.tar").write_bytes(rechecked(data[:512]) + data[512:])
    refused(target, tmp_path / "evil.tar", IntegrityError, "cannot be read")


def test_sparse_members_in_extended_headers_are_refused(honest, target, tmp_path):
    members = members_of(honest)
    info, _ = members[-1]
    info.pax_headers = {"GNU.sparse.size": str(10 << 30), "GNU.sparse.map": "0,1"}
    path = write(tmp_path / "evil.tar", members, form=tarfile.PAX_FORMAT)
    refused(target, path, UnsafeArchive, "is an extension block")


@pytest.mark.parametrize("size", [-1, 1999, 2001, 10 << 30, 1 << 62])
def test_a_length_other_than_the_manifests_is_refused(size, honest, target, tmp_path):
    data = bytearray(honest.read_bytes())
    with tarfile.open(honest) as archive:
        (found,) = [m for m in archive.getmembers() if m.size == 2000]
    start = found.offset
    block = header_of(Member(found.name, max(size, 0)))
    if size < 0:
        block = rechecked(block[:124] + b"\xff" * 12 + block[136:])
    data[start : start + 512] = block
    (tmp_path / "evil.tar").write_bytes(data)
    refused(target, tmp_path / "evil.tar", UnsafeArchive, "length|negative size")


def test_a_description_that_claims_ten_gigabytes_is_refused_unread(target, tmp_path):
    path = tmp_path / "evil.tar"
    with path.open("wb") as file:
        file.write(header_of(Member(HEAD, 10 << 30)))
        file.truncate(10 << 30)  # sparse: it has no blocks on the disk
    refused_fast(target, path, UnsafeArchive, "is longer than")


def refused_fast(target: Store, archive: Path, error: type[DosirakError], match: str) -> None:
    """Like `refused`, for archives too long to read into memory."""
    before = everything_under(target.root)
    with pytest.raises(error, match=match):
        import_archive(target, archive)
    assert everything_under(target.root) == before


def build(path: Path, files: list[dict[str, Any]], blobs: dict[str, bytes], **head: Any) -> Path:
    """Write an archive whose manifest says what a test wants; `head` overrides its head."""
    manifest = head.pop("manifest_text", canonical_json({"files": files, **head.pop("more", {})}))
    said = {
        "format": 1,
        "kind": "models",
        "name": "evil",
        "version": "1",
        "manifest": digest_of(manifest),
        "created_at_ns": 1,
        "labels": {},
        "provenance": {},
    } | head
    members = [member(HEAD, canonical_json(said))]
    members.append(member(f"manifests/sha256/{said['manifest']}", manifest))
    members += [member(f"blobs/sha256/{digest}", blobs[digest]) for digest in sorted(blobs)]
    return write(path, members)


def file_entry(path: str, data: bytes = b"x") -> tuple[dict[str, Any], dict[str, bytes]]:
    digest = hashlib.sha256(data).hexdigest()
    entry = {"path": path, "size_bytes": len(data), "sha256": digest, "executable": False}
    return entry, {digest: data}


PATHS = [
    "../x", "a/../../x", "/etc/x", "C:\\x", "c:x", "\\\\..\\x", "a\\b", "", ".", "..", "a/./b",
    "a//b", "a/", "nul\0l", "new\nline", "bell\x07", "dot.", "blank ", " blank", "a/dot./b",
    "right\u202eleft", "zero\u200bwidth", "dec\u0065\u0301omposed",
    "/".join(["d" * 200] * 30), "n" * 256, "q?", "star*", "pipe|", "<", ">", '"', "con:aux",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_manifest_with_a_path_that_is_not_plain_is_refused(path, target, tmp_path):
    entry, blobs = file_entry(path)
    archive = build(tmp_path / "evil.tar", [entry], blobs)
    refused(target, archive, IntegrityError, "manifests/sha256/.* is not a manifest")


@pytest.mark.parametrize(
    "paths", [("a", "a"), ("A", "a"), ("a", "a/b"), ("stra\u00dfe", "strasse"), ("b", "a")]
)
def test_a_manifest_whose_paths_collide_is_refused(paths, target, tmp_path):
    entry, blobs = file_entry("x")
    entries = [{**entry, "path": path} for path in paths]
    archive = build(tmp_path / "evil.tar", entries, blobs)
    refused(target, archive, IntegrityError, "is not a manifest")


def test_more_files_than_allowed_are_refused_before_any_is_written(target, tmp_path):
    files, blobs = [], {}
    for number in range(20):
        entry, blob = file_entry(f"{number:03}", str(number).encode())
        files.append(entry)
        blobs |= blob
    archive = build(tmp_path / "evil.tar", files, blobs)
    with pytest.raises(UnsafeArchive, match="calls for 20 files"):
        import_archive(target, archive, limits=ArchiveLimits(blobs=19))
    with pytest.raises(UnsafeArchive, match="calls for 20 files of 30 bytes"):
        import_archive(target, archive, limits=ArchiveLimits(total_bytes=29))
    assert import_archive(target, archive).name == "evil"


def test_a_manifest_that_calls_for_more_than_the_disk_holds_is_refused_at_once(target, tmp_path):
    entry, blobs = file_entry("huge")
    archive = build(tmp_path / "evil.tar", [{**entry, "size_bytes": 1 << 39}], blobs)
    refused(target, archive, StorageFull, "549,755,813,888 bytes")


def test_a_chain_of_manifests_ends_at_the_limit(target, tmp_path):
    texts = [canonical_json({"files": []})]
    for _ in range(10):
        texts.append(canonical_json({"files": [], "requires": [digest_of(texts[-1])]}))
    head = {
        "format": 1, "kind": "bundles", "name": "evil", "version": "1", "labels": {},
        "manifest": digest_of(texts[-1]), "created_at_ns": 1, "provenance": {},
    }  # fmt: skip
    members = [member(HEAD, canonical_json(head))]
    members += [member(f"manifests/sha256/{digest_of(text)}", text) for text in reversed(texts)]
    archive = write(tmp_path / "evil.tar", members)
    with pytest.raises(UnsafeArchive, match="beyond the 10 manifests"):
        import_archive(target, archive, limits=ArchiveLimits(manifests=10))
    assert len(target.closure(import_archive(target, archive).digest)) == 11


@pytest.mark.parametrize(
    "text",
    [b"", b"{}", b"[]", b"null", b'{"files":[]} ', b'{"files": []}', b'{"files":[],"files":[]}',
     b'{"files":[],"x":NaN}', b'{"files":[],"x":1e400}', b"[" * 100_000, b"\xff", b'{"files":null}',
     b'{"files":[],"requires":"x"}', b'{"files":[],"x":"\\ud800"}'],
)  # fmt: skip
def test_what_is_no_canonical_manifest_is_refused(text, target, tmp_path):
    archive = build(tmp_path / "evil.tar", [], {}, manifest_text=text)
    refused(target, archive, IntegrityError, "manifest")


@pytest.mark.parametrize(
    "head",
    [{"name": "../x"}, {"name": "UP"}, {"version": "latest"}, {"version": "a/b"}, {"version": ".."},
     {"kind": "../models"}, {"format": 2}, {"manifest": "../../x"}, {"manifest": "A" * 64},
     {"labels": {"a": 1}}, {"labels": []}, {"created_at_ns": -1}, {"created_at_ns": "1"},
     {"origin": "local"}, {"name": 1}],
)  # fmt: skip
def test_a_head_that_is_not_a_description_is_refused(head, target, tmp_path):
    entry, blobs = file_entry("a")
    archive = build(tmp_path / "evil.tar", [entry], blobs, **head)
    refused(target, archive, UnsafeArchive, HEAD)


@pytest.mark.parametrize(
    "change",
    [
        ('"provenance":{}', '"provenance":{"a":NaN}'),
        ('"provenance":{}', '"provenance":{"a":1e999}'),
        ('"provenance":{}', '"provenance":{"a":"\\ud800"}'),
        ('"provenance":{}', '"provenance":{"a":' + "[" * 500 + "]" * 500 + "}"),
        ('"labels":{}', '"labels":{"\\ud800":"a"}'),
        ('"name":', '"name":"other","name":'),
        ('"name":', '"name": '),
        ("{", "\ufeff{"),
    ],
)
def test_a_head_that_is_not_canonical_is_refused_before_anything_is_stored(
    change, target, tmp_path
):
    entry, blobs = file_entry("a")
    (_, head), *others = members_of(build(tmp_path / "sound.tar", [entry], blobs))
    changed = head.decode().replace(*change, 1).encode()
    assert changed != head
    evil = write(tmp_path / "evil.tar", [member(HEAD, changed), *others])
    refused(target, evil, UnsafeArchive, "is not")


def test_one_digest_with_two_sizes_is_refused(target, tmp_path):
    entry, blobs = file_entry("a")
    other = {**entry, "path": "b", "size_bytes": entry["size_bytes"] + 1}
    archive = build(tmp_path / "evil.tar", [entry, other], blobs)
    refused(target, archive, IntegrityError, "one digest with two sizes")


def test_an_archive_cannot_make_itself_local_or_the_latest_for_ever(target, tmp_path):
    entry, blobs = file_entry("a")
    archive = build(tmp_path / "far.tar", [entry], blobs, name="mine", version="9",
                    created_at_ns=1 << 62)  # fmt: skip
    imported = import_archive(target, archive)
    assert imported.origin == "imported"
    with target.writing() as transaction:
        (transaction.directory / "b").write_bytes(b"b")
        files = [file.describe() for file in transaction.add_tree(transaction.directory)]
        newer = transaction.commit("models", "mine", None, {"files": files})
    assert target.resolve("models", "mine") == newer


def test_a_changed_byte_in_a_member_is_found_and_named(honest, target, tmp_path):
    with tarfile.open(honest) as archive:
        members = archive.getmembers()
    for found in members[1:]:
        data = bytearray(honest.read_bytes())
        data[found.offset_data] ^= 1
        (tmp_path / "evil.tar").write_bytes(data)
        refused(target, tmp_path / "evil.tar", CorruptContent, found.name)


def test_an_archive_cut_off_anywhere_is_refused(honest, target, tmp_path):
    data = honest.read_bytes()
    path = tmp_path / "cut.tar"
    for length in range(0, len(data), 97):
        path.write_bytes(data[:length])
        before = everything_under(target.root)
        # Cut before byte 262, where the magic of tar ends, nothing shows that it was an archive.
        says = "ends" if length >= 262 else "is not a dosirak archive"
        with pytest.raises(CorruptContent, match=says):
            import_archive(target, path)
        assert everything_under(target.root) == before


@pytest.mark.parametrize("tail", [b"x", bytes(1 << 17), bytes(600) + b"x"])
def test_data_after_the_end_is_refused(tail, honest, target, tmp_path):
    (tmp_path / "evil.tar").write_bytes(honest.read_bytes() + tail)
    refused(target, tmp_path / "evil.tar", UnsafeArchive, "data follows its end")


def test_data_hidden_in_the_padding_is_refused(honest, target, tmp_path):
    with tarfile.open(honest) as archive:
        found = archive.getmembers()[-1]
    data = bytearray(honest.read_bytes())
    data[found.offset_data + found.size] = 1
    (tmp_path / "evil.tar").write_bytes(data)
    refused(target, tmp_path / "evil.tar", UnsafeArchive, "hides data in its padding")


def test_a_compressed_archive_is_never_expanded(honest, target, tmp_path):
    with gzip.open(tmp_path / "bomb.tar.gz", "wb") as file:
        for _ in range(100):
            file.write(bytes(1 << 20))
    assert (tmp_path / "bomb.tar.gz").stat().st_size < 200_000  # more than 500 : 1
    refused(target, tmp_path / "bomb.tar.gz", CorruptContent, "is not a dosirak archive")


def test_what_is_not_a_regular_file_is_refused_without_waiting(target, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "missing"):
        with pytest.raises(UsageError):
            import_archive(target, path)


def test_another_version_under_the_same_name_is_refused_and_leaves_the_old(
    honest, target, tmp_path
):
    first = import_archive(target, honest)
    entry, blobs = file_entry("a")
    archive = build(tmp_path / "other.tar", [entry], blobs, name="iris", version="1")
    with pytest.raises(AlreadyExists):
        import_archive(target, archive)
    assert target.resolve("models", "iris:1") == first
    target.verify(first.digest)


def test_an_archive_of_another_kind_than_expected_is_refused(honest, target):
    with pytest.raises(UsageError, match="dosirak models import"):
        import_archive(target, honest, kind="bundles")


def test_export_and_import_give_the_same_content_and_the_same_archive(
    entry, honest, target, tmp_path
):
    imported = import_archive(target, honest)
    assert (imported.digest, imported.reference) == (entry.digest, entry.reference)
    again = export_archive(target, imported, tmp_path / "again.tar")
    assert again.read_bytes() == honest.read_bytes()
    with tarfile.open(honest) as archive:  # and any tar can list it
        assert archive.getnames()[0] == HEAD
        assert {m.mtime for m in archive.getmembers()} == {0}


def test_export_never_writes_over_a_file_nor_exports_damage(entry, honest, tmp_path):
    store = Store(tmp_path / "source")
    with pytest.raises(AlreadyExists):
        export_archive(store, entry, honest)
    blob = next(path for path in (store.root / "blobs").rglob("*") if path.is_file())
    blob.chmod(0o600)
    blob.write_bytes(b"y" * blob.stat().st_size)
    with pytest.raises(CorruptContent):
        export_archive(store, entry, tmp_path / "new.tar")
    assert not list(tmp_path.glob("*new.tar*"))


@pytest.mark.parametrize("size", [0, 1, 511, 512, 8 << 30, 1 << 45])
def test_headers_hold_any_length(size):
    block = header_of(Member("blobs/sha256/" + "a" * 64, size))
    assert read_header(io.BytesIO(block)) == Member("blobs/sha256/" + "a" * 64, size)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_changed_bits_are_refused_or_change_nothing(
    data: st.DataObject, entry: Entry, honest: Path, target: Store, tmp_path: Path
):
    """Header fields that say nothing of the content (owner, time) may change; nothing else."""
    content = bytearray(honest.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / "changed.tar"
    path.write_bytes(content)
    try:
        imported = import_archive(target, path)
    except (IntegrityError, AlreadyExists, UsageError):
        return
    head = json.loads(content[512 : 512 + content[512:].index(0)])
    assert imported.digest == entry.digest == head["manifest"]
    target.verify(imported.digest)
    target.delete("models", imported.reference)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    content=st.binary(max_size=2048), at=st.integers(0, 6), kind=st.binary(min_size=1, max_size=1)
)
def test_any_bytes_at_all_give_a_clear_refusal(
    content: bytes, at: int, kind: bytes, honest: Path, target: Store, tmp_path: Path
):
    whole = honest.read_bytes()
    header = rechecked(whole[:156] + kind + whole[157:512])
    path = tmp_path / "any.tar"
    variants: list[Callable[[], bytes]] = [
        lambda: content,
        lambda: whole[: at * 512] + content + whole[at * 512 :] if content.strip(b"\0") else b"",
        lambda: header + content,
    ]
    for variant in variants:
        data = variant()
        if data[:512] == whole[:512] and len(data) > 512 and data == whole:
            continue
        path.write_bytes(data)
        with pytest.raises((IntegrityError, UsageError)):
            import_archive(target, path)
