"""skops archives: the same bytes and objects, whether or not skops' inner steps can be used."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import skops.io
from scipy import sparse
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingRegressor
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skops.io.exceptions import UntrustedTypesFoundException

from dosirak.models import skops_archive
from dosirak.models.skops_archive import read_archive, write_archive

ROWS = np.random.default_rng(3).random((40, 3))
LABELS = np.arange(40) % 3
MODELS: dict[str, Any] = {
    "forest": lambda: ExtraTreesClassifier(3, random_state=0).fit(ROWS, LABELS),
    "boosting": lambda: GradientBoostingRegressor(n_estimators=3).fit(ROWS, LABELS),
    "neighbours": lambda: KNeighborsClassifier().fit(ROWS, LABELS),
    "sparse": lambda: KNeighborsClassifier(algorithm="brute").fit(sparse.csr_matrix(ROWS), LABELS),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    return MODELS[request.param]()


def without(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Let a part of skops be missing, as it is in a version that has moved it."""
    monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.parametrize("streamed_bytes", [0, 2**20])
def test_the_public_dump_gives_the_very_same_bytes(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streamed_bytes: int
) -> None:
    monkeypatch.setattr(skops_archive, "_STREAMED_BYTES", streamed_bytes)
    direct = write_archive(model, tmp_path / "direct")
    without(monkeypatch, "skops.io._utils")
    public = write_archive(model, tmp_path / "public")
    assert public == direct
    assert (tmp_path / "public").read_bytes() == (tmp_path / "direct").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["direct", "public"]


@pytest.mark.parametrize("missing", [None, "skops.io._audit"])
def test_what_was_written_answers_as_before(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str | None
) -> None:
    trusted = write_archive(model, tmp_path / "model").untrusted_types()
    if missing is not None:
        without(monkeypatch, missing)
    loaded = read_archive(tmp_path / "model", trusted=trusted)
    np.testing.assert_array_equal(loaded.predict(ROWS), model.predict(ROWS))


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(ROWS),
        ROWS[::2, 1:],
        ROWS[0, 0],
        np.array(["a", "dosirak"]),
        np.array([(1, 2.5)], dtype=[("first", "<i4"), ("second", "<f8")]),
        np.empty((0, 3)),
    ],
    ids=["fortran", "strided", "scalar", "texts", "records", "empty"],
)
def test_an_array_written_in_pieces_comes_back_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, array: Any
) -> None:
    monkeypatch.setattr(skops_archive, "_STREAMED_BYTES", 0)
    write_archive(FunctionTransformer(kw_args={"a": array}), tmp_path / "model")
    loaded = read_archive(tmp_path / "model", trusted=[]).kw_args["a"]
    np.testing.assert_array_equal(loaded, array)
    assert (loaded.dtype, loaded.shape) == (array.dtype, array.shape)


def test_archives_that_are_not_ours_are_written_by_skops_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = FunctionTransformer(kw_args={"a": ROWS})
    write_archive(model, tmp_path / "model")
    monkeypatch.setattr(skops_archive, "_STREAMED_BYTES", 0)
    loaded = skops.io.loads(skops.io.dumps(model), trusted=[])
    np.testing.assert_array_equal(loaded.kw_args["a"], ROWS)


def test_members_have_running_numbers_and_no_time(model: Any, tmp_path: Path) -> None:
    written = write_archive(model, tmp_path / "model")
    with ZipFile(tmp_path / "model") as archive:
        members = archive.infolist()
    stems = [Path(member.filename).stem for member in members[:-1]]
    assert stems == [str(number + 1) for number in range(len(stems))]
    assert tuple(member.filename for member in members) == (*written.members, "schema.json")
    assert {member.date_time for member in members} == {(1980, 1, 1, 0, 0, 0)}


def test_an_array_that_two_attributes_share_is_written_once_and_shared_again(
    tmp_path: Path,
) -> None:
    shared = np.arange(5.0)
    first = FunctionTransformer(kw_args={"a": shared, "b": shared})
    written = write_archive(first, tmp_path / "model")
    assert len(written.members) == 1
    loaded = read_archive(tmp_path / "model", trusted=[])
    assert loaded.kw_args["a"] is loaded.kw_args["b"]
    assert loaded.kw_args["a"].tolist() == shared.tolist()


def test_a_file_of_bytes_that_calls_itself_an_array_is_read_as_it_is(tmp_path: Path) -> None:
    model = FunctionTransformer(kw_args={"a": np.arange(5.0), "b": b"words"})
    write_archive(model, tmp_path / "model")
    renamed = tmp_path / "renamed"
    with ZipFile(tmp_path / "model") as source, ZipFile(renamed, "w") as target:
        for name in source.namelist():
            content = source.read(name).replace(b'"2.bin"', b'"2.npy"')
            target.writestr(name.replace("2.bin", "2.npy"), content)
    assert read_archive(renamed, trusted=[]).kw_args["b"] == b"words"


def test_a_type_that_nobody_trusts_is_found_before_any_object_is_made(tmp_path: Path) -> None:
    model = make_pipeline(FunctionTransformer(np.nan_to_num), *[MODELS["forest"]()])
    named = write_archive(model, tmp_path / "model").untrusted_types()
    assert "numpy.nan_to_num" in named
    with pytest.raises(UntrustedTypesFoundException, match="nan_to_num"):
        read_archive(tmp_path / "model", trusted=[])
