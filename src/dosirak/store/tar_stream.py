"""The least of the tar format: plain files one after another, written the same way every time.

Reading accepts a header block only if it describes a plain file; links, devices, sparse files and
the extension blocks that rename or resize other members are refused, so that what is checked is
what there is. `tarfile` encodes and decodes single blocks; it is never asked to walk or extract.
"""

from __future__ import annotations

import tarfile
from collections.abc import Generator
from dataclasses import dataclass
from typing import BinaryIO

from dosirak.errors import CorruptContent, UnsafeArchive
from dosirak.store.durability import CHUNK_BYTES, write_all

BLOCK_BYTES = tarfile.BLOCKSIZE
_MAX_TRAILER_BYTES = 1 << 16
_REMEDY = "Do not use this archive; ask whoever made it for one exported by dosirak."
_KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.DIRTYPE: "a folder",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.CONTTYPE: "a contiguous file",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


@dataclass(frozen=True, slots=True)
class Member:
    """What one header block says."""

    name: str
    size_bytes: int


def unsafe(member: str, problem: str) -> UnsafeArchive:
    """Say which member makes the archive unfit."""
    return UnsafeArchive(
        f"The archive was refused: member {member[:200]!r} {problem}.", remedy=_REMEDY
    )


def header_of(member: Member) -> bytes:
    """Return the one header block that a member has in an archive written here."""
    block = tarfile.TarInfo(member.name)
    block.size = member.size_bytes
    return block.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def padding_of(size_bytes: int) -> bytes:
    """Return the zeros that fill a member's last block."""
    return bytes(-size_bytes % BLOCK_BYTES)


def write_end(file: BinaryIO) -> None:
    """Write the two empty blocks that end an archive."""
    write_all(file, bytes(2 * BLOCK_BYTES))


def read_header(file: BinaryIO) -> Member | None:
    """Read the next member's header; None at the end of the archive.

    Raises:
        UnsafeArchive: it describes anything but a plain file.
        CorruptContent: it is no header, or the file ends here.
    """
    block = read_exactly(file, BLOCK_BYTES, "the next header")
    if not any(block):
        _check_end(file)
        return None
    try:
        found = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.TarError, ValueError) as error:
        raise CorruptContent(
            "The archive is not a plain tar file, or is damaged: a header cannot be read.",
            remedy="Export it again; if it is compressed, decompress it first.",
        ) from error
    _check_plain(found)
    return Member(found.name, found.size)


def _check_plain(found: tarfile.TarInfo) -> None:
    if found.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise unsafe(found.name, f"is {_KINDS.get(found.type, 'an extension block')}")
    if found.linkname:
        raise unsafe(found.name, "names another file")
    if found.mode & 0o7000:
        raise unsafe(found.name, "would run with another user's rights")
    if found.size < 0:
        raise unsafe(found.name, "has a negative size")


def _check_end(file: BinaryIO) -> None:
    rest = file.read(_MAX_TRAILER_BYTES + 1)
    if len(rest) < BLOCK_BYTES:
        raise _cut_off("its last block")
    if len(rest) > _MAX_TRAILER_BYTES or any(rest):
        raise UnsafeArchive("The archive was refused: data follows its end.", remedy=_REMEDY)


def read_exactly(file: BinaryIO, size_bytes: int, what: str) -> bytes:
    """Read a small piece.

    Raises:
        CorruptContent: the archive ends before.
    """
    data = file.read(size_bytes)
    if len(data) != size_bytes:
        raise _cut_off(what)
    return data


def read_content(file: BinaryIO, member: Member) -> Generator[bytes, None, None]:
    """Yield a member's bytes in pieces, then pass over its padding.

    Raises:
        CorruptContent: the archive ends before.
        UnsafeArchive: the padding hides something.
    """
    rest = member.size_bytes
    while rest:
        chunk = file.read(min(rest, CHUNK_BYTES))
        if not chunk:
            raise _cut_off(repr(member.name))
        rest -= len(chunk)
        yield chunk
    padding = -member.size_bytes % BLOCK_BYTES
    if any(read_exactly(file, padding, repr(member.name))):
        raise unsafe(member.name, "hides data in its padding")


def _cut_off(what: str) -> CorruptContent:
    return CorruptContent(
        f"The archive ends in the middle of {what}.", remedy="Copy or export it again."
    )
