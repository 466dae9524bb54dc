"""What a skops archive may cost, decided from its directory before anything in it is believed.

    file ─▶ members: named once, stored as they are, no longer than the file ─▶ arrays: as they say

An array's header names a shape, and NumPy allocates it before it reads a byte: a header that does
not fit its member is damage, not a lack of memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast
from zipfile import ZIP_STORED, ZipFile, ZipInfo, is_zipfile

from dosirak.models.library import import_library
from dosirak.models.model_file import corrupt

# The description is parsed at once, into objects several times its length.
MAX_SCHEMA_BYTES = 1 << 30
_WHAT = "skops"
_SCHEMA = "schema.json"
_MAGIC = b"\x93NUMPY"
_ENCRYPTED = 1


def check_archive(path: Path) -> None:
    """Refuse an archive that is not as it was written, or takes more than its own length.

    Raises:
        CorruptContent: a member's name is there twice, a member is compressed or longer than the
            file, or an array is not as long as its header says.
        BadZipFile: it is no archive.
    """
    with ZipFile(path) as archive:
        _check_members(archive.infolist(), path.stat().st_size)
        _check_arrays(archive)
        for member in archive.infolist():
            if member.filename.endswith(".npz"):  # a sparse matrix: an archive of arrays
                with archive.open(member) as file:
                    _check_inner(file)


def _check_members(members: list[ZipInfo], size_bytes: int) -> None:
    if len({member.filename for member in members}) != len(members):
        raise corrupt(_WHAT, "two of its members have one name")
    if any(member.compress_type != ZIP_STORED for member in members):
        raise corrupt(_WHAT, "a member is compressed")
    if any(member.flag_bits & _ENCRYPTED for member in members):
        raise corrupt(_WHAT, "a member is encrypted")
    if sum(member.file_size for member in members) > size_bytes:
        raise corrupt(_WHAT, "its members are longer than the file")
    if any(
        member.filename == _SCHEMA and member.file_size > MAX_SCHEMA_BYTES for member in members
    ):
        raise corrupt(_WHAT, f"its description is longer than {MAX_SCHEMA_BYTES:,} bytes")


def _check_arrays(archive: ZipFile) -> None:
    for member in archive.infolist():
        if member.filename.endswith(".npy"):
            with archive.open(member) as file:
                _check_array(file, member)


def _check_inner(file: IO[bytes]) -> None:
    if is_zipfile(file):
        with ZipFile(file) as inner:
            _check_arrays(inner)


def _check_array(file: IO[bytes], member: ZipInfo) -> None:
    """Compare a header with the bytes behind it; what is no array is left to the loader."""
    if file.read(len(_MAGIC)) != _MAGIC:
        return
    version = file.read(2)
    if version[:1] not in (b"\x01", b"\x02", b"\x03"):
        raise corrupt(_WHAT, f"{member.filename} is in an unknown version of npy")
    shape, dtype = _header(file, first=version[:1] == b"\x01", name=member.filename)
    if dtype.hasobject:
        raise corrupt(_WHAT, f"{member.filename} holds Python objects")
    if math.prod(shape) * dtype.itemsize != member.file_size - file.tell():
        raise corrupt(_WHAT, f"{member.filename} is not as long as its shape says")


def _header(file: IO[bytes], *, first: bool, name: str) -> tuple[tuple[int, ...], Any]:
    layout = import_library("numpy.lib.format", extra="sklearn")
    # The third version differs from the second only in how fields are named.
    read: Callable[[Any], Any] = (
        layout.read_array_header_1_0 if first else layout.read_array_header_2_0
    )
    try:
        shape, _, dtype = read(file)
    except (ValueError, TypeError, SyntaxError, RecursionError) as error:
        raise corrupt(_WHAT, f"{name} has no header that can be read") from error
    sizes = cast(tuple[int, ...], shape)
    if any(size < 0 for size in sizes):
        raise corrupt(_WHAT, f"{name} has a negative length")
    return sizes, dtype
