"""S-70 and S-14: a model file is never unpickled behind anyone's back, nor does it reach outside.

Every attack carries a canary: a file that exists afterwards only if the attacker's code ran.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import onnx.helper
import pytest
import torch
import xgboost
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import FunctionTransformer

from dosirak.errors import CorruptContent, MissingDependency, UntrustedContent, UsageError
from dosirak.models.framework import SavedFormat, framework

RECORDS = {
    "model.skops": ("sklearn", SavedFormat("skops", options={"trusted_types": []})),
    "model.ubj": ("xgboost", SavedFormat("ubj", options={"wrapper": "", "parameters": {}})),
    "model.txt": ("lightgbm", SavedFormat("lightgbm_text", options={"wrapper": ""})),
    "model.cbm": ("catboost", SavedFormat("cbm", options={"class": "CatBoost"})),
    "model.onnx": ("onnx", SavedFormat("onnx", options={"providers": ["CPUExecutionProvider"]})),
    "model.pt": ("torch", SavedFormat("torchscript", pickle=True)),
    "model.pt2": ("torch", SavedFormat("pt2", pickle=True)),
    "model-00001.safetensors": (
        "torch",
        SavedFormat(
            "safetensors",
            options={"form": "tensors", "aliases": {}, "files": ["model-00001.safetensors"]},
        ),
    ),
}


class Bomb:
    """Unpickling it creates the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.canary,)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


def test_the_canary_sings_when_a_bomb_is_unpickled(canary: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(canary)))
    assert canary.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", RECORDS)
def test_a_pickle_under_another_name_is_refused_unread(
    name: str, protocol: int, canary: Path, directory: Path
) -> None:
    (directory / name).write_bytes(pickle.dumps(Bomb(canary), protocol=protocol))
    used, saved = RECORDS[name]
    with pytest.raises(CorruptContent) as caught:
        framework(used).load(directory, saved)
    assert caught.value.remedy
    assert not canary.exists()


@pytest.mark.parametrize("name", RECORDS)
def test_a_zip_of_pickles_under_another_name_is_refused_unread(
    name: str, canary: Path, directory: Path
) -> None:
    torch.save(Bomb(canary), directory / name)
    used, saved = RECORDS[name]
    with pytest.raises(CorruptContent):
        framework(used).load(directory, saved)
    assert not canary.exists()


@pytest.mark.parametrize("format_name", ["torchscript", "pt2"])
def test_a_file_that_holds_code_is_not_loaded_under_a_record_that_denies_it(
    format_name: str, directory: Path
) -> None:
    with pytest.raises(UntrustedContent):
        framework("torch").load(directory, SavedFormat(format_name, pickle=False))


def test_a_pickle_is_not_loaded_under_a_record_that_denies_it(
    canary: Path, directory: Path
) -> None:
    (directory / "model.pkl").write_bytes(pickle.dumps(Bomb(canary)))
    for name in ("pickle", "sklearn", "torch"):
        with pytest.raises(UntrustedContent):
            framework(name).load(directory, SavedFormat("pickle", pickle=False))
    assert not canary.exists()


@pytest.mark.parametrize("model", [object(), LinearRegression(), {"a": 1}])
def test_pickle_is_never_chosen_by_itself(model: object, directory: Path) -> None:
    assert not framework("pickle").detect(model)
    with pytest.raises(UntrustedContent, match="allow_pickle=True"):
        framework("pickle").save(model, directory, options={})
    assert list(directory.iterdir()) == []


def _lambda() -> Any:
    return FunctionTransformer(lambda rows: rows)


def _generator() -> Any:
    estimator = LinearRegression()
    estimator.extra_ = (number for number in range(3))
    return estimator


@pytest.mark.parametrize("make", [_lambda, _generator])
def test_skops_never_falls_back_to_pickle(make: Callable[[], Any], directory: Path) -> None:
    with pytest.raises(UntrustedContent) as caught:
        framework("sklearn").save(make(), directory, options={})
    assert "allow_pickle=True" in caught.value.remedy
    assert not (directory / "model.pkl").exists()


def test_an_exported_program_is_saved_only_when_pickle_is_allowed(directory: Path) -> None:
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))
    with pytest.raises(UntrustedContent, match="allow_pickle=True"):
        framework("torch").save(program, directory, options={})


def test_code_named_by_a_model_must_be_allowed_by_name(directory: Path) -> None:
    model = FunctionTransformer(json.dumps)
    with pytest.raises(UntrustedContent, match=r"json\.dumps"):
        framework("sklearn").save(model, directory, options={})
    with pytest.raises(UntrustedContent, match=r"json\.dumps"):
        framework("sklearn").save(model, directory, options={"trusted_types": ["json.loads"]})
    saved = framework("sklearn").save(model, directory, options={"trusted_types": ["json.dumps"]})
    assert saved.options["trusted_types"] == ["json.dumps"]
    assert saved.pickle


def test_functions_of_scientific_libraries_are_code_too(directory: Path) -> None:
    with pytest.raises(UntrustedContent, match=r"numpy\.fromfile|numpy\.load"):
        framework("sklearn").save(FunctionTransformer(np.load), directory, options={})


def _forged(directory: Path, kind: tuple[str, str]) -> None:
    """Change the estimator's class in a skops file to one of the attacker's choice."""
    framework("sklearn").save(LinearRegression(), directory, options={})
    path = directory / "model.skops"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(members["schema.json"])
    schema["__module__"], schema["__class__"] = kind
    members["schema.json"] = json.dumps(schema).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_a_file_that_names_more_than_its_record_is_refused(directory: Path) -> None:
    _forged(directory, ("subprocess", "Popen"))
    with pytest.raises(UntrustedContent):
        framework("sklearn").load(directory, SavedFormat("skops", options={"trusted_types": []}))


def test_a_record_that_lists_code_without_owning_up_is_refused(directory: Path) -> None:
    _forged(directory, ("subprocess", "Popen"))
    record = SavedFormat("skops", options={"trusted_types": ["subprocess.Popen"]})
    with pytest.raises(UntrustedContent):
        framework("sklearn").load(directory, record)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("subprocess:Popen", CorruptContent),
        ("os:system", CorruptContent),
        ("torch:load", CorruptContent),
        ("no_such_module:Net", MissingDependency),
        ("", MissingDependency),
        ("torch.nn", MissingDependency),
    ],
)
def test_a_recorded_class_must_be_a_module_class(
    name: str, error: type[Exception], directory: Path, canary: Path
) -> None:
    saved = framework("torch").save({"w": torch.zeros(1)}, directory, options={})
    options = {
        **saved.options, "form": "module", "class": name,
        "constructor": {"args": ["touch", str(canary)]},
    }  # fmt: skip
    with pytest.raises(error):
        framework("torch").load(directory, SavedFormat("safetensors", options=options))
    assert not canary.exists()


@pytest.mark.parametrize("used", ["xgboost", "lightgbm", "catboost"])
def test_a_recorded_class_must_be_the_librarys(used: str, directory: Path) -> None:
    name = next(name for name, (owner, _) in RECORDS.items() if owner == used)
    models = {
        "xgboost": lambda: xgboost.train({}, xgboost.DMatrix(np.eye(4), np.arange(4)), 1),
        "lightgbm": lambda: lightgbm.train(
            {"verbose": -1}, lightgbm.Dataset(np.eye(40), np.arange(40)), 1
        ),
        "catboost": lambda: _catboost(),
    }
    saved = framework(used).save(models[used](), directory, options={})
    assert (directory / name).exists()
    hostile = {**saved.options, "wrapper": "os", "class": "Pool"}
    with pytest.raises(CorruptContent, match="names a class"):
        framework(used).load(directory, SavedFormat(saved.format, options=hostile))


def _catboost() -> Any:
    catboost = pytest.importorskip("catboost")
    settings = {"iterations": 1, "verbose": False, "allow_writing_files": False}
    return catboost.CatBoost(settings).fit(np.eye(4), np.arange(4))


def _with_external_data(location: str) -> onnx.ModelProto:
    weight = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[4, 2])
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    weight.external_data.add(key="length", value="32")
    real = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "external",
        [onnx.helper.make_tensor_value_info("x", real, ["n", 4])],
        [onnx.helper.make_tensor_value_info("y", real, ["n", 2])],
        [weight],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])


OUTSIDE = [
    *("/etc/passwd", "../secret.bin", "a/../../secret.bin", "", ".", "..", "C:\\secret.bin"),
    *("..\\secret.bin", "file:///etc/passwd", "missing.bin", "link.bin", "linked/secret.bin"),
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with a link to a file outside it, and a link to a folder outside it."""
    (tmp_path / "secret.bin").write_bytes(b"\0" * 64)
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "linked").symlink_to(tmp_path)
    return folder


@pytest.mark.parametrize("location", OUTSIDE)
def test_external_data_elsewhere_is_refused_when_saving(
    location: str, source: Path, directory: Path
) -> None:
    proto = _with_external_data(location)
    (source / "net.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(UsageError, match="external data"):
        framework("onnx").save(source / "net.onnx", directory, options={})
    with pytest.raises(UsageError, match="external data"):
        framework("onnx").save(proto, directory, options={"external_data_directory": str(source)})
    with pytest.raises(UsageError, match="external_data_directory"):
        framework("onnx").save(proto, directory, options={})


@pytest.mark.parametrize("location", OUTSIDE)
def test_external_data_elsewhere_is_refused_when_loading(location: str, source: Path) -> None:
    (source / "model.onnx").write_bytes(_with_external_data(location).SerializeToString())
    with pytest.raises(CorruptContent, match="external data"):
        framework("onnx").load(source, RECORDS["model.onnx"][1])


@pytest.mark.parametrize("size_bytes", [0, 31])
def test_external_data_that_is_too_short_is_refused(
    size_bytes: int, source: Path, directory: Path
) -> None:
    (source / "w.bin").write_bytes(b"\0" * size_bytes)
    (source / "net.onnx").write_bytes(_with_external_data("w.bin").SerializeToString())
    with pytest.raises(UsageError, match="does not fit"):
        framework("onnx").save(source / "net.onnx", directory, options={})


def test_external_data_beside_the_model_travels_with_it(source: Path, directory: Path) -> None:
    weight = np.arange(8, dtype=np.float32).reshape(4, 2)
    (source / "w.bin").write_bytes(weight.tobytes())
    (source / "net.onnx").write_bytes(_with_external_data("w.bin").SerializeToString())
    saved = framework("onnx").save(source / "net.onnx", directory, options={})
    (source / "w.bin").unlink()
    loaded = framework("onnx").load(directory, saved)
    rows = np.eye(4, dtype=np.float32)
    np.testing.assert_array_equal(framework("onnx").call(loaded, "predict", rows), weight)


def test_loading_a_text_model_cannot_end_the_process(directory: Path) -> None:
    """LightGBM and XGBoost abort on damage that their own readers meet; ours must come first."""
    script = """
import sys, pathlib, numpy as np, lightgbm, xgboost
from dosirak.errors import CorruptContent
from dosirak.models.framework import framework
rows, labels = np.random.default_rng(0).random((60, 4)), np.arange(60) % 3
models = {
    "lightgbm": (
        lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(rows, labels), "model.txt"
    ),
    "xgboost": (xgboost.XGBClassifier(n_estimators=3).fit(rows, labels), "model.ubj"),
}
directory = pathlib.Path(sys.argv[1])
for name, (model, file) in models.items():
    saved = framework(name).save(model, directory, options={})
    whole = (directory / file).read_bytes()
    for end in range(0, len(whole), max(1, len(whole) // 150)):
        (directory / file).write_bytes(whole[:end])
        try:
            framework(name).load(directory, saved)
        except CorruptContent:
            continue
        raise SystemExit(f"{name} cut at {end} of {len(whole)} was loaded")
print("alive")
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(directory)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "alive", (done.returncode, done.stderr[-2000:])
