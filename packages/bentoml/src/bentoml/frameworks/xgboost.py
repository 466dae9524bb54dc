"""The classic artifact for xgboost."""

from dosirak.compat.bentoml_classic.frameworks.xgboost import (
    XgboostModelArtifact,
)

__all__ = [
    "XgboostModelArtifact",
]
