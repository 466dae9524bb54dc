"""Where 0.13 kept `InferenceAPI`."""

from dosirak.compat.bentoml_classic.inference_api import (
    InferenceAPI,
)

__all__ = [
    "InferenceAPI",
]
