"""Where 0.13 kept `JSONArtifact`."""

from dosirak.compat.bentoml_classic.artifacts import (
    JSONArtifact,
)

__all__ = [
    "JSONArtifact",
]
