"""The older names of the adapters; new code uses `adapters`."""

from dosirak.compat.bentoml_classic.adapters import BaseInputAdapter as BentoHandler
from dosirak.compat.bentoml_classic.adapters import DataframeInput as DataframeHandler
from dosirak.compat.bentoml_classic.adapters import JsonInput as JsonHandler
from dosirak.compat.bentoml_classic.adapters import MultiImageInput as ImageHandler
from dosirak.compat.bentoml_classic.adapters import TfTensorInput as TensorflowTensorHandler

__all__ = [
    "BentoHandler",
    "DataframeHandler",
    "ImageHandler",
    "JsonHandler",
    "TensorflowTensorHandler",
]
