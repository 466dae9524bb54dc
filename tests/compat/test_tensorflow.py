"""The Keras and TensorFlow artifacts and `TfTensorInput`, where TensorFlow is installed.

It is not among the project's test dependencies: `pip install tensorflow-cpu`, then run this file.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.compat.conftest import Run

pytestmark = pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow is missing")

SERVICE = """
import bentoml
import tensorflow as tf
from bentoml.adapters import TfTensorInput, TfTensorOutput
from bentoml.frameworks.keras import KerasModelArtifact
from bentoml.frameworks.tensorflow import TensorflowSavedModelArtifact

@bentoml.env(infer_pip_packages=True)
@bentoml.artifacts([KerasModelArtifact("net"), TensorflowSavedModelArtifact("saved")])
class Nets(bentoml.BentoService):
    @bentoml.api(input=TfTensorInput(), batch=True)
    def predict(self, tensor):
        return self.artifacts.net.predict(tensor)

    @bentoml.api(input=TfTensorInput(), output=TfTensorOutput(), batch=True)
    def twice(self, tensor):
        return self.artifacts.saved.twice(tensor)
"""
SAVING = """
import tensorflow as tf
from nets import Nets

class Twice(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32)])
    def twice(self, x):
        return 2 * x

layers = tf.keras.layers
dense = layers.Dense(1, use_bias=False, kernel_initializer="ones")
service = Nets()
service.pack("net", tf.keras.Sequential([layers.Input((2,)), dense]))
service.pack("saved", Twice())
print(service.save())
"""
ASKING = """
import json, sys
import bentoml

service = bentoml.load(sys.argv[1])
for api, rows in (("predict", [[1.0, 2.0], [3.0, 4.5]]), ("twice", [[1.0, 2.0]])):
    event = {
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps({"instances": rows}),
    }
    print(service.get_inference_api(api).handle_aws_lambda_event(event)["body"])
"""


def test_a_saved_network_and_a_saved_module_answer_tensors(run_python: Run, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(SERVICE)
    (tmp_path / "saving.py").write_text(SAVING)
    (tmp_path / "asking.py").write_text(ASKING)
    path = run_python("saving.py").stdout.splitlines()[-1]
    requirements = (Path(path) / "requirements.txt").read_text()
    assert "tensorflow" in requirements
    assert "keras" in requirements
    answered = run_python("asking.py", path).stdout.splitlines()[-2:]
    assert [json.loads(line) for line in answered] == [[[3.0], [7.5]], [[2.0, 4.0]]]
