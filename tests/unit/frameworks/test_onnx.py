"""What ONNX alone has: several inputs, maps as results, shapes and types from the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper as helper
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from dosirak.errors import InvalidInput, MissingDependency, UsageError
from dosirak.frameworks import onnx as framework
from dosirak.models.framework import SavedFormat

REAL = onnx.TensorProto.FLOAT


def model_of(nodes: list[Any], inputs: dict[str, list[Any]], output: list[Any]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, REAL, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", REAL, output)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def added() -> onnx.ModelProto:
    nodes = [helper.make_node("Add", ["a", "b"], ["y"])]
    return model_of(nodes, {"a": ["n", 2], "b": ["n", 2]}, ["n", 2])


def saved_and_loaded(model: Any, directory: Path, **options: Any) -> Any:
    return framework.load(directory, framework.save(model, directory, options=options))


def test_several_inputs_are_given_by_name(tmp_path: Path) -> None:
    session = saved_and_loaded(added(), tmp_path)
    (method,) = framework.methods(session)
    assert method.input_hint == dict[str, np.ndarray]
    assert not method.batchable
    value = {"a": [[1, 2]], "b": np.ones((1, 2))}
    assert framework.call(session, "predict", value).tolist() == [[2, 3]]
    for wrong in ({"a": [[1, 2]]}, [[1, 2]], {"a": [[1]], "b": [[1]]}, {"a": "x", "b": [[1, 2]]}):
        with pytest.raises(InvalidInput):
            framework.call(session, "predict", wrong)


def test_a_fixed_first_dimension_is_not_batched(tmp_path: Path) -> None:
    nodes = [helper.make_node("Neg", ["x"], ["y"])]
    session = saved_and_loaded(model_of(nodes, {"x": [1, 2]}, [1, 2]), tmp_path)
    assert not framework.methods(session)[0].batchable
    with pytest.raises(InvalidInput, match=r"\(1, 2\)"):
        framework.call(session, "predict", [[1, 2], [3, 4]])


def test_scores_by_label_are_a_list_of_objects(tmp_path: Path) -> None:
    convert = pytest.importorskip("skl2onnx")
    rows, labels = load_iris(return_X_y=True)
    words = np.array(["x", "y", "z"])[labels]
    classifier = LogisticRegression(max_iter=1000).fit(rows, words)
    session = saved_and_loaded(convert.to_onnx(classifier, rows[:1].astype("f4")), tmp_path)
    first, second = framework.methods(session)
    assert (first.name, first.output_hint) == ("predict", np.ndarray)
    assert second.output_hint == list[dict[str, float]]
    assert framework.call(session, "predict", rows[:3]).tolist() == ["x", "x", "x"]
    scores = framework.call(session, second.name, rows[:3])
    assert [set(row) for row in scores] == [{"x", "y", "z"}] * 3


def test_an_invalid_graph_is_refused_when_saving(tmp_path: Path) -> None:
    nodes = [helper.make_node("NoSuchOperator", ["x"], ["y"])]
    with pytest.raises(UsageError):
        framework.save(model_of(nodes, {"x": [1]}, [1]), tmp_path, options={})
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    for path in (tmp_path / "junk.onnx", tmp_path / "missing.onnx"):
        with pytest.raises(UsageError):
            framework.save(path, tmp_path, options={})


def test_the_callers_model_is_left_as_it_is(tmp_path: Path) -> None:
    weight = onnx.numpy_helper.from_array(np.ones((4096, 4096), np.float32), "w")
    model = model_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["n", 4096]}, ["n", 4096]
    )
    model.graph.initializer.append(weight)
    before = model.SerializeToString(deterministic=True)
    framework.save(model, tmp_path, options={})
    assert model.SerializeToString(deterministic=True) == before
    assert (tmp_path / "model.onnx").stat().st_size < 1000


def test_a_provider_that_is_not_here_is_named(tmp_path: Path) -> None:
    saved = framework.save(added(), tmp_path, options={"providers": ["NoSuchProvider"]})
    with pytest.raises(MissingDependency, match="NoSuchProvider"):
        framework.load(tmp_path, saved)
    both = SavedFormat("onnx", options={"providers": ["NoSuchProvider", "CPUExecutionProvider"]})
    assert framework.load(tmp_path, both).get_providers() == ["CPUExecutionProvider"]
