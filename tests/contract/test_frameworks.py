"""One suite over every framework: what a third party's framework must do too."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import catboost
import lightgbm
import msgspec
import numpy as np
import onnx
import onnx.helper
import pandas as pd
import pytest
import torch
import xgboost
from sklearn.cluster import KMeans
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from dosirak.errors import (
    CorruptContent,
    InvalidInput,
    MissingDependency,
    RequestError,
    UsageError,
)
from dosirak.models.framework import (
    SavedFormat,
    detect_framework,
    framework,
    framework_names,
)
from dosirak.models.model_service import MethodDescription, describe_methods, service_of
from dosirak.naming import Reference
from dosirak.payload.wire import WireRequest

ROWS, LABELS = load_iris(return_X_y=True)
FRAME = load_iris(as_frame=True).data
WORDS = np.array(["setosa", "versicolor", "virginica"])[LABELS]
NUMBERS, TARGETS = load_diabetes(return_X_y=True)
TEXTS = ["good day", "bad day", "good night", "bad night"]


class Tied(torch.nn.Module):
    """Two layers that share one weight, a buffer, and one that is not saved."""

    def __init__(self, width: int, *, scale: float = 1.0) -> None:
        super().__init__()
        self.first = torch.nn.Linear(width, width, bias=False)
        self.second = torch.nn.Linear(width, width, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("offset", torch.arange(width, dtype=torch.float32))
        self.register_buffer("unsaved", torch.full((width,), scale), persistent=False)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(batch)) * self.unsaved + self.offset


class Lookup(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(10, 3)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.table(batch).sum(1)


def scripted(module: torch.nn.Module) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(module.eval())


def exported(module: torch.nn.Module) -> Any:
    batch = torch.export.Dim("batch")
    return torch.export.export(module.eval(), (torch.randn(3, 4),), dynamic_shapes=({0: batch},))


def graph(*, large: bool = False) -> onnx.ModelProto:
    width = 4096 if large else 4
    weight = np.linspace(-1, 1, width * 4, dtype=np.float32).reshape(4, width)
    big = np.ones((width, 3 if not large else 4096), dtype=np.float32)
    nodes = [
        onnx.helper.make_node("MatMul", ["rows", "weight"], ["hidden"]),
        onnx.helper.make_node("MatMul", ["hidden", "big"], ["scores"]),
        onnx.helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    real, whole = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    made = onnx.helper.make_graph(
        nodes,
        "tiny",
        [onnx.helper.make_tensor_value_info("rows", real, ["n", 4])],
        [
            onnx.helper.make_tensor_value_info("label", whole, ["n"]),
            onnx.helper.make_tensor_value_info("scores", real, ["n", big.shape[1]]),
        ],
        [onnx.numpy_helper.from_array(weight, "weight"), onnx.numpy_helper.from_array(big, "big")],
    )
    return onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 18)])


class Doubler:
    def predict(self, rows: Any) -> Any:
        return np.asarray(rows) * 2


@dataclass(frozen=True)
class Case:
    framework: str
    make: Callable[[], Any]
    value: Any = field(default_factory=lambda: ROWS[::7])
    options: Mapping[str, Any] = field(default_factory=dict)
    methods: tuple[str, ...] = ("predict",)
    hint: Any = np.ndarray
    format: str = ""
    tolerance: float = 0.0
    runs_code: bool = False
    same_bytes: bool = True
    detected: bool = True


def quiet_catboost(kind: type, **more: Any) -> Any:
    return kind(iterations=4, verbose=False, allow_writing_files=False, random_seed=1, **more)


CLASSIFIER = ("predict", "predict_proba")
SK = ("predict", "predict_proba", "decision_function")

CASES: dict[str, Case] = {
    "sklearn-linear": Case(
        "sklearn", lambda: LinearRegression().fit(NUMBERS, TARGETS), NUMBERS[:9], format="skops"
    ),
    "sklearn-words": Case(
        "sklearn",
        lambda: LogisticRegression(max_iter=1000).fit(ROWS, WORDS),
        methods=SK,
        format="skops",
    ),
    "sklearn-frame": Case(
        "sklearn",
        lambda: make_pipeline(StandardScaler(), SVC()).fit(FRAME, LABELS),
        FRAME[::7],
        methods=("predict", "decision_function"),
        hint=pd.DataFrame,
        format="skops",
    ),
    "sklearn-forest": Case(
        "sklearn",
        lambda: RandomForestClassifier(5, random_state=0).fit(ROWS, LABELS),
        methods=CLASSIFIER,
        format="skops",
    ),
    "sklearn-boosting": Case(
        "sklearn",
        lambda: GradientBoostingClassifier(n_estimators=3, random_state=0).fit(ROWS, LABELS),
        methods=SK,
        format="skops",
    ),
    "sklearn-histogram": Case(
        "sklearn",
        lambda: HistGradientBoostingClassifier(max_iter=3).fit(ROWS, LABELS),
        methods=SK,
        format="skops",
    ),
    "sklearn-stack": Case(
        "sklearn",
        lambda: StackingClassifier(
            [("a", LogisticRegression(max_iter=1000)), ("b", SVC())], cv=2
        ).fit(ROWS, LABELS),
        methods=SK,
        format="skops",
    ),
    "sklearn-text": Case(
        "sklearn",
        lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, [1, 0, 1, 0]),
        ["good good", "bad"],
        methods=SK,
        hint=list[str],
        format="skops",
    ),
    "sklearn-clusters": Case(
        "sklearn",
        lambda: KMeans(3, n_init=1, random_state=0).fit(ROWS),
        format="skops",
    ),
    "sklearn-sparse": Case(
        "sklearn",
        lambda: OneHotEncoder(handle_unknown="ignore").fit(ROWS[:, :1]),
        ROWS[::7, :1],
        methods=("transform",),
        format="skops",
    ),
    "sklearn-xgboost": Case(
        "sklearn",
        lambda: make_pipeline(StandardScaler(), xgboost.XGBClassifier(n_estimators=3)).fit(
            ROWS, LABELS
        ),
        methods=CLASSIFIER,
        format="skops",
    ),
    "sklearn-lightgbm": Case(
        "sklearn",
        lambda: make_pipeline(
            StandardScaler(), lightgbm.LGBMClassifier(n_estimators=3, verbose=-1)
        ).fit(ROWS, WORDS),
        methods=SK,
        format="skops",
    ),
    "sklearn-own-function": Case(
        "sklearn",
        lambda: make_pipeline(FunctionTransformer(np.nan_to_num), LinearRegression()).fit(
            NUMBERS, TARGETS
        ),
        NUMBERS[:9],
        options={"trusted_types": ["numpy.nan_to_num"]},
        format="skops",
        runs_code=True,
    ),
    "sklearn-pickled": Case(
        "sklearn",
        lambda: FunctionTransformer(lambda rows: rows + 1).fit(ROWS),
        options={"allow_pickle": True},
        methods=("transform",),
        format="pickle",
        runs_code=True,
    ),
    "xgboost-classifier": Case(
        "xgboost",
        lambda: xgboost.XGBClassifier(n_estimators=4).fit(ROWS, LABELS),
        methods=CLASSIFIER,
        format="ubj",
    ),
    "xgboost-regressor-frame": Case(
        "xgboost",
        lambda: xgboost.XGBRegressor(n_estimators=4).fit(FRAME, LABELS),
        FRAME[::7],
        hint=pd.DataFrame,
        format="ubj",
    ),
    "xgboost-booster": Case(
        "xgboost",
        lambda: xgboost.train({"max_depth": 2}, xgboost.DMatrix(ROWS, LABELS), 4),
        format="ubj",
    ),
    "xgboost-booster-frame": Case(
        "xgboost",
        lambda: xgboost.train({}, xgboost.DMatrix(FRAME, LABELS), 4),
        FRAME[::7],
        hint=pd.DataFrame,
        format="ubj",
    ),
    "lightgbm-classifier": Case(
        "lightgbm",
        lambda: lightgbm.LGBMClassifier(n_estimators=4, verbose=-1).fit(ROWS, WORDS),
        methods=CLASSIFIER,
        format="lightgbm_text",
    ),
    "lightgbm-binary": Case(
        "lightgbm",
        lambda: lightgbm.LGBMClassifier(n_estimators=4, verbose=-1).fit(ROWS, LABELS == 1),
        methods=CLASSIFIER,
        format="lightgbm_text",
    ),
    "lightgbm-regressor-frame": Case(
        "lightgbm",
        lambda: lightgbm.LGBMRegressor(n_estimators=4, verbose=-1).fit(
            FRAME.rename(columns=lambda name: name.replace(" ", "_")), LABELS
        ),
        FRAME[::7],
        hint=pd.DataFrame,
        format="lightgbm_text",
    ),
    "lightgbm-booster": Case(
        "lightgbm",
        lambda: lightgbm.train({"verbose": -1}, lightgbm.Dataset(ROWS, LABELS), 4),
        format="lightgbm_text",
    ),
    "catboost-classifier": Case(
        "catboost",
        lambda: quiet_catboost(catboost.CatBoostClassifier).fit(ROWS, WORDS),
        methods=CLASSIFIER,
        format="cbm",
    ),
    "catboost-regressor-frame": Case(
        "catboost",
        lambda: quiet_catboost(catboost.CatBoostRegressor).fit(FRAME, LABELS),
        FRAME[::7],
        hint=pd.DataFrame,
        format="cbm",
    ),
    "catboost-plain": Case(
        "catboost",
        lambda: catboost.CatBoost(
            {"iterations": 4, "verbose": False, "allow_writing_files": False}
        ).fit(ROWS, LABELS),
        format="cbm",
    ),
    "torch-library-class": Case(
        "torch",
        lambda: torch.nn.Linear(4, 2),
        options={"constructor": {"in_features": 4, "out_features": 2}},
        format="safetensors",
    ),
    "torch-tied": Case(
        "torch",
        lambda: Tied(4, scale=2.0),
        options={"constructor": {"width": 4, "scale": 2.0}},
        format="safetensors",
    ),
    "torch-half": Case(
        "torch",
        lambda: Tied(4).bfloat16(),
        options={"constructor": {"width": 4}},
        format="safetensors",
    ),
    "torch-embedding": Case("torch", Lookup, np.array([[1, 2], [3, 4]]), format="safetensors"),
    "torch-script": Case("torch", lambda: scripted(Tied(4)), format="torchscript", runs_code=True),
    "torch-script-embedding": Case(
        "torch",
        lambda: scripted(Lookup()),
        np.array([[1, 2], [3, 4]]),
        format="torchscript",
        runs_code=True,
    ),
    "torch-exported": Case(
        "torch",
        lambda: exported(Tied(4)),
        options={"allow_pickle": True},
        format="pt2",
        runs_code=True,
    ),
    "onnx-small": Case("onnx", graph, methods=("predict", "scores"), format="onnx"),
    "onnx-large": Case(
        "onnx", lambda: graph(large=True), methods=("predict", "scores"), format="onnx"
    ),
    "pickle-object": Case(
        "pickle",
        Doubler,
        options={"allow_pickle": True},
        format="pickle",
        runs_code=True,
        detected=False,
    ),
}


@pytest.fixture(params=CASES, scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(scope="module")
def model(case: Case) -> Any:
    torch.manual_seed(0)
    return case.make()


@pytest.fixture
def saved(case: Case, model: Any, tmp_path: Path) -> SavedFormat:
    return framework(case.framework).save(model, tmp_path, options=case.options)


def digests(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_an_object_is_recognised_by_exactly_one_framework(case: Case, model: Any) -> None:
    claims = [name for name in framework_names() if framework(name).detect(model)]
    assert claims == ([case.framework] if case.detected else [])
    assert detect_framework(model) is (framework(case.framework) if case.detected else None)


def test_predictions_survive_saving_and_loading(
    case: Case, model: Any, saved: SavedFormat, tmp_path: Path
) -> None:
    used = framework(case.framework)
    loaded = used.load(tmp_path, saved)
    for method in case.methods:
        before = used.call(model, method, case.value)
        after = used.call(loaded, method, case.value)
        assert isinstance(after, np.ndarray)
        assert after.dtype == before.dtype
        assert len(after) == len(case.value)
        if after.dtype.kind == "f":
            np.testing.assert_allclose(after, before, rtol=case.tolerance, atol=0)
        else:
            assert after.tolist() == before.tolist()


def test_the_class_of_the_model_survives(
    case: Case, model: Any, saved: SavedFormat, tmp_path: Path
) -> None:
    loaded = framework(case.framework).load(tmp_path, saved)
    if case.framework == "onnx":
        assert type(loaded).__name__ == "InferenceSession"
    elif case.format == "pt2":
        assert isinstance(loaded, torch.nn.Module)
    else:
        assert type(loaded) is type(model)


def plain_hint(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def served(case: Case, saved: SavedFormat, directory: Path) -> tuple[Any, Callable[[Any], Any]]:
    """The schema of a model's input when it is served alone, and a call of it with JSON."""
    chosen = framework(case.framework)
    loaded = chosen.load(directory, saved)
    methods = msgspec.convert(describe_methods(chosen, loaded), tuple[MethodDescription, ...])
    api = service_of(Reference("model", "1"), case.framework, methods).apis[0]
    (parameter,) = api.codec.describe()["parameters"]

    def call(value: Any) -> Any:
        body = msgspec.json.encode({parameter["name"]: value})
        arguments = api.codec.decode(WireRequest(body, "application/json"))
        return api.bind(loaded)(*arguments.args, **arguments.kwargs)

    return parameter["schema"], call


def test_the_example_in_the_schema_is_a_valid_row(
    case: Case, saved: SavedFormat, tmp_path: Path
) -> None:
    schema, call = served(case, saved, tmp_path)
    examples = schema.get("examples") or schema.get("items", {}).get("examples")
    if examples is None:
        # A network, texts, LightGBM's respelt names: nothing is known of a row.
        assert case.framework in ("torch", "lightgbm", "pickle") or case.hint == list[str]
        return
    rows = examples if "items" in schema and schema["items"].get("examples") else examples[0]
    assert len(call(rows)) == 1


BAD_ROWS: tuple[Any, ...] = (
    1, "x", None, [], [[]], [1], ["x"], [[1]], [["x"] * 4], [[None] * 4], [[[1, 2], [3, 4]]],
    [[1] * 1000], {}, [{}], {"a": []}, [{"a": {}}], [{"a": None}], [[1e308] * 4], [[True] * 4],
)  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_no_json_is_the_models_failure(case: Case, saved: SavedFormat, tmp_path: Path) -> None:
    if case.detected is False:
        pytest.skip("what an object of somebody's own raises may be its own fault")
    _, call = served(case, saved, tmp_path)
    for value in BAD_ROWS:
        try:
            call(value)
        except RequestError as error:
            assert error.fields, value
            assert not re.search(r"\.(py|cc)\b|/usr|/home|/__w", error.fields[0].reason)


def test_methods_say_how_it_is_called(
    case: Case, model: Any, saved: SavedFormat, tmp_path: Path
) -> None:
    loaded = framework(case.framework).load(tmp_path, saved)
    offered = framework(case.framework).methods(loaded)
    assert tuple(method.name for method in offered) == case.methods
    assert {method.parameter for method in offered} == {"inputs"}
    assert {plain_hint(method.input_hint) for method in offered} == {case.hint}
    assert all(method.output_hint is np.ndarray for method in offered)
    assert all(method.batchable for method in offered)


def test_the_record_holds_json_and_says_whether_loading_runs_code(
    case: Case, saved: SavedFormat
) -> None:
    assert json.loads(json.dumps(dict(saved.options))) == dict(saved.options)
    assert saved.format == case.format
    assert saved.pickle is case.runs_code


def test_the_record_pins_what_loading_needs(case: Case, saved: SavedFormat) -> None:
    pinned = framework(case.framework).requirements(saved)
    names = {pin.partition("==")[0] for pin in pinned}
    needed = {
        "sklearn": {"scikit-learn", "skops"},
        "xgboost": {"xgboost"},
        "lightgbm": {"lightgbm"},
        "catboost": {"catboost"},
        "torch": {"torch"},
        "onnx": {"onnx", "onnxruntime"},
        "pickle": {"cloudpickle"},
    }[case.framework]
    assert names >= (
        {"cloudpickle", "scikit-learn"}
        if case.format == "pickle" and case.framework == "sklearn"
        else needed
    )
    assert all("==" in pin and "+" not in pin for pin in pinned)
    assert ("pandas" in names) is (case.hint is pd.DataFrame)


def test_saving_twice_gives_the_same_bytes(
    case: Case, model: Any, saved: SavedFormat, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    again.mkdir()
    before = digests(tmp_path)
    second = framework(case.framework).save(model, again, options=case.options)
    assert (digests(again) == before) is case.same_bytes
    assert second == saved


def test_loading_and_predicting_are_silent(
    case: Case, saved: SavedFormat, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    used = framework(case.framework)
    capfd.readouterr()
    loaded = used.load(tmp_path, saved)
    for method in case.methods:
        used.call(loaded, method, case.value)
    assert capfd.readouterr() == ("", "")


def test_an_unknown_option_is_refused(case: Case, model: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no option 'colour'"):
        framework(case.framework).save(model, tmp_path, options={"colour": 1})


def test_an_unknown_method_is_refused(case: Case, model: Any) -> None:
    with pytest.raises(UsageError, match="no method 'fly'"):
        framework(case.framework).call(model, "fly", case.value)


@pytest.mark.parametrize("damage", ["empty", "half", "most", "missing", "text"])
def test_a_damaged_file_is_corrupt_content(
    case: Case, saved: SavedFormat, tmp_path: Path, damage: str
) -> None:
    path = max(tmp_path.iterdir(), key=lambda path: path.stat().st_size)
    whole = path.read_bytes()
    damaged = {"empty": b"", "half": whole[: len(whole) // 2], "most": whole[:-20]}
    path.unlink()
    if damage != "missing":
        path.write_bytes(damaged.get(damage, b"this is no model\n" * 40))
    with pytest.raises(CorruptContent) as caught:
        framework(case.framework).load(tmp_path, saved)
    assert caught.value.remedy
    assert str(tmp_path) not in str(caught.value)


def test_rows_of_another_width_are_the_callers_fault(case: Case, model: Any) -> None:
    if case.framework == "pickle" or case.format == "pickle" or case.hint == list[str]:
        pytest.skip("the model takes rows of any width")
    if "embedding" in next(name for name, one in CASES.items() if one is case):
        pytest.skip("the model takes rows of any width")
    with pytest.raises(InvalidInput) as caught:
        framework(case.framework).call(model, case.methods[0], np.zeros((2, 77)))
    assert caught.value.fields


def test_a_missing_library_is_named_with_its_extra(
    case: Case, saved: SavedFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, extra = {
        "sklearn": ("skops.io", "sklearn"),
        "xgboost": ("xgboost", "xgboost"),
        "lightgbm": ("lightgbm", "lightgbm"),
        "catboost": ("catboost", "catboost"),
        "torch": ("torch", "torch"),
        "onnx": ("onnxruntime", "onnx"),
        "pickle": ("cloudpickle", "cloudpickle"),
    }["pickle" if case.format == "pickle" else case.framework]
    if case.format == "safetensors":
        module = "safetensors"
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependency) as caught:
        framework(case.framework).load(tmp_path, saved)
    assert f"pip install 'dosirak[{extra}]'" in caught.value.remedy


@pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if case.hint is pd.DataFrame]
)
def test_columns_are_matched_by_name_and_rows_without_names_by_order(name: str) -> None:
    case = CASES[name]
    model, used = case.make(), framework(case.framework)
    expected = used.call(model, "predict", case.value)
    shuffled = case.value[list(reversed(case.value.columns))].assign(extra=1.0)
    nameless = pd.DataFrame(case.value.to_numpy())
    for value in (shuffled, nameless, case.value.to_numpy()):
        np.testing.assert_array_equal(used.call(model, "predict", value), expected)
    with pytest.raises(InvalidInput) as caught:
        used.call(model, "predict", case.value.iloc[:, 1:])
    assert "sepal" in caught.value.fields[0].field
