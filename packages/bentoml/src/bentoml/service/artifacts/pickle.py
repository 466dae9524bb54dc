"""Where 0.13 kept `PickleArtifact`."""

from dosirak.compat.bentoml_classic.artifacts import (
    PickleArtifact,
)

__all__ = [
    "PickleArtifact",
]
