"""A disk that fills up while a library writes: an error, never half a model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from dosirak.errors import DosirakError
from dosirak.models.framework import framework

kind, directory = sys.argv[1], Path(sys.argv[2])
rows, labels = np.random.default_rng(0).random((400, 8)), np.arange(400) % 7

def catboost():
    import catboost
    settings = {"iterations": 40, "verbose": False, "allow_writing_files": False}
    return catboost.CatBoost(settings).fit(rows, labels)

def lightgbm():
    import lightgbm
    return lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(rows, labels)

def onnx():
    import onnx, onnx.helper as h
    real = onnx.TensorProto.FLOAT
    graph = h.make_graph(
        [h.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [h.make_tensor_value_info("x", real, ["n", 256])],
        [h.make_tensor_value_info("y", real, ["n", 256])],
        [onnx.numpy_helper.from_array(np.ones((256, 256), np.float32), "w")],
    )
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 18)])

def pickle():
    return rows.repeat(10, 0)

def sklearn():
    from sklearn.neighbors import KNeighborsRegressor
    return KNeighborsRegressor().fit(rows.repeat(10, 0), labels.repeat(10, 0))

def torch():
    import torch
    return {"w": torch.ones(256, 256)}

def xgboost():
    import xgboost
    return xgboost.XGBClassifier(n_estimators=20).fit(rows, labels)

model = globals()[kind]()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
try:
    framework(kind).save(model, directory, options={"allow_pickle": kind == "pickle"})
except DosirakError as error:
    print(type(error).__name__, bool(error.remedy))
else:
    print("saved", max(path.stat().st_size for path in directory.iterdir()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of a file")
@pytest.mark.parametrize(
    "kind", ["catboost", "lightgbm", "onnx", "pickle", "sklearn", "torch", "xgboost"]
)
def test_a_model_that_does_not_fit_on_the_disk_is_not_half_saved(kind: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, kind, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    name, _, remedy = done.stdout.strip().rpartition("\n")[2].partition(" ")
    assert name in {"StorageFull", "StorageError"}, (done.stdout, done.stderr[-1500:])
    assert remedy == "True"
