"""The classic artifact for keras."""

from dosirak.compat.bentoml_classic.frameworks.keras import (
    KerasModelArtifact,
)

__all__ = [
    "KerasModelArtifact",
]
