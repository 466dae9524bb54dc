"""The older place of the artifacts; new code uses `frameworks` and `service.artifacts`."""

from dosirak.compat.bentoml_classic.artifacts import (
    ArtifactCollection,
    BentoServiceArtifact,
    JSONArtifact,
    PickleArtifact,
    TextFileArtifact,
)
from dosirak.compat.bentoml_classic.frameworks.keras import KerasModelArtifact
from dosirak.compat.bentoml_classic.frameworks.lightgbm import LightGBMModelArtifact
from dosirak.compat.bentoml_classic.frameworks.onnx import OnnxModelArtifact
from dosirak.compat.bentoml_classic.frameworks.pytorch import (
    PytorchLightningModelArtifact,
    PytorchModelArtifact,
)
from dosirak.compat.bentoml_classic.frameworks.sklearn import SklearnModelArtifact
from dosirak.compat.bentoml_classic.frameworks.tensorflow import TensorflowSavedModelArtifact
from dosirak.compat.bentoml_classic.frameworks.xgboost import XgboostModelArtifact

__all__ = [
    "ArtifactCollection",
    "BentoServiceArtifact",
    "JSONArtifact",
    "KerasModelArtifact",
    "LightGBMModelArtifact",
    "OnnxModelArtifact",
    "PickleArtifact",
    "PytorchLightningModelArtifact",
    "PytorchModelArtifact",
    "SklearnModelArtifact",
    "TensorflowSavedModelArtifact",
    "TextFileArtifact",
    "XgboostModelArtifact",
]
