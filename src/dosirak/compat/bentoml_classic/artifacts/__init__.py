"""What a service carries: the artifact base, the collection, and the generic artifacts."""

from dosirak.compat.bentoml_classic.artifacts.artifact import (
    ARTIFACTS_FOLDER,
    ArtifactCollection,
    BentoServiceArtifact,
)
from dosirak.compat.bentoml_classic.artifacts.generic import (
    JSONArtifact,
    PickleArtifact,
    TextFileArtifact,
)

__all__ = [
    "ARTIFACTS_FOLDER",
    "ArtifactCollection",
    "BentoServiceArtifact",
    "JSONArtifact",
    "PickleArtifact",
    "TextFileArtifact",
]
