"""Where 0.13 kept `TextFileArtifact`."""

from dosirak.compat.bentoml_classic.artifacts import (
    TextFileArtifact,
)

__all__ = [
    "TextFileArtifact",
]
