"""The classic artifact for sklearn."""

from dosirak.compat.bentoml_classic.frameworks.sklearn import (
    SklearnModelArtifact,
)

__all__ = [
    "SklearnModelArtifact",
]
