"""The classic artifact for tensorflow."""

from dosirak.compat.bentoml_classic.frameworks.tensorflow import (
    TensorflowSavedModelArtifact,
)

__all__ = [
    "TensorflowSavedModelArtifact",
]
