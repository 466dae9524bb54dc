"""The classic artifact classes of no particular library."""

from dosirak.compat.bentoml_classic.artifacts import (
    ArtifactCollection,
    BentoServiceArtifact,
)

__all__ = [
    "ArtifactCollection",
    "BentoServiceArtifact",
]
