"""What a skops archive may cost: every lie of its directory or of an array's header is damage."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
import pytest
from scipy import sparse
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from dosirak.errors import CorruptContent
from dosirak.models import archive_bounds
from dosirak.models.archive_bounds import check_archive
from dosirak.models.framework import SavedFormat, framework
from dosirak.models.skops_archive import write_archive

ROWS = np.random.default_rng(3).random((40, 3))
LABELS = np.arange(40) % 3


def written(model: Any, directory: Path) -> dict[str, bytes]:
    write_archive(model.fit(ROWS, LABELS), directory / "written")
    with ZipFile(directory / "written") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members: dict[str, bytes], path: Path, method: int = ZIP_STORED) -> Path:
    with ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def npy(shape: object, descr: object = "<f8", data: bytes = b"", version: int = 1) -> bytes:
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + data


@pytest.fixture
def members(tmp_path: Path) -> dict[str, bytes]:
    return written(DecisionTreeClassifier(max_depth=2), tmp_path)


@pytest.mark.parametrize(
    "array",
    [
        npy((10**15,)),
        npy((10**9, 10**9, 10**9)),
        npy((-1,), data=bytes(8)),
        npy((2,), data=bytes(8)),
        npy((1,), data=bytes(16)),
        npy((1.5,)),
        npy((1,), "|O", bytes(8)),
        npy((10**15,), version=2),
        npy((10**15,), version=3),
        npy((1,), data=bytes(8), version=4),
        b"\x93NUMPY\x01\x00\xff",
        b"\x93NUMPY",
    ],
)
def test_an_array_that_does_not_fit_its_header_is_damage(
    members: dict[str, bytes], tmp_path: Path, array: bytes
) -> None:
    saved = SavedFormat("skops", False, {"trusted_types": ["sklearn.tree._tree.Tree"]}, {})
    packed(members, tmp_path / "model.skops")
    framework("sklearn").load(tmp_path, saved)
    packed({**members, "1.npy": array}, tmp_path / "model.skops")
    with pytest.raises(CorruptContent):
        framework("sklearn").load(tmp_path, saved)


def test_an_array_within_a_sparse_matrix_is_compared_too(tmp_path: Path) -> None:
    members = written(DecisionTreeClassifier(max_depth=2), tmp_path)
    rows = sparse.csr_matrix(ROWS)
    write_archive(KNeighborsClassifier(algorithm="brute").fit(rows, LABELS), tmp_path / "sparse")
    check_archive(tmp_path / "sparse")
    inner = io.BytesIO()
    with ZipFile(inner, "w", ZIP_DEFLATED) as archive:
        archive.writestr("data.npy", npy((10**15,)))
    with pytest.raises(CorruptContent, match=r"data\.npy"):
        check_archive(packed({**members, "9.npz": inner.getvalue()}, tmp_path / "model"))


def test_a_name_that_is_there_twice_is_damage(members: dict[str, bytes], tmp_path: Path) -> None:
    path = packed(members, tmp_path / "model")
    with ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("schema.json", members["schema.json"])
    with pytest.raises(CorruptContent, match="one name"):
        check_archive(path)


def test_a_compressed_member_is_damage(members: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(CorruptContent, match="compressed"):
        check_archive(packed(members, tmp_path / "model", ZIP_DEFLATED))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ((8, b"\x01"), "encrypted"),
        ((20, b"\xff\xff\xff\x7f" * 2), "longer than the file"),
    ],
)
def test_a_directory_that_claims_what_is_not_there_is_damage(
    members: dict[str, bytes], tmp_path: Path, spoil: tuple[int, bytes], reason: str
) -> None:
    path = packed(members, tmp_path / "model")
    data, (offset, content) = bytearray(path.read_bytes()), spoil
    place = data.index(b"PK\x01\x02") + offset
    data[place : place + len(content)] = content
    path.write_bytes(data)
    with pytest.raises(CorruptContent, match=reason):
        check_archive(path)


def test_a_description_has_a_greatest_length(
    members: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = packed(members, tmp_path / "model")
    monkeypatch.setattr(archive_bounds, "MAX_SCHEMA_BYTES", 10)
    with pytest.raises(CorruptContent, match="description"):
        check_archive(path)
