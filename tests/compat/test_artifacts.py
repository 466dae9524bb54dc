"""Artifacts: what goes in comes out after a save, with its metadata, in the safest format."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pytest
import torch
import xgboost
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from dosirak.compat.bentoml_classic.artifacts import (
    ArtifactCollection,
    BentoServiceArtifact,
    JSONArtifact,
    PickleArtifact,
    TextFileArtifact,
)
from dosirak.compat.bentoml_classic.exceptions import (
    ArtifactLoadingException,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)
from dosirak.compat.bentoml_classic.frameworks.lightgbm import LightGBMModelArtifact
from dosirak.compat.bentoml_classic.frameworks.onnx import OnnxModelArtifact
from dosirak.compat.bentoml_classic.frameworks.pytorch import (
    PytorchLightningModelArtifact,
    PytorchModelArtifact,
)
from dosirak.compat.bentoml_classic.frameworks.sklearn import SklearnModelArtifact
from dosirak.compat.bentoml_classic.frameworks.xgboost import XgboostModelArtifact

X = np.arange(40, dtype=np.float32).reshape(20, 2)
Y = (X[:, 0] > 20).astype(int)


def round_trip(artifact: Any, directory: Path) -> Any:
    artifact.save(str(directory))
    loaded = artifact.empty_copy()
    loaded.load(str(directory))
    assert (loaded.packed, loaded.loaded, loaded.is_ready) == (True, True, True)
    assert loaded.metadata == artifact.metadata
    return loaded


@pytest.mark.parametrize(
    ("artifact", "value", "file"),
    [
        (PickleArtifact("a"), {"x": {1, 2}}, "a.pkl"),
        (PickleArtifact("a", pickle_module="pickle"), (1, 2), "a.pkl"),
        (PickleArtifact("a", pickle_module=joblib), [1], "a.pkl"),
        (JSONArtifact("a"), {"x": [1, "é"]}, "a.json"),
        (TextFileArtifact("a"), "é\n", "a.txt"),
        (TextFileArtifact("a", file_extension=".md", encoding="latin-1"), "é", "a.md"),
    ],
)
def test_generic_artifacts_come_back(artifact: Any, value: Any, file: str, tmp_path: Path) -> None:
    artifact = artifact.empty_copy()
    artifact.pack(value, metadata={"k": np.float64(0.5), "list": np.arange(2)})
    artifact.save(str(tmp_path))
    loaded = artifact.empty_copy().load(str(tmp_path))
    assert loaded.get() == value
    assert loaded.metadata == {"k": 0.5, "list": [0, 1]}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([file, "a.yml"])


def test_json_options_reach_the_writer(tmp_path: Path) -> None:
    JSONArtifact("a").pack({"b": 1, "a": 2}, sort_keys=True).save(str(tmp_path))
    assert (tmp_path / "a.json").read_text() == '{"a": 2, "b": 1}'


def test_sklearn_models_need_no_pickle(tmp_path: Path) -> None:
    model = LogisticRegression().fit(X, Y)
    loaded = round_trip(SklearnModelArtifact("m").pack(model, metadata={"a": 1}), tmp_path)
    assert loaded.saved_format == "skops"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.skops", "m.yml"]
    assert np.array_equal(loaded.get().predict(X), model.predict(X))


def test_sklearn_models_with_code_of_their_own_fall_back_to_pickle(tmp_path: Path) -> None:
    model = make_pipeline(FunctionTransformer(lambda x: x + 1), LinearRegression()).fit(X, Y)
    loaded = round_trip(SklearnModelArtifact("m").pack(model), tmp_path)
    assert loaded.saved_format == "pickle"
    assert [path.name for path in tmp_path.iterdir()] == ["m.pkl"]
    assert np.allclose(loaded.get().predict(X), model.predict(X))


def test_sklearn_reads_what_joblib_wrote(tmp_path: Path) -> None:
    joblib.dump(LinearRegression().fit(X, Y), tmp_path / "m.pkl")
    assert SklearnModelArtifact("m").load(str(tmp_path)).get().coef_.shape == (2,)
    with pytest.raises(ArtifactLoadingException, match="no file"):
        SklearnModelArtifact("other").load(str(tmp_path))


@pytest.mark.parametrize("kind", [xgboost.XGBClassifier, xgboost.XGBRegressor])
def test_an_xgboost_model_comes_back_as_its_class(kind: Any, tmp_path: Path) -> None:
    model = kind(n_estimators=2).fit(X, Y)
    loaded = round_trip(XgboostModelArtifact("m").pack(model), tmp_path).get()
    assert type(loaded) is kind
    assert np.allclose(loaded.predict(X), model.predict(X))


def test_an_xgboost_booster_comes_back_as_one_and_takes_tables(tmp_path: Path) -> None:
    booster = xgboost.train({}, xgboost.DMatrix(X, label=Y, feature_names=["a", "b"]), 2)
    packed = XgboostModelArtifact("m").pack(booster)
    loaded = round_trip(packed, tmp_path).get()
    assert isinstance(loaded, xgboost.Booster)
    expected = booster.predict(xgboost.DMatrix(X, feature_names=["a", "b"]))
    assert np.allclose(loaded.predict(X), expected)
    assert np.allclose(packed.get().predict(X), expected)
    assert np.allclose(loaded.predict(xgboost.DMatrix(X, feature_names=["a", "b"])), expected)


def test_an_xgboost_booster_takes_one_column_as_a_flat_array() -> None:
    booster = xgboost.train({}, xgboost.DMatrix(X[:, :1], label=Y), 2)
    assert XgboostModelArtifact("m").pack(booster).get().predict(X[:, 0]).shape == (20,)


def test_xgboost_reads_0_13s_file_name_and_refuses_nonsense(tmp_path: Path) -> None:
    booster = xgboost.train({}, xgboost.DMatrix(X, label=Y), 1)
    (tmp_path / "m.model").write_bytes(booster.save_raw("json"))
    assert XgboostModelArtifact("m").load(str(tmp_path)).get().predict(X).shape == (20,)
    (tmp_path / "m.model").write_bytes(b"nonsense")
    with pytest.raises(ArtifactLoadingException, match="cannot read"):
        XgboostModelArtifact("m").load(str(tmp_path))


def test_lightgbm_boosters_come_back(tmp_path: Path) -> None:
    booster = lightgbm.train(
        {"verbose": -1, "min_data_in_leaf": 1}, lightgbm.Dataset(X, label=Y), num_boost_round=2
    )
    loaded = round_trip(LightGBMModelArtifact("m").pack(booster), tmp_path).get()
    assert np.allclose(loaded.predict(X), booster.predict(X))


def test_torch_modules_come_back(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 1)
    loaded = round_trip(PytorchModelArtifact("m").pack(module), tmp_path)
    assert loaded.saved_format == "pickle"
    assert torch.equal(loaded.get()(torch.ones(1, 2)), module(torch.ones(1, 2)))


@pytest.mark.parametrize("kind", [PytorchModelArtifact, PytorchLightningModelArtifact])
def test_torchscript_needs_no_pickle(kind: Any, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.trace(torch.nn.Linear(2, 1), torch.ones(1, 2))
        artifact = kind("m").pack(scripted)
        loaded = round_trip(artifact, tmp_path)
    assert getattr(loaded, "saved_format", "torchscript") == "torchscript"
    assert torch.equal(loaded.get()(torch.ones(1, 2)), scripted(torch.ones(1, 2)))


@pytest.mark.parametrize("as_path", [False, True])
def test_onnx_models_come_back_as_sessions(as_path: bool, tmp_path: Path) -> None:
    proto = to_onnx(LinearRegression().fit(X, Y), X[:1])
    (tmp_path / "given.onnx").write_bytes(proto.SerializeToString())
    given = str(tmp_path / "given.onnx") if as_path else proto
    artifact = OnnxModelArtifact("m", providers=["CPUExecutionProvider"]).pack(given)
    session = round_trip(artifact, tmp_path).get()
    (result,) = session.run(None, {session.get_inputs()[0].name: X})
    assert result.shape == (20, 1)


@pytest.mark.parametrize(
    "artifact",
    [XgboostModelArtifact, LightGBMModelArtifact, PytorchModelArtifact, OnnxModelArtifact],
)
def test_an_object_of_another_library_is_refused(artifact: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"cannot pack|needs"):
        artifact("m").pack("no model")


def test_an_empty_artifact_cannot_be_read_or_saved(tmp_path: Path) -> None:
    artifact = PickleArtifact("m")
    assert (artifact.packed, artifact.loaded, artifact.is_ready) == (False, False, False)
    with pytest.raises(FailedPrecondition, match="empty"):
        artifact.get()
    with pytest.raises(FailedPrecondition, match="empty"):
        artifact.save(str(tmp_path))


def test_a_pack_that_fails_packs_nothing() -> None:
    artifact = XgboostModelArtifact("m")
    with pytest.raises(InvalidArgument):
        artifact.pack(3, metadata={"a": 1})
    assert (artifact.is_ready, artifact.metadata) == (False, {})


def test_metadata_must_be_a_dict_that_yaml_can_hold(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="must be a dict"):
        PickleArtifact("m").pack(1, metadata=[("a", 1)])
    with pytest.raises(InvalidArgument, match="'m' holds a value"):
        PickleArtifact("m").pack(1, metadata={"a": object()}).save(str(tmp_path))


def test_names_are_identifiers() -> None:
    with pytest.raises(ValueError, match="identifier"):
        PickleArtifact("no name")


def test_the_collection_gives_artifacts_by_key_and_objects_by_attribute() -> None:
    collection = ArtifactCollection.from_declared_artifact_list([PickleArtifact("m")])
    collection["m"].pack(5)
    assert collection.m == 5
    assert collection.get("m") is collection["m"]
    with pytest.raises(NotFound, match="no artifact 'other'"):
        collection.get("other")
    with pytest.raises(AttributeError):
        _ = collection.other
    with pytest.raises(InvalidArgument, match="key"):
        collection["wrong"] = PickleArtifact("m")


def test_artifacts_of_the_users_own_get_the_same_guards(tmp_path: Path) -> None:
    class Lines(BentoServiceArtifact):
        def pack(self, lines: Any, metadata: Any = None) -> Any:
            self.lines = lines
            return self

        def get(self) -> Any:
            return self.lines

        def save(self, dst: str) -> None:
            (Path(dst) / f"{self.name}.lines").write_text("\n".join(self.lines))

        def load(self, path: str) -> Any:
            return self.pack((Path(path) / f"{self.name}.lines").read_text().split("\n"))

    with pytest.raises(FailedPrecondition):
        Lines("l").get()
    artifact = Lines("l").pack(["a", "b"], metadata={"n": 2})
    assert round_trip(artifact, tmp_path).get() == ["a", "b"]
