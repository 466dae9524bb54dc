"""The classic artifact for pytorch."""

from dosirak.compat.bentoml_classic.frameworks.pytorch import (
    PytorchLightningModelArtifact,
    PytorchModelArtifact,
)

__all__ = [
    "PytorchLightningModelArtifact",
    "PytorchModelArtifact",
]
