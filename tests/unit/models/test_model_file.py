from __future__ import annotations

import errno
import math
import warnings
from pathlib import Path

import pytest

from dosirak.errors import (
    CorruptContent,
    MissingDependency,
    StorageError,
    StorageFull,
    UsageError,
)
from dosirak.models.model_file import (
    checked_file,
    checked_options,
    json_values,
    reading,
    writing,
)


def test_a_file_is_checked_before_any_loader_sees_it(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(b"CBM1 and more")
    assert checked_file(tmp_path, "good", what="CatBoost", magic=b"CBM1") == tmp_path / "good"
    for name, data in {"empty": b"", "other": b"CBM2", "pickle": b"\x80\x05CBM1"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CorruptContent):
            checked_file(tmp_path, name, what="CatBoost", magic=b"CBM1")
    (tmp_path / "folder").mkdir()
    for name in ("folder", "missing"):
        with pytest.raises(CorruptContent):
            checked_file(tmp_path, name, what="CatBoost")


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), RuntimeError("x"), OSError("x")])
def test_whatever_a_loader_raises_is_corrupt_content_with_its_cause(error: Exception) -> None:
    with pytest.raises(CorruptContent) as caught, reading("skops"):
        raise error
    assert caught.value.__cause__ is error


def test_errors_that_are_not_the_files_fault_stay_what_they_are() -> None:
    with pytest.raises(MemoryError), reading("skops"):
        raise MemoryError
    with pytest.raises(UsageError), reading("skops"):
        raise UsageError("own")
    with pytest.raises(MissingDependency), reading("skops"):
        raise ModuleNotFoundError("no module")
    with pytest.raises(KeyboardInterrupt), reading("skops"):
        raise KeyboardInterrupt


def test_loading_keeps_warnings_to_itself(tmp_path: Path) -> None:
    with reading("skops"), writing("skops", tmp_path, remedy=""):
        warnings.warn("old version", UserWarning, stacklevel=1)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, StorageError)],
)
def test_a_failing_disk_is_told_from_a_wrong_model(
    number: int, kind: type[Exception], tmp_path: Path
) -> None:
    with pytest.raises(kind), writing("skops", tmp_path, remedy="r"):
        raise OSError(number, "the disk")
    with pytest.raises(UsageError), writing("skops", tmp_path, remedy="r"):
        raise TypeError("the model")


def test_options_are_known_by_name_and_type() -> None:
    known = {"providers": list}
    given = {"allow_pickle": False, "providers": []}
    assert checked_options(given, framework="onnx", known=known) == given
    for wrong in ({"provider": []}, {"providers": "CPU"}, {"allow_pickle": 1}):
        with pytest.raises(UsageError) as caught:
            checked_options(wrong, framework="onnx", known=known)
        assert caught.value.remedy


def test_only_what_json_gives_back_unchanged_is_kept() -> None:
    values = {"a": 1, "b": math.nan, "c": (1, 2), "d": {1: 2}, "e": object(), "f": ["x", None]}
    assert json_values(values) == {"a": 1, "f": ["x", None]}
