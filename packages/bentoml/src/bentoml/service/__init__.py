"""Where 0.13 kept the service class and its decorators."""

from dosirak.compat.bentoml_classic import (
    BentoService,
    save,
)
from dosirak.compat.bentoml_classic.artifacts import ArtifactCollection, BentoServiceArtifact
from dosirak.compat.bentoml_classic.decorators import api as api_decorator
from dosirak.compat.bentoml_classic.decorators import artifacts as artifacts_decorator
from dosirak.compat.bentoml_classic.decorators import env as env_decorator
from dosirak.compat.bentoml_classic.decorators import ver as ver_decorator
from dosirak.compat.bentoml_classic.decorators import (
    web_static_content as web_static_content_decorator,
)
from dosirak.compat.bentoml_classic.environment import BentoServiceEnv
from dosirak.compat.bentoml_classic.inference_api import InferenceAPI

__all__ = [
    "ArtifactCollection",
    "BentoService",
    "BentoServiceArtifact",
    "BentoServiceEnv",
    "InferenceAPI",
    "api_decorator",
    "artifacts_decorator",
    "env_decorator",
    "save",
    "ver_decorator",
    "web_static_content_decorator",
]
