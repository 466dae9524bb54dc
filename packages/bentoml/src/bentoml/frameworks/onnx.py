"""The classic artifact for onnx."""

from dosirak.compat.bentoml_classic.frameworks.onnx import (
    OnnxModelArtifact,
)

__all__ = [
    "OnnxModelArtifact",
]
