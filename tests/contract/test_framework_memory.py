"""A model is written from where it lies and mapped where it is: never twice in memory.

Measured in a process of its own, on a model large enough to tell a second copy from noise.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

MODEL_MIB = 256
ALLOWED_MIB = 100

SCRIPT = """
import json, sys, threading, time, warnings
from pathlib import Path
import numpy as np, torch, safetensors.torch, onnx, onnx.helper, onnxruntime, skops.io
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.neighbors import KNeighborsRegressor
from dosirak.models.framework import SavedFormat, framework

kind, directory, size = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) * 2**20 // 4
parts = 12

def private_mib():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1024

class Peak(threading.Thread):
    def __enter__(self):
        self.most = self.before = private_mib()
        self.over = threading.Event()
        self.start()
        return self
    def run(self):
        while not self.over.wait(0.002):
            self.most = max(self.most, private_mib())
    def __exit__(self, *exc):
        self.most = max(self.most, private_mib())
        self.over.set()
        self.join()
        self.extra = self.most - self.before

def tensors():
    return {f"w{i}": torch.ones(size // parts // 1024, 1024) for i in range(parts)}

def graph():
    side = int((size // parts) ** 0.5)
    real = onnx.TensorProto.FLOAT
    node = onnx.helper.make_node
    nodes = [node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"]) for i in range(parts)]
    made = onnx.helper.make_graph(
        nodes, "g",
        [onnx.helper.make_tensor_value_info("x0", real, ["n", side])],
        [onnx.helper.make_tensor_value_info(f"x{parts}", real, ["n", side])],
    )
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 18)])
    data = np.ones((side, side), np.float32).tobytes()
    for i in range(parts):
        model.graph.initializer.add(name=f"w{i}", data_type=real, dims=[side, side], raw_data=data)
    return model

def forest():
    # A tree keeps its nodes and one row of answers for each of them.
    rng = np.random.default_rng(0)
    rows, outputs = 8000, size * 4 // parts // 16000 // 8
    trees = ExtraTreesRegressor(n_estimators=parts, max_features=1)
    return trees.fit(rng.random((rows, 1)), rng.random((rows, outputs)))

def neighbours():
    # One array holds all of it.
    rows = np.ones((size // 2048, 1024))
    return KNeighborsRegressor(algorithm="brute").fit(rows, rows[:, 0])

def small_forest():
    return ExtraTreesRegressor(2).fit([[0.0], [1.0]], [0.0, 1.0])

if sys.argv[1] in ("forest", "neighbours"):  # so that what is imported is not measured
    warm = directory / "warm"
    warm.mkdir()
    framework("sklearn").load(warm, framework("sklearn").save(small_forest(), warm, options={}))

side = int(size ** 0.5)
shape = {"in_features": side, "out_features": side, "bias": False}
used, model, options, loaded_size = {
    "tensors": lambda: ("torch", tensors(), {}, 0),
    "strided": lambda: ("torch", {n: t.t() for n, t in tensors().items()}, {}, 0),
    "module": lambda: ("torch", torch.nn.Linear(**shape), {"constructor": shape}, 0),
    "onnx": lambda: ("onnx", graph(), {}, 0),
    "forest": lambda: ("sklearn", forest(), {}, int(sys.argv[3])),
    "neighbours": lambda: ("sklearn", neighbours(), {}, int(sys.argv[3])),
    "pickle": lambda: ("pickle", [t.numpy() for t in tensors().values()], {"allow_pickle": True},
                       int(sys.argv[3])),
}[kind]()
with Peak() as saving:
    saved = framework(used).save(model, directory, options=options)
del model
with Peak() as loading:
    loaded = framework(used).load(directory, saved)
print(json.dumps([saving.extra, loading.extra - loaded_size]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "kind", ["tensors", "strided", "module", "onnx", "pickle", "forest", "neighbours"]
)
def test_saving_and_loading_need_little_more_than_the_model(kind: str, tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, kind, str(tmp_path), str(MODEL_MIB)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    saving, loading = map(float, done.stdout.strip("[] \n").split(","))
    assert saving < ALLOWED_MIB
    assert loading < ALLOWED_MIB
