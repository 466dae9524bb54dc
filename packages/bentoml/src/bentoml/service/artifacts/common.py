"""The generic artifacts."""

from dosirak.compat.bentoml_classic.artifacts import (
    JSONArtifact,
    PickleArtifact,
    TextFileArtifact,
)

__all__ = [
    "JSONArtifact",
    "PickleArtifact",
    "TextFileArtifact",
]
