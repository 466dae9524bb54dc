"""The classic artifact for lightgbm."""

from dosirak.compat.bentoml_classic.frameworks.lightgbm import (
    LightGBMModelArtifact,
)

__all__ = [
    "LightGBMModelArtifact",
]
